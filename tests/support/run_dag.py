"""Run DAG files with a real Airflow (``dag.test()``, deferrals included) and print their results as JSON.

Each run is a process of its own, forked from one that has imported Airflow and built the API that ``dag.test()`` serves
to its tasks. Both together take more than ten seconds of processor time, which is most of a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib
import json
import operator
import os
import runpy
import sys
import traceback
from typing import Any, NoReturn

#: What a run imports. Older releases of Airflow do not have all of them.
MODULES = (
    "airflow.models.dag",
    "airflow.jobs.triggerer_job_runner",
    "airflow.providers.common.compat.sdk",
    "airflow.sdk.execution_time.task_runner",
    "airflow.api_fastapi.execution_api.routes",
    "airflow.providers.amazon.aws.assets.s3",
)


def main(path: str, conf: str) -> None:
    dag = runpy.run_path(path)["dag"]
    try:
        run = dag.test(run_conf=json.loads(conf))
    except BaseException as error:
        if type(error).__name__ not in ("AirflowTaskTerminated", "AirflowTaskTimeout"):
            raise
        run = last_run(dag.dag_id)  # on Airflow 2, a task that is killed takes dag.test() with it
    tasks: list[dict[str, Any]] = [
        {
            "task_id": ti.task_id,
            "map_index": ti.map_index,
            "state": str(getattr(ti.state, "value", ti.state)),
            "result": xcoms(ti).get("return_value"),
            "job_id": xcoms(ti).get("job_id"),
        }
        for ti in run.get_task_instances()
    ]
    state = str(getattr(run.state, "value", run.state))
    sys.stdout.write("\nRESULT " + json.dumps({"state": state, "tasks": tasks}, default=str) + "\n")


def last_run(dag_id: str) -> Any:
    """The newest run of the DAG."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        return session.query(DagRun).filter_by(dag_id=dag_id).order_by(DagRun.id.desc()).first()


def xcoms(ti: Any) -> dict[str, Any]:
    """The XComs of one task instance, as they were stored."""
    from airflow.models import xcom
    from airflow.utils.session import create_session

    if hasattr(xcom, "XComModel"):
        model, value = xcom.XComModel, xcom.XComModel.deserialize_value
    else:  # Airflow 2 has decoded the value by the time the row is read
        model, value = xcom.XCom, operator.attrgetter("value")
    with create_session() as session:
        rows = session.query(model).filter_by(
            dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=ti.map_index
        )
        return {row.key: value(row) for row in rows}


def preload() -> None:
    """Import Airflow. Open no connection and leave no thread, so that the process can fork."""
    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with contextlib.suppress(ImportError, AttributeError):
        asyncio.run(build_api())
    gc.freeze()


async def build_api() -> None:
    """Build the API that ``dag.test()`` serves to its tasks. Airflow 3 does most of that at the first request."""
    import httpx
    from airflow.sdk.execution_time import supervisor

    # Airflow 3.3 builds one for each process, and earlier releases for each task.
    build = functools.lru_cache(maxsize=1)(supervisor.in_process_api_server)
    supervisor.in_process_api_server = build
    transport = httpx.ASGITransport(app=build().app)
    async with httpx.AsyncClient(transport=transport, base_url="http://in-process") as client:
        (await client.get("/health")).raise_for_status()


def serve() -> None:
    """Fork a process for each request on stdin. When it has ended, print its exit status."""
    # Airflow logs to stdout while it is imported.
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)
        preload()
        for line in sys.stdin:
            request = json.loads(line)
            child = os.fork()
            if child == 0:
                run(request)
            replies.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
            replies.flush()


def run(request: dict[str, Any]) -> NoReturn:
    """Run one request and exit, without the seconds in which Python frees what it has imported."""
    become(request)
    status = 1
    try:
        main(request["path"], request["conf"])
        status = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def become(request: dict[str, Any]) -> None:
    """Take the environment and the output file of a request."""
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(request["env"])
    from airflow import settings

    # Airflow reads this one when it is imported.
    settings.DAGS_FOLDER = os.environ["AIRFLOW__CORE__DAGS_FOLDER"]


if __name__ == "__main__":
    serve()
