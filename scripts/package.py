"""Build the wheel and the sdist, and prove them: install the wheel where nothing else is, and ask Airflow about it."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

from toolbox import PACKAGE, ROOT, Lock, Venv, run, say, script, seconds, stop

MODULE = "airflow_provider_banksync"
LINE = "3.3"

#: Imports every module but the sandbox and the pytest plugin, and what writes Parquet: they have extras of their own.
IMPORT_ALL = f"""
import importlib, pkgutil, {MODULE} as package
names = [m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    if ".sandbox" not in name and not name.endswith((".export.parquet", ".export.plain")):
        importlib.import_module(name)
print(len(names), "modules")
"""


def main() -> None:
    """Build, look inside, install, ask."""
    start = time.monotonic()
    say("[1/4] Building the wheel and the sdist ...")
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    # In a build environment of its own: what pyproject.toml asks for must be enough.
    run([sys.executable, "-m", "build", "--outdir", dist, ROOT], "the build")
    wheel, sdist = one(dist, "*.whl"), one(dist, "*.tar.gz")
    look_inside(wheel, sdist)

    lock = Lock.read(LINE)
    say(f"[2/4] Installing {wheel.name} and what it asks for into a clean environment ...")
    venv = Venv(ROOT / ".venv-wheel", lock, fast=True)
    venv.create(Path(getattr(sys, "_base_executable", sys.executable)))
    # The lock only chooses versions here. What is installed is what the wheel's own metadata asks for.
    venv.install(wheel, "-c", lock.path, what=wheel.name)

    with tempfile.TemporaryDirectory(prefix="banksync-package-") as home:
        ask_airflow(venv, home)
    say(f"[4/4] Importing every module, without the extras: {imported(venv)}")
    say(f"{wheel.name} ({wheel.stat().st_size // 1024} KiB) and {sdist.name} are good ({seconds(start)}).")


def one(folder: Path, pattern: str) -> Path:
    """Return the one file that fits."""
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise stop(f"the build left {len(found)} files like {pattern}, not one.")
    return found[0]


def look_inside(wheel: Path, sdist: Path) -> None:
    """The wheel holds the package and nothing else; the sdist can be built from."""
    names = zipfile.ZipFile(wheel).namelist()
    strangers = {name.split("/")[0] for name in names} - {MODULE}
    if any(not name.endswith(".dist-info") for name in strangers):
        raise stop(f"the wheel holds more than {MODULE}: {', '.join(sorted(strangers))}")
    for wanted in (f"{MODULE}/py.typed", f"{MODULE}/provider_info.py"):
        if wanted not in names:
            raise stop(f"the wheel lacks {wanted}")
    if not any(name.endswith("/licenses/LICENSE") for name in names):
        raise stop("the wheel lacks the LICENSE")
    with tarfile.open(sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", f"{MODULE}/__init__.py"):
        if wanted not in files:
            raise stop(f"the sdist lacks {wanted}")


def ask_airflow(venv: Venv, home: str) -> None:
    """`airflow providers list` shows the package, and `airflow providers get` its data."""
    airflow = venv.path / "bin" / "airflow"
    env = {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "NO_COLOR": "1", "COLUMNS": "200"}
    say("[3/4] airflow providers list, airflow providers get ...")
    listed = run([airflow, "providers", "list", "-o", "json"], "airflow providers list", **env)
    rows = [row for row in rows_of(listed) if row["package_name"] == PACKAGE]
    if len(rows) != 1:
        raise stop(f"`airflow providers list` does not show {PACKAGE}:\n{listed}")
    got = run([airflow, "providers", "get", PACKAGE, "--full", "-o", "json"], "airflow providers get", **env)
    if PACKAGE not in got:
        raise stop(f"`airflow providers get {PACKAGE}` does not know it:\n{got}")
    say(f"      {rows[0]['package_name']} {rows[0]['version']}: {rows[0]['description'].strip()}")


def rows_of(output: str) -> list[dict[str, str]]:
    """Return the JSON rows in what an airflow command printed; a warning may stand before them."""
    start = output.find("[{")
    if start < 0:
        raise stop(f"no rows in Airflow's answer:\n{output}")
    rows: list[dict[str, str]] = json.JSONDecoder().raw_decode(output[start:])[0]
    return rows


def imported(venv: Venv) -> str:
    """Import every module where pyarrow and pytest are not installed."""
    with tempfile.TemporaryDirectory(prefix="banksync-package-") as home:
        # -I: from the installed wheel, not from this folder.
        printed = run([venv.python, "-I", "-c", IMPORT_ALL], "importing every module", AIRFLOW_HOME=home)
    return printed.splitlines()[-1]


if __name__ == "__main__":
    script(main)
