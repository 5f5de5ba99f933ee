"""Where a run of the demo keeps its files: one new folder per run, nothing outside it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from demo.errors import DemoError

CHECKOUT = Path(__file__).resolve().parent.parent
DEFAULT_BASE = CHECKOUT / ".demo"
NEEDED_BYTES = 200 * 1024 * 1024


@dataclass(frozen=True)
class Places:
    """The folders of one run."""

    root: Path

    @property
    def export(self) -> Path:
        """What the DAG writes: the result to look at."""
        return self.root / "export"

    @property
    def airflow_home(self) -> Path:
        """The temporary AIRFLOW_HOME with metadata database and task logs."""
        return self.root / "airflow"

    @property
    def logs(self) -> Path:
        """What Airflow's components say, one file each."""
        return self.root / "logs"


def make_places(base: Path) -> Places:
    """Make the folders of a new run below ``base``; a run before it is left alone."""
    try:
        base.mkdir(parents=True, exist_ok=True)
        root = _new_folder(base)
        places = Places(root)
        for folder in (places.export, places.airflow_home, places.logs):
            folder.mkdir()
    except OSError as error:
        raise DemoError(
            f"The demo cannot write below {base} ({error.strerror}): name a folder that it may write with --output."
        ) from error
    free = shutil.disk_usage(root).free
    if free < NEEDED_BYTES:
        shutil.rmtree(root)
        raise DemoError(
            f"The demo needs about {NEEDED_BYTES // 1024**2} MB below {base} and {free // 1024**2} MB are free: "
            "make room, or name another folder with --output."
        )
    return places


def _new_folder(base: Path) -> Path:
    stamp = datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1, 100):
        folder = base / (stamp if attempt == 1 else f"{stamp}_{attempt}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise DemoError(f"The demo cannot find a free folder name below {base}.")


def shown(path: Path) -> str:
    """Show a path the short way where it lies below the current folder."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
