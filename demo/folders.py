"""The folder of one run of the demo. All files of a run are inside it."""

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
class RunFolders:
    """The folders of one run."""

    root: Path

    @property
    def export(self) -> Path:
        """The files that the DAG exports."""
        return self.root / "export"

    @property
    def airflow_home(self) -> Path:
        """The temporary AIRFLOW_HOME, with metadata database and task logs."""
        return self.root / "airflow"

    @property
    def logs(self) -> Path:
        """The output of Airflow's components, one file each."""
        return self.root / "logs"


def create_folders(base: Path) -> RunFolders:
    """Create the folders of a new run below ``base``. Earlier runs are not touched."""
    try:
        base.mkdir(parents=True, exist_ok=True)
        root = _new_folder(base)
        folders = RunFolders(root)
        for folder in (folders.export, folders.airflow_home, folders.logs):
            folder.mkdir()
    except OSError as error:
        raise DemoError(
            f"The demo cannot write below {base} ({error.strerror}). Name another folder with --output."
        ) from error
    free = shutil.disk_usage(root).free
    if free < NEEDED_BYTES:
        shutil.rmtree(root)
        raise DemoError(
            f"The demo needs about {NEEDED_BYTES // 1024**2} MB below {base} and {free // 1024**2} MB are free. "
            "Free some space, or name another folder with --output."
        )
    return folders


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


def short_path(path: Path) -> str:
    """Return a path relative to the current folder if it is below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
