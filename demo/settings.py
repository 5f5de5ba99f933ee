"""The environment in which Airflow's components run: a home of their own, small, quick and local."""

from __future__ import annotations

import json
import os
import random
import secrets
import socket
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from demo.errors import DemoError
from demo.places import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from demo.places import Places

DAGS_FOLDER = CHECKOUT / "example_dags"
USER = "admin"
# below the ranges that systems hand out for outgoing connections, so that none of those takes it in the meantime
PORTS = range(20000, 32000)
# what could make the user's own Airflow and BankSync reach into the demo, or the demo into them
FOREIGN_PREFIXES = ("AIRFLOW", "BANKSYNC", "_AIRFLOW")


@dataclass(frozen=True)
class Login:
    """The only user of the demo's Airflow; the password is new in every run."""

    user: str = USER
    password: str = field(default_factory=lambda: secrets.token_urlsafe(9))


def free_port() -> int:
    """Find a port of 127.0.0.1 on which nobody listens."""
    for port in random.sample(PORTS, 50):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise DemoError(
        "No free port was found on 127.0.0.1: is there a rule that keeps programs from listening?"
    )


def foreign(name: str) -> bool:
    """Tell whether an inherited variable would steer Airflow or the provider."""
    return name.upper().startswith(FOREIGN_PREFIXES)


def environment(
    places: Places,
    *,
    connection_uri: str,
    port: int,
    environ: Mapping[str, str] | None = None,
    dags_folder: Path = DAGS_FOLDER,
) -> dict[str, str]:
    """Build the components' environment: the user's own, without what steers Airflow, plus the demo's settings."""
    inherited = os.environ if environ is None else environ
    env = {name: value for name, value in inherited.items() if not foreign(name)}
    for name, value in _settings(places, port, dags_folder).items():
        env[f"AIRFLOW__{name.replace('.', '__').upper()}"] = value
    env["AIRFLOW_HOME"] = str(places.airflow_home)
    env["AIRFLOW_CONN_BANKSYNC_DEFAULT"] = connection_uri
    # not as_uri(): a blank in the path is a blank to those who read this, and not %20
    env["AIRFLOW_VAR_BANKSYNC_EXPORT_URL"] = f"file://{places.export}"
    env["PYTHONUNBUFFERED"] = "1"
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(CHECKOUT), inherited.get("PYTHONPATH"))))
    # all the traffic is on this machine: no proxy may come between
    for name in ("NO_PROXY", "no_proxy"):
        env[name] = ",".join(filter(None, ("127.0.0.1,localhost", inherited.get(name))))
    if sys.platform == "darwin":
        env["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] = "YES"
    return env


def _settings(places: Places, port: int, dags_folder: Path) -> dict[str, str]:
    base_url = f"http://127.0.0.1:{port}"
    return {
        "core.dags_folder": str(dags_folder),
        "core.load_examples": "False",
        # quick everywhere; the fully qualified name may take a laptop's resolver seconds
        "core.hostname_callable": "socket.gethostname",
        "core.executor": "LocalExecutor",
        # worker slots: few, for a laptop. The waiting is done in the triggerer and needs none
        "core.parallelism": str(worker_slots()),
        "core.max_active_tasks_per_dag": "1000",
        "core.max_map_length": "10000",
        "core.dags_are_paused_at_creation": "True",
        "core.auth_manager": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "core.simple_auth_manager_users": f"{USER}:admin",
        "core.simple_auth_manager_passwords_file": str(passwords_file(places)),
        "core.execution_api_server_url": f"{base_url}/execution/",
        "core.fernet_key": "",
        "database.sql_alchemy_conn": f"sqlite:///{places.airflow_home / 'airflow.db'}",
        "logging.base_log_folder": str(places.airflow_home / "logs"),
        "logging.colored_console_log": "False",
        # The log servers are not started, as the API server finds the files itself. It may look for them all the same,
        # and must not come upon those of another Airflow.
        "logging.worker_log_server_port": str(free_port()),
        "logging.trigger_log_server_port": str(free_port()),
        "api.host": "127.0.0.1",
        "api.port": str(port),
        "api.base_url": base_url,
        "api.workers": "1",
        "api.instance_name": "BankSync demo",
        "api.secret_key": secrets.token_hex(16),
        "api_auth.jwt_secret": secrets.token_hex(64),
        # a small machine may be slow to answer while everything starts at once
        "workers.execution_api_timeout": "60",
        # also the longest time a supervisor takes to see that its task has ended
        "workers.min_heartbeat_interval": "1",
        # the example DAG's schedule would start a second run beside the demo's
        "scheduler.use_job_schedule": "False",
        "scheduler.scheduler_idle_sleep_time": "0.5",
        "scheduler.job_heartbeat_sec": "2",
        "scheduler.parsing_cleanup_interval": "3600",
        "dag_processor.parsing_processes": "1",
        "dag_processor.min_file_process_interval": "3600",
        "dag_processor.refresh_interval": "3600",
        "triggerer.job_heartbeat_sec": "1",
    }


def worker_slots() -> int:
    """Tell how many tasks may run in a worker at the same time."""
    return max(2, min(4, os.cpu_count() or 2))


def passwords_file(places: Places) -> Path:
    """Where Airflow's simple auth manager reads the passwords."""
    return places.airflow_home / "passwords.json"


def write_passwords(places: Places, login: Login) -> None:
    """Tell Airflow's simple auth manager the password before it makes up one of its own."""
    path = passwords_file(places)
    path.touch(mode=0o600)
    path.write_text(json.dumps({login.user: login.password}), "utf-8")
