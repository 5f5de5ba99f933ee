"""Runs DAG files in processes that are forked from one with Airflow in memory; see tests/support/run_dag.py."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from typing_extensions import Self


class DagRunner:
    """Starts its process with the first run and ends it with the last."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.communicate(timeout=60)  # closes its stdin
            self._server = None

    def run(self, path: Path, *, env: dict[str, str], timeout: float = 400, **conf: Any) -> dict[str, Any]:
        """Run a DAG file to its end. Return the states, the results and the log.

        :param env: added to the environment of the tests.
        :param conf: the DAG run's configuration.
        """
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "output"
            request = {
                "path": str(path),
                "conf": json.dumps(conf),
                "env": {**os.environ, "COLUMNS": "1000", **env},  # Airflow 3.0 would break lines
                "output": str(output),
            }
            status = self._ask(json.dumps(request), timeout)
            log = output.read_text(errors="replace") if output.exists() else ""
        result = [line for line in log.splitlines() if line.startswith("RESULT ")]
        assert result, f"no result; exit status {status}\n{log[-8000:]}"
        told: dict[str, Any] = json.loads(result[0].removeprefix("RESULT "))
        told["log"] = log
        return told

    def _ask(self, request: str, timeout: float) -> str:
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "tests.support.run_dag"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                start_new_session=True,
            )
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(request + "\n")
        self._server.stdin.flush()
        if select.select([self._server.stdout], [], [], timeout)[0]:
            return self._server.stdout.readline().strip()
        os.killpg(self._server.pid, 9)
        self._server.wait()
        self._server = None
        return f"none within {timeout:.0f} s"
