"""Ways from BankSync to files, which benchmarks/export.py measures, each in a process of its own.

Reads what to do as JSON from the standard input, and writes what it took as JSON to the standard output. Loads only
what it needs, for dlt and pandas are in another environment than Airflow.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests

    Work = Callable[[], object]


@dataclass(frozen=True)
class Task:
    """What is to be done.

    :param accounts: read only these; None: all of the family.
    :param limit: requests that the key may send in a minute.
    """

    url: str
    key: str
    first: str
    last: str
    file_format: str
    folder: str
    accounts: list[str] | None = None
    limit: int = 100_000


@dataclass
class Took:
    """What it took: seconds, of the clock and of processors; MB before the work and at the most."""

    wall: float
    processor: float
    before: float
    peak: float


def contend(name: str, task: Task, python: str, home: str) -> Took:
    """Let a contender work, in a process of its own.

    :param python: whose environment has what it needs.
    :param home: an empty folder, for what it and its libraries keep.
    """
    root = str(Path(__file__).resolve().parents[1])
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW_", "DLT_"))},
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "HOME": home,
        "PYTHONPATH": root,
    }
    done = subprocess.run(
        [python, __file__, name],
        input=json.dumps(asdict(task)),
        capture_output=True,
        text=True,
        env=env,
        cwd=home,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{name} failed: {done.stderr[-3000:]}")
    return Took(**json.loads(done.stdout))


# --- over requests ---


def _session(task: Task) -> requests.Session:
    import requests
    from requests.adapters import HTTPAdapter, Retry

    session = requests.Session()
    session.headers.update({"X-API-Key": task.key, "User-Agent": "export-benchmark/1.0"})
    session.mount("http://", HTTPAdapter(max_retries=Retry(9, status_forcelist=[429])))  # minds Retry-After
    return session


def _accounts(task: Task, session: requests.Session) -> Iterator[tuple[str, str, str]]:
    """Give workspace, id and path of every account, bank by bank."""
    for bank in session.get(f"{task.url}/v1/banks?scope=family", timeout=60).json()["data"]:
        home = {"X-Workspace-Id": bank["workspaceId"]}
        for account in session.get(task.url + bank["links"]["accounts"], headers=home, timeout=60).json()[
            "data"
        ]:
            if task.accounts is None or account["id"] in task.accounts:
                yield bank["workspaceId"], account["id"], account["links"]["transactions"]


def download(task: Task) -> Work:
    """Download the bodies with requests, and throw them away."""
    session = _session(task)

    def work() -> None:
        for home, _, path in _accounts(task, session):
            query = f"?from={task.first}&to={task.last}"
            while query:
                body = session.get(
                    task.url + path + query, headers={"X-Workspace-Id": home}, timeout=60
                ).content
                # Where the next page is stands at the end; so the body need not be taken apart.
                end = json.loads(b"{" + body[body.rindex(b'"meta"') :])
                query = f"?cursor={end['meta']['cursor']}" if end["meta"]["hasMore"] else ""

    return work


def script(task: Task) -> Work:
    """Do what a user would write: requests, json, and pandas, a file for each account."""
    import pandas as pd

    if task.file_format == "parquet":
        import pyarrow.parquet  # noqa: F401 - pandas would load it when it writes

    session = _session(task)

    def work() -> None:
        for home, account, path in _accounts(task, session):
            rows: list[dict[str, Any]] = []
            query = f"?from={task.first}&to={task.last}"
            while query:
                answer = session.get(task.url + path + query, headers={"X-Workspace-Id": home}, timeout=60)
                answer.raise_for_status()
                page = answer.json()
                rows.extend(page["data"])
                query = f"?cursor={page['meta']['cursor']}" if page["meta"]["hasMore"] else ""
            folder = Path(task.folder, f"workspace_id={home}")
            folder.mkdir(parents=True, exist_ok=True)
            if task.file_format == "parquet":
                pd.DataFrame(rows).to_parquet(folder / f"{account}.parquet")
            else:
                with (folder / f"{account}.jsonl").open("w") as file:
                    file.writelines(json.dumps(row) + "\n" for row in rows)

    return work


# --- dlt ---


def rest_api(task: Task) -> Work:
    """Let dlt's REST API source write to its filesystem destination."""
    os.environ |= {
        "DATA_WRITER__DISABLE_COMPRESSION": "true",
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "WARNING",
    }
    import dlt
    from dlt.sources.rest_api import rest_api_source

    if task.file_format == "parquet":
        import pyarrow.parquet  # noqa: F401 - dlt would load it when it writes

    home = {"X-Workspace-Id": "{resources.banks.workspaceId}"}
    account: dict[str, Any] = {"path": "v1/banks/{resources.banks.id}/accounts", "headers": home}
    transactions: dict[str, Any] = {
        "path": "v1/banks/{resources.accounts.bankId}/accounts/{resources.accounts.id}/transactions",
        "params": {"from": task.first, "to": task.last},
        "headers": {"X-Workspace-Id": "{resources.accounts._banks_workspaceId}"},
        "paginator": {"type": "json_link", "next_url_path": "links.next"},
    }
    source = rest_api_source(
        {
            "client": {
                "base_url": task.url,
                "headers": {"User-Agent": "export-benchmark/1.0"},
                "auth": {
                    "type": "api_key",
                    "name": "X-API-Key",
                    "api_key": task.key,
                    "location": "header",
                },
                "paginator": "single_page",
            },
            "resource_defaults": {"endpoint": {"data_selector": "data"}, "parallelized": True},
            "resources": [
                {
                    "name": "banks",
                    "selected": False,
                    "parallelized": False,
                    "endpoint": {"path": "v1/banks", "params": {"scope": "family"}},
                },
                {
                    "name": "accounts",
                    "selected": False,
                    "endpoint": account,
                    "include_from_parent": ["workspaceId"],
                },
                {"name": "transactions", "endpoint": transactions, "write_disposition": "append"},
            ],
        }
    )
    pipeline = dlt.pipeline(
        pipeline_name="banksync",
        pipelines_dir=str(Path(task.folder, "_pipeline")),
        destination=dlt.destinations.filesystem(bucket_url=Path(task.folder, "lake").as_uri()),
        dataset_name="banksync",
    )

    def work() -> None:
        pipeline.run(source, loader_file_format=task.file_format).raise_on_failed_jobs()

    return work


# --- this provider ---


def operator(task: Task) -> Work:
    """Let our operator do it, in a process that has loaded what a task process of Airflow has."""
    from types import SimpleNamespace

    extra = {"rate_limit_per_minute": task.limit}
    connection = {"conn_type": "banksync", "host": task.url, "password": task.key, "extra": extra}
    os.environ["AIRFLOW_CONN_BANKSYNC_DEFAULT"] = json.dumps(connection)
    import airflow.sdk.execution_time.task_runner
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator

    del airflow
    logging.disable(logging.INFO)
    ObjectStoragePath("file:///").exists()  # Airflow looks for all its file systems at the first use
    made = BankSyncToObjectStorageOperator(
        task_id="export",
        resource="transactions",
        destination=Path(task.folder).as_uri(),
        scope="family",
        account_ids=task.accounts,
        from_date=task.first,
        to_date=task.last,
        file_format=task.file_format,
        **json.loads(os.environ.get("BANKSYNC_EXPORT", "{}")),
    )
    start = datetime.fromisoformat(f"{task.first}T00:00:00+00:00")
    context = {
        "ti": SimpleNamespace(dag_id="lake", task_id="export", run_id="run", map_index=-1),
        "dag": SimpleNamespace(timezone=start.tzinfo),
        "dag_run": SimpleNamespace(run_after=start + timedelta(days=1)),
        "data_interval_start": start,
        "data_interval_end": start + timedelta(days=1),
    }
    return lambda: made.execute(context)  # type: ignore[arg-type]


def unchecked(task: Task) -> Work:
    """Let our operator do it without the checks of pages (ids, days, counts), to measure their cost."""
    from types import SimpleNamespace

    import msgspec

    from airflow_provider_banksync.api import raw_pages
    from airflow_provider_banksync.api.messages import RawPage
    from airflow_provider_banksync.extract import accounts

    class NoCheck(SimpleNamespace):
        duplicates, outside_window, is_large = 0, 0, False

        def __class_getitem__(cls, _: object) -> type[NoCheck]:
            return cls

        def __init__(self, *_: object) -> None:
            super().__init__(finish=list, repeated=set, close=lambda: None)

        def add(self, rows: object, *_: object) -> tuple[object, bool]:
            return rows, True

    def split_rows(body: bytes, *, owner: tuple[tuple[str, str], ...]) -> RawPage:
        envelope = raw_pages._envelope_decoder().decode(body)  # noqa: SLF001
        raw_pages._check_utf8(body)  # noqa: SLF001
        decoder = msgspec.json.Decoder(msgspec.defstruct("Owner", [(name, str) for name, _ in owner[1:]]))
        found = {msgspec.structs.astuple(row) for row in decoder.decode_lines(b"\n".join(envelope.data))}
        assert found == {tuple(value for _, value in owner[1:])}
        return RawPage(
            envelope.data, envelope.meta.cursor, envelope.meta.hasMore, ids=[], days=[], count=None
        )

    accounts.PageCheck = NoCheck  # type: ignore[assignment,misc]
    raw_pages._split_rows = split_rows  # noqa: SLF001
    return operator(task)


# --- the process ---

CONTENDERS: dict[str, Callable[[Task], Work]] = {
    each.__name__: each for each in (download, script, rest_api, unchecked, operator)
}


def _megabytes(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"/proc/self/status has no {name}: this needs Linux")


def _processor() -> float:
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever they print
    work = CONTENDERS[sys.argv[1]](Task(**json.load(sys.stdin)))
    before, processor, began = _megabytes("VmRSS"), _processor(), time.perf_counter()
    work()
    took = Took(time.perf_counter() - began, _processor() - processor, before, _megabytes("VmHWM"))
    answers.write(json.dumps(asdict(took)))


if __name__ == "__main__":
    main()
