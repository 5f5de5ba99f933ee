"""Run a DAG file with a real Airflow (``dag.test()``, deferrals included) and print what came of it, as JSON.

In a process of its own: Airflow's imports and warnings stay there, and the run is as a user's would be.
"""

from __future__ import annotations

import json
import operator
import runpy
import sys
from typing import Any


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


if __name__ == "__main__":
    main(*sys.argv[1:])
