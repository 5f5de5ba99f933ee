"""What the Test button and ``airflow connections test`` say, and the fields of the connection's form."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.hooks import banksync
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.provider_info import UI_FIELD_BEHAVIOUR

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=1, time_scale=0)
MAY_SYNC = (
    "It should be able to start syncs: BankSync did not refuse to cancel a job, which needs the same scope."
)
ALL = "can read banks, feeds, integrations, enrichments. "


def connect(patch: pytest.MonkeyPatch, sandbox: BankSyncSandbox, **fields: Any) -> BankSyncHook:
    connection = {"conn_type": "banksync", "host": sandbox.url, "password": sandbox.api_key, **fields}
    patch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", json.dumps(connection))
    return BankSyncHook()


def test_the_command_line_shows_what_the_key_may_do(
    banksync_sandbox: BankSyncSandbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    airflow_db: None,
) -> None:
    from airflow.cli.cli_parser import get_parser

    monkeypatch.setenv("AIRFLOW__CORE__TEST_CONNECTION", "Enabled")
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")  # the command sets it
    args = get_parser().parse_args(["connections", "test", "banksync_default"])
    args.func(args)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"({banksync_sandbox.workspace_id}). The key {ALL}{MAY_SYNC}" in shown
    assert "Connection success!" in shown
    assert banksync_sandbox.jobs == [], "nothing was started"


@pytest.mark.parametrize(
    ("key", "may"),
    [
        ({"role": "editor"}, True),
        ({"role": "viewer"}, False),
        ({"scopes": ["banks:read", "feeds:read", "jobs:read"]}, False),
        ({"scopes": ["feeds:read", "jobs:read", "jobs:write"]}, True),
    ],
)
def test_whether_the_key_may_start_syncs(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch, key: dict[str, Any], may: bool
) -> None:
    hook = connect(monkeypatch, banksync_sandbox, password=banksync_sandbox.create_key(**key))
    works, words = hook.test_connection()
    assert works
    no = (
        "It may not start syncs, because it may not cancel jobs: it needs the scope jobs:write, and an owner with "
        "the role editor."
    )
    assert words.endswith(MAY_SYNC if may else no)
    feed = hook.list_feeds()[0]["id"]
    if may:
        hook.trigger_sync(feed)
    else:
        with pytest.raises(x.BankSyncPermissionError):
            hook.trigger_sync(feed)


@pytest.mark.parametrize("accepts", [True, False], ids=["silent", "refuses"])
def test_a_host_that_does_not_answer(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch, accepts: bool
) -> None:
    assert 2 * banksync.TEST_TIMEOUT <= 10, "to connect, and to wait for the answer"
    monkeypatch.setattr(banksync, "TEST_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not accepts:
            server.close()
        hook = connect(monkeypatch, banksync_sandbox, host=f"http://127.0.0.1:{port}")
        begun = time.monotonic()
        works, words = hook.test_connection()
    assert time.monotonic() - begun < 3, "no retries"
    assert not works
    assert f"Check that this worker can reach http://127.0.0.1:{port}" in words


@pytest.mark.parametrize("port", [0, None, 443])
def test_the_port_that_airflow_sends_for_an_empty_field(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch, port: int | None
) -> None:
    hook = connect(monkeypatch, banksync_sandbox, port=port)
    assert hook.get_config().base_url == banksync_sandbox.url
    assert hook.test_connection()[0]
    default = connect(monkeypatch, banksync_sandbox, host=None, port=port)
    assert default.get_config().base_url == "https://api.banksync.io"


def test_errors_name_the_fields_as_the_form_does(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = UI_FIELD_BEHAVIOUR["relabeling"]
    for field, value in (("password", ""), ("password", "secret"), ("host", "ftp://x")):
        hook = connect(monkeypatch, banksync_sandbox, **{field: value})
        with pytest.raises(x.BankSyncConfigError) as caught:
            hook.whoami()
        assert f"field {labels[field]} ({field})" in str(caught.value)


def test_the_form_says_where_the_key_is() -> None:
    assert "Developers" in UI_FIELD_BEHAVIOUR["placeholders"]["password"]
    assert "443" in UI_FIELD_BEHAVIOUR["placeholders"]["port"]


@pytest.mark.parametrize("kind", ["http", "aws"])
def test_a_connection_of_another_type(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    hook = connect(monkeypatch, banksync_sandbox, conn_type=kind)
    with pytest.raises(x.BankSyncConfigError, match=f"has the type '{kind}', not 'banksync'"):
        hook.whoami()
    assert banksync_sandbox.requests == []
