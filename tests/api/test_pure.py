"""The core of the API loads no transport, no clock and no Airflow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CORE = (
    "codec",
    "config",
    "endpoints",
    "family.poll_schedule",
    "family.sync",
    "family.state",
    "family.steps",
    "flows.conditions",
    "flows.core",
    "flows.listings",
    "flows.polling",
    "flows.syncs",
    "flows.writes",
    "jobs",
    "messages",
    "ownership",
    "parsing",
    "redaction",
    "responses",
    "retry_policy",
    "validation",
)
FORBIDDEN = ("airflow", "requests", "aiohttp", "asyncio", "time", "tenacity", "urllib3", "socket")


def test_the_core_imports_no_transport_and_no_clock() -> None:
    import ast

    from airflow_provider_banksync import api

    for name in CORE:
        source = Path(next(iter(api.__path__)), *name.split(".")).with_suffix(".py")
        tree = ast.parse(source.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            found = []
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found = [node.module or ""]
            roots = {module.split(".")[0] for module in found}
            assert not roots & set(FORBIDDEN), f"{name} imports {roots & set(FORBIDDEN)}"


def test_the_core_runs_where_no_transport_is_loaded() -> None:
    heavy = ("airflow", "requests", "aiohttp", "asyncio", "tenacity", "urllib3", "msgspec")
    code = "import sys\n" + "".join(f"import airflow_provider_banksync.api.{name}\n" for name in CORE)
    code += f"print([name for name in {heavy!r} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
