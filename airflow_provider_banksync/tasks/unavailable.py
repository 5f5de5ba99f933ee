"""What a task does about banks, accounts and feeds that it could not read."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_banksync.extract.partition import RETRYABLE, format_unavailable
from airflow_provider_banksync.tasks.base import MAX_TEXT, shorten
from airflow_provider_banksync.tasks.task_store import TaskTries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.extract.partition import Unavailable

#: Entries of a list in an XCom or an asset event.
MAX_LISTED = 100


def raise_unless_reported(
    unavailable: Sequence[Unavailable], on_unavailable: str, context: Context, *, rest: str, advice: str
) -> None:
    """Raise if something is unavailable, unless the task reports it.

    A task uses its retries first if one may help, and reports what is left on its last try.

    :param rest: a sentence about everything else.
    :param advice: what to do before, and what happens after, a clearing of the task.
    :raises AirflowException: a retry may succeed.
    :raises AirflowFailException: something must be fixed first.
    """
    reports = on_unavailable == "report"
    failed = sum(each.reason == RETRYABLE for each in unavailable)
    if failed and not (reports and TaskTries.from_context(context, retries=0).is_last):
        raise AirflowException(
            f"{failed} of the accounts or banks could not be read. {rest} A retry reads only what is missing:"
            f"{format_unavailable(unavailable)}"
        )
    if unavailable and not reports:
        verb = "is" if len(unavailable) == 1 else "are"
        raise AirflowFailException(
            f"{len(unavailable)} of the accounts or banks {verb} unavailable. {rest} {advice} With "
            f"on_unavailable='report' the task succeeds in this case.{format_unavailable(unavailable)}"
        )


def bound_unavailable(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the first entries with short texts, and how many there are, in total and for each reason.

    :param entries: each with ``reason`` and ``message``.
    """
    reasons = Counter(str(entry["reason"]) for entry in entries)
    listed = [
        {name: shorten(value, MAX_TEXT) for name, value in entry.items()} for entry in entries[:MAX_LISTED]
    ]
    return {
        "unavailable": listed,
        "unavailable_count": len(entries),
        "unavailable_reasons": dict(sorted(reasons.items())),
    }
