"""A client for the calls that the demo makes to Airflow's REST API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

from demo.errors import DemoError

if TYPE_CHECKING:
    from demo.settings import Login

PAGE = 100
TIMEOUT = 180.0
COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")


@dataclass(frozen=True)
class TaskInstance:
    """The fields of a task instance that the demo uses. ``operator`` is the class name."""

    task_id: str
    map_index: int
    state: str | None
    operator: str
    try_number: int
    has_started: bool

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> TaskInstance:
        """Build it from one row of Airflow's listing."""
        operator = row.get("operator_name") or row.get("operator") or ""
        return cls(
            task_id=row["task_id"],
            map_index=row["map_index"],
            state=row["state"],
            operator=operator,
            try_number=row["try_number"],
            has_started=row["start_date"] is not None,
        )


class AirflowApi:
    """A client of one Airflow on 127.0.0.1."""

    def __init__(self, base_url: str, login: Login) -> None:
        self.base_url = base_url
        self._login = login
        self._session = requests.Session()
        self._session.trust_env = False  # ignore the user's proxy and .netrc

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def sign_in(self) -> bool:
        """Get a token. Return False if the server does not answer yet."""
        body = {"username": self._login.user, "password": self._login.password}
        try:
            reply = self._session.post(f"{self.base_url}/auth/token", json=body, timeout=TIMEOUT)
        except requests.ConnectionError:
            return False
        token = self._checked(reply)["access_token"]
        self._session.headers["Authorization"] = f"Bearer {token}"
        return True

    def warm_up(self) -> None:
        """Make the API server build its execution API now. Otherwise the first task waits for it."""
        self._session.get(f"{self.base_url}/execution/health", timeout=TIMEOUT)

    def version(self) -> str:
        """Return the version of Airflow."""
        return str(self._get("/version")["version"])

    def not_ready(self) -> list[str]:
        """Return the components that are not healthy yet."""
        health = self._get("/monitor/health")
        return [name for name in COMPONENTS if (health.get(name) or {}).get("status") != "healthy"]

    def has_dag(self, dag_id: str) -> bool:
        """Return whether Airflow has parsed the DAG."""
        reply = self._session.get(self._url("/dags/{}", dag_id), timeout=TIMEOUT)
        return reply.status_code != requests.codes.not_found and bool(self._checked(reply))

    def import_errors(self) -> list[str]:
        """Return the import errors of DAG files."""
        rows = self._get("/importErrors")["import_errors"]
        return [f"{row['filename']}: {row['stack_trace'].strip()}" for row in rows]

    def start_run(self, dag_id: str) -> str:
        """Unpause the DAG, start a run and return the run's id."""
        url = self._url("/dags/{}", dag_id)
        self._checked(self._session.patch(url, json={"is_paused": False}, timeout=TIMEOUT))
        started = self._session.post(f"{url}/dagRuns", json={"logical_date": None}, timeout=TIMEOUT)
        return str(self._checked(started)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        return str(self._get("/dags/{}/dagRuns/{}", dag_id, run_id)["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """Return all task instances of a run."""
        rows: list[dict[str, Any]] = []
        while True:
            page = self._get(
                "/dags/{}/dagRuns/{}/taskInstances",
                dag_id,
                run_id,
                limit=PAGE,
                offset=len(rows),
                order_by="id",
            )
            rows += page["task_instances"]
            if not page["task_instances"] or len(rows) >= page["total_entries"]:
                return [TaskInstance.from_row(row) for row in rows]

    def xcom(self, dag_id: str, run_id: str, task: TaskInstance, key: str = "return_value") -> Any:
        """Return an XCom of a task instance, or None."""
        path = "/dags/{}/dagRuns/{}/taskInstances/{}/xcomEntries/{}"
        url = self._url(path, dag_id, run_id, task.task_id, key)
        reply = self._session.get(url, params={"map_index": task.map_index}, timeout=TIMEOUT)
        return None if reply.status_code == requests.codes.not_found else self._checked(reply)["value"]

    def log(self, dag_id: str, run_id: str, task: TaskInstance) -> list[str]:
        """Return the log lines of a task instance's last try."""
        path = "/dags/{}/dagRuns/{}/taskInstances/{}/logs/{}"
        entries = self._get(
            path,
            dag_id,
            run_id,
            task.task_id,
            str(task.try_number),
            map_index=task.map_index,
            full_content="true",
        )
        lines = [_log_line(entry) for entry in entries["content"] if "timestamp" in entry]
        return [line for line in lines if "::group::" not in line and "::endgroup::" not in line]

    def _get(self, path: str, *parts: str, **query: Any) -> dict[str, Any]:
        return self._checked(self._session.get(self._url(path, *parts), params=query, timeout=TIMEOUT))

    def _url(self, path: str, *parts: str) -> str:
        return f"{self.base_url}/api/v2{path.format(*(quote(part, safe='') for part in parts))}"

    @staticmethod
    def _checked(reply: requests.Response) -> dict[str, Any]:
        if not reply.ok:
            raise DemoError(
                f"Airflow answered {reply.status_code} to {reply.request.method} {reply.request.path_url}: "
                f"{reply.text[:300]}"
            )
        body: dict[str, Any] = reply.json()
        return body


def _log_line(entry: dict[str, Any]) -> str:
    errors = [f"{each.get('exc_type')}: {each.get('exc_value')}" for each in entry.get("error_detail") or []]
    return " ".join([str(entry.get("level", "")).upper(), str(entry.get("event", "")), *errors]).strip()
