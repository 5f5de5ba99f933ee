"""The environment of the demo's Airflow: nothing of the user's own gets in."""

from __future__ import annotations

import json
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from demo.folders import RunFolders
from demo.settings import Login, environment, free_port, passwords_file, write_passwords

if TYPE_CHECKING:
    from pathlib import Path

URI = "banksync://:key@127.0.0.1/"


@pytest.fixture
def folders(tmp_path: Path) -> RunFolders:
    folders = RunFolders(tmp_path / "a run")
    folders.airflow_home.mkdir(parents=True)
    return folders


def test_what_steers_the_users_own_airflow_is_left_out(folders: RunFolders) -> None:
    own = {
        "AIRFLOW_HOME": "/home/me/airflow",
        "AIRFLOW_CONFIG": "/home/me/airflow.cfg",
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD": "cat secret",
        "AIRFLOW_CONN_BANKSYNC_DEFAULT": "banksync://:bsk_mine@api.banksync.io/",
        "AIRFLOW_VAR_BANKSYNC_EXPORT_URL": "s3://mine",
        "PATH": "/bin",
        "LANG": "C",
    }
    env = environment(folders, connection_uri=URI, port=20001, environ=own)
    assert env["AIRFLOW_HOME"] == str(folders.airflow_home)
    assert env["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert env["AIRFLOW_CONN_BANKSYNC_DEFAULT"] == URI
    assert env["AIRFLOW_VAR_BANKSYNC_EXPORT_URL"] == f"file://{folders.export}"
    assert {"AIRFLOW_CONFIG", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD"}.isdisjoint(env)
    assert (env["PATH"], env["LANG"]) == ("/bin", "C")
    assert not [value for value in env.values() if "mine" in value or "/home/me" in value]


def test_no_proxy_comes_between(folders: RunFolders) -> None:
    own = {"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "intranet"}
    env = environment(folders, connection_uri=URI, port=20001, environ=own)
    assert env["NO_PROXY"].split(",") == ["127.0.0.1", "localhost", "intranet"]
    assert env["no_proxy"].split(",") == ["127.0.0.1", "localhost"]


def test_everything_listens_on_this_machine_only(folders: RunFolders) -> None:
    env = environment(folders, connection_uri=URI, port=20001, environ={})
    assert env["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert env["AIRFLOW__API__BASE_URL"] == "http://127.0.0.1:20001"
    assert env["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:20001/execution/"


def test_secrets_are_new_in_every_run(folders: RunFolders) -> None:
    first, second = (environment(folders, connection_uri=URI, port=20001, environ={}) for _ in range(2))
    assert first["AIRFLOW__API_AUTH__JWT_SECRET"] != second["AIRFLOW__API_AUTH__JWT_SECRET"]
    assert Login().password != Login().password


def test_only_the_user_reads_the_password(folders: RunFolders) -> None:
    login = Login()
    write_passwords(folders, login)
    path = passwords_file(folders)
    assert json.loads(path.read_text()) == {"admin": login.password}
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_free_port_is_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
