"""Check the wheel that `make build` has installed into an environment without this package's tools and extras.

Run it with the Python of that environment and with -I, so that it cannot import this folder.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE, MODULE = "airflow-provider-banksync", "airflow_provider_banksync"

#: These modules need an extra. Every other module must load without one.
NEED_AN_EXTRA = (
    ".sandbox",
    ".formats.parquet",
    ".formats.arrow_columns",
    ".ledger",
    ".delta_table",
    ".sql_table",
    ".reconcile_task",
)


def main() -> None:
    """Ask Airflow about the provider, then import its modules."""
    with tempfile.TemporaryDirectory(prefix="banksync-wheel-") as home:
        os.environ |= {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }
        listed = airflow("providers", "list")
        rows = [row for row in rows_of(listed) if row["package_name"] == PACKAGE]
        if len(rows) != 1:
            raise SystemExit(f"error: `airflow providers list` does not show {PACKAGE}:\n{listed}")
        got = airflow("providers", "get", PACKAGE, "--full")
        if PACKAGE not in got:
            raise SystemExit(f"error: `airflow providers get` does not know {PACKAGE}:\n{got}")
        count = import_all()
    print(
        f"{PACKAGE} {rows[0]['version']}: Airflow lists the wheel, and {count} modules load without extras."
    )


def airflow(*arguments: str) -> str:
    """Run an Airflow command and return its output."""
    command = [Path(sys.executable).with_name("airflow"), *arguments, "-o", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: `airflow {' '.join(arguments)}` failed:\n{done.stdout}")
    return done.stdout


def rows_of(output: str) -> list[dict[str, str]]:
    """Return the JSON rows that an Airflow command printed. Warnings may stand around them."""
    start = output.find("[{")
    if start < 0:
        raise SystemExit(f"error: Airflow's answer holds no rows:\n{output}")
    rows: list[dict[str, str]] = json.JSONDecoder().raw_decode(output[start:])[0]
    return rows


def import_all() -> int:
    """Import every module that needs no extra, and return how many there are."""
    package = importlib.import_module(MODULE)
    names = [module.name for module in pkgutil.walk_packages(package.__path__, f"{MODULE}.")]
    importable = [name for name in names if not any(part in name for part in NEED_AN_EXTRA)]
    for name in importable:
        importlib.import_module(name)
    return len(importable)


if __name__ == "__main__":
    main()
