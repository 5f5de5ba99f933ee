"""The environment of Airflow's components: their own AIRFLOW_HOME, small and local."""

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
from demo.folders import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from demo.folders import RunFolders

DAGS_FOLDER = CHECKOUT / "example_dags"
USER = "admin"
# below the ephemeral range, so that no outgoing connection takes the port before Airflow does
PORTS = range(20000, 32000)
# variables that could connect the demo with the user's own Airflow or BankSync
FOREIGN_PREFIXES = ("AIRFLOW", "BANKSYNC", "_AIRFLOW")


@dataclass(frozen=True)
class Login:
    """The only user of the demo's Airflow. Each run has a new password."""

    user: str = USER
    password: str = field(default_factory=lambda: secrets.token_urlsafe(9))


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    for port in random.sample(PORTS, 50):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise DemoError(
        "The demo found no free port on 127.0.0.1. Check whether a firewall rule forbids listening."
    )


def foreign(name: str) -> bool:
    """Return whether an inherited variable would configure Airflow or the provider."""
    return name.upper().startswith(FOREIGN_PREFIXES)


def environment(
    folders: RunFolders,
    *,
    connection_uri: str,
    port: int,
    environ: Mapping[str, str] | None = None,
    dags_folder: Path = DAGS_FOLDER,
) -> dict[str, str]:
    """Return the components' environment: the user's without its Airflow settings, plus the demo's settings."""
    inherited = os.environ if environ is None else environ
    env = {name: value for name, value in inherited.items() if not foreign(name)}
    for name, value in _settings(folders, port, dags_folder).items():
        env[f"AIRFLOW__{name.replace('.', '__').upper()}"] = value
    env["AIRFLOW_HOME"] = str(folders.airflow_home)
    env["AIRFLOW_CONN_BANKSYNC_DEFAULT"] = connection_uri
    # not as_uri(): Airflow's paths do not decode %20
    env["AIRFLOW_VAR_BANKSYNC_EXPORT_URL"] = f"file://{folders.export}"
    env["PYTHONUNBUFFERED"] = "1"
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(CHECKOUT), inherited.get("PYTHONPATH"))))
    # all traffic stays on this machine, so no proxy is used
    for name in ("NO_PROXY", "no_proxy"):
        env[name] = ",".join(filter(None, ("127.0.0.1,localhost", inherited.get(name))))
    if sys.platform == "darwin":
        env["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] = "YES"
    return env


def _settings(folders: RunFolders, port: int, dags_folder: Path) -> dict[str, str]:
    base_url = f"http://127.0.0.1:{port}"
    return {
        "core.dags_folder": str(dags_folder),
        "core.load_examples": "False",
        # a laptop's resolver may take seconds to find the fully qualified name
        "core.hostname_callable": "socket.gethostname",
        "core.executor": "LocalExecutor",
        # few worker slots: deferred tasks need none
        "core.parallelism": str(worker_slots()),
        "core.max_active_tasks_per_dag": "1000",
        "core.max_map_length": "10000",
        "core.dags_are_paused_at_creation": "True",
        "core.auth_manager": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "core.simple_auth_manager_users": f"{USER}:admin",
        "core.simple_auth_manager_passwords_file": str(passwords_file(folders)),
        "core.execution_api_server_url": f"{base_url}/execution/",
        "core.fernet_key": "",
        "database.sql_alchemy_conn": f"sqlite:///{folders.airflow_home / 'airflow.db'}",
        "logging.base_log_folder": str(folders.airflow_home / "logs"),
        "logging.colored_console_log": "False",
        # No log servers run. These ports keep the API server from reading the logs of another Airflow.
        "logging.worker_log_server_port": str(free_port()),
        "logging.trigger_log_server_port": str(free_port()),
        "api.host": "127.0.0.1",
        "api.port": str(port),
        "api.base_url": base_url,
        "api.workers": "1",
        "api.instance_name": "BankSync demo",
        "api.secret_key": secrets.token_hex(16),
        "api_auth.jwt_secret": secrets.token_hex(64),
        # a small machine answers slowly while all components start
        "workers.execution_api_timeout": "60",
        # the supervisor needs up to this long to notice that its task has ended
        "workers.min_heartbeat_interval": "1",
        # otherwise the example DAG's schedule starts a second run
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
    """Return how many tasks can run in workers at the same time."""
    return max(2, min(4, os.cpu_count() or 2))


def passwords_file(folders: RunFolders) -> Path:
    """Return the file in which Airflow's simple auth manager looks for passwords."""
    return folders.airflow_home / "passwords.json"


def write_passwords(folders: RunFolders, login: Login) -> None:
    """Write the password before Airflow's simple auth manager generates one."""
    path = passwords_file(folders)
    path.touch(mode=0o600)
    path.write_text(json.dumps({login.user: login.password}), "utf-8")
