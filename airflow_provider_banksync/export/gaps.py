"""Days that no window of a destination has, for example because the DAG was paused."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from airflow_provider_banksync.export.storage import layout

if TYPE_CHECKING:
    from airflow_provider_banksync.export.storage.folder import Folder


def days_before(base: Folder, label: str) -> tuple[str, str] | None:
    """Return the first and the last of the days between a window and the newest window before it.

    :param label: of the window.
    :return: None if no day is missing, or if there is no earlier window.
    """
    first_day, _ = layout.window_days(label)
    earlier = [each for each in base.names(layout.MANIFESTS) if layout.is_window(each) and each < label]
    for other in sorted(earlier, key=lambda each: layout.window_days(each)[1], reverse=True):
        if base.stat(f"{layout.MANIFESTS}/{other}/{layout.MANIFEST}") is not None:
            first = date.fromisoformat(layout.window_days(other)[1]) + timedelta(days=1)
            last = date.fromisoformat(first_day) - timedelta(days=1)
            return (first.isoformat(), last.isoformat()) if first <= last else None
    return None
