"""Starting, stopping, settings, determinism, the command, the fixture."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import requests

from airflow_provider_banksync.sandbox import BankSyncSandbox, SandboxClock, SandboxError
from airflow_provider_banksync.sandbox.exact_json import encode
from airflow_provider_banksync.sandbox.http.rate_limit import RateLimit

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "airflow_provider_banksync.sandbox"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


def test_a_sandbox_runs_inside_its_block_only():
    with BankSyncSandbox(portals=1) as sandbox:
        port = urlsplit(sandbox.url).port
        assert requests.get(sandbox.url, headers={"User-Agent": "tests/1.0"}, timeout=300).status_code == 404
    with pytest.raises(SandboxError, match="not running"):
        _ = sandbox.url
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert not [each for each in threading.enumerate() if each.name == f"banksync-sandbox-{port}"]


def test_it_listens_on_this_machine_only(family):
    assert urlsplit(family.url).hostname == "127.0.0.1"
    others = {each[4][0] for each in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {
        "127.0.0.1"
    }
    for address in others:
        with socket.socket() as probe:
            probe.settimeout(1)
            assert probe.connect_ex((address, urlsplit(family.url).port)) != 0


def test_a_port_in_use_is_an_error_at_once(family):
    port = urlsplit(family.url).port
    with pytest.raises(SandboxError, match=f"port {port} on 127.0.0.1 is in use"):
        BankSyncSandbox(portals=1, port=port).start()


def test_a_port_is_free_again_at_once():
    with BankSyncSandbox(portals=1) as first:
        port = urlsplit(first.url).port
        requests.get(first.url, headers={"User-Agent": "tests/1.0"}, timeout=300)
    with BankSyncSandbox(portals=1, port=port) as second:
        assert urlsplit(second.url).port == port


def test_starting_twice_is_refused_and_stopping_twice_is_not(fresh):
    sandbox = fresh()
    with pytest.raises(SandboxError, match="running already"):
        sandbox.start()
    sandbox.stop()
    sandbox.stop()


def test_state_survives_a_stop(fresh, client_of):
    sandbox = fresh()
    feed = sandbox.world.feeds(sandbox.world.parent)[0].id
    job = client_of(sandbox).post(f"/v1/feeds/{feed}/sync").json()["data"]
    sandbox.stop()
    sandbox.start()
    assert client_of(sandbox).data(f"/v1/feeds/{feed}/jobs/{job['id']}") == job


def test_a_server_that_fails_to_start_raises_in_the_caller(monkeypatch):
    from airflow_provider_banksync.sandbox.http import server_thread

    async def die(self, sockets=None):
        raise OSError("no more of anything")

    monkeypatch.setattr(server_thread.uvicorn.Server, "startup", die)
    with pytest.raises(SandboxError, match="did not start") as caught:
        BankSyncSandbox(portals=1).start()
    assert isinstance(caught.value.__cause__, OSError)


def test_two_sandboxes_share_nothing(fresh, client_of):
    one, two = fresh(), fresh(seed=8)
    assert one.url != two.url
    assert one.api_key != two.api_key
    assert client_of(one, two.api_key).get("/v1/whoami").status_code == 401
    feed = one.world.feeds(one.world.parent)[0].id
    assert client_of(one).post(f"/v1/feeds/{feed}/sync").status_code == 201
    assert client_of(two).post(f"/v1/feeds/{feed}/sync").status_code == 404
    one.clock.advance(5)
    assert (len(one.jobs), len(two.jobs)) == (1, 0)
    assert one.clock.now() != two.clock.now()


@pytest.mark.parametrize(
    "wrong",
    [
        {"portals": -1},
        {"port": 70_000},
        {"time_scale": -1},
        {"time_scale": float("nan")},
        {"time_scale": float("inf")},
        {"broken_banks": 4, "portals": 3},
        {"page_size": 0},
        {"job_seconds": (9, 3)},
        {"row_error_share": 1.5},
        {"failure_share": float("nan")},
        {"now": datetime(2020, 1, 1, tzinfo=timezone.utc)},
        {"now": datetime(2026, 1, 1)},  # noqa: DTZ001
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused_before_anything_starts(wrong):
    with pytest.raises(SandboxError):
        BankSyncSandbox(**wrong)


def test_the_connection_uri_connects_to_the_sandbox(family):
    uri = urlsplit(family.connection_uri)
    assert uri.scheme == "banksync"
    assert unquote(uri.password or "") == family.api_key
    assert unquote(uri.hostname or "") == family.url
    assert (uri.path, uri.query) == ("/", "rate_limit_per_minute=100000")


def test_the_connection_uri_holds_the_rate_limit():
    with BankSyncSandbox(portals=1, rate_limit=RateLimit(50, 30.0)) as limited:
        assert limited.connection_uri.endswith("?rate_limit_per_minute=100")


def test_the_clock_runs_stops_and_moves():
    real = [100.0]
    clock = SandboxClock(scale=20, now=datetime(2026, 3, 1, tzinfo=timezone.utc), monotonic=lambda: real[0])
    begin = clock.now()
    real[0] += 2
    assert (clock.now() - begin).total_seconds() == 40
    clock.set_scale(0)
    real[0] += 1_000
    assert (clock.now() - begin).total_seconds() == 40
    clock.advance(2.5)
    clock.set_scale(1)
    real[0] += 1
    assert (clock.now() - begin).total_seconds() == 43.5
    with pytest.raises(SandboxError, match="forward"):
        clock.advance(-1)


def test_a_float_never_becomes_json():
    with pytest.raises(TypeError, match="exact"):
        encode({"amount": 12.5})


SCRIPT = """
import hashlib, sys
from datetime import datetime, timezone
import requests
from airflow_provider_banksync.sandbox import BankSyncSandbox

now = datetime(2026, 3, 4, 12, tzinfo=timezone.utc)
with BankSyncSandbox(portals=9, seed=41, broken_banks=1, time_scale=0, now=now, failure_share=0.3) as sandbox:
    session = requests.Session()
    session.headers.update({"X-API-Key": sandbox.api_key, "User-Agent": "tests/1.0"})
    digest = hashlib.sha256()

    def ask(method, path, workspace=None, **more):
        headers = {"X-Workspace-Id": workspace} if workspace else {}
        response = session.request(method, sandbox.url + path, headers=headers, timeout=300, **more)
        digest.update(response.content)
        return response.json().get("data")

    ask("GET", "/v1/workspaces")
    for kind in ("banks", "integrations"):
        rows = ask("GET", f"/v1/{kind}?scope=family")
    for bank in ask("GET", "/v1/banks?scope=family"):
        for account in ask("GET", f"/v1/banks/{bank['id']}/accounts", bank["workspaceId"]):
            base = f"/v1/banks/{bank['id']}/accounts/{account['id']}"
            for part in ("transactions", "balances", "trades", "holdings", "loan"):
                ask("GET", f"{base}/{part}", bank["workspaceId"])
    for feed in ask("GET", "/v1/feeds?scope=family"):
        days = {"startDate": "2026-01-01", "endDate": "2026-01-31"}
        ask("POST", f"/v1/feeds/{feed['id']}/sync", feed["workspaceId"], json=days)
        sandbox.clock.advance(9)
    ask("GET", "/api/jobs?scope=family&limit=200")
    ask("GET", "/v1/enrichments")
    print(digest.hexdigest())
"""


def test_the_same_seed_and_calls_give_the_same_bytes_in_two_processes():
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env={**ENVIRONMENT, "PYTHONHASHSEED": str(number)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in (1, 2)
    ]
    first, second = (run.communicate(timeout=300)[0].strip() for run in runs)
    assert re.fullmatch(r"[0-9a-f]{64}", first)
    assert first == second


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_its_url_and_stops_on_a_signal(number):
    command = [*COMMAND, "--portals", "2", "--seed", "3", "--time-scale", "20"]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        said = ""
        for line in process.stdout:
            said += line
            if "Ctrl-C" in line:
                break
        url = re.search(r"URL +(http://127\.0\.0\.1:\d+)", said)
        key = re.search(r"API key +(bsk_\w{44})", said)
        added = re.search(r"^airflow connections add banksync_default --conn-json (.+)$", said, re.MULTILINE)
        assert "  Feed     Current account to Notion\n" in said
        pasted = re.search(r"export (AIRFLOW_CONN_BANKSYNC_DEFAULT=.+)", said)
        assert url
        assert key
        assert added
        assert pasted
        headers = {"X-API-Key": key[1], "User-Agent": "tests/1.0"}
        assert len(requests.get(f"{url[1]}/v1/workspaces", headers=headers, timeout=300).json()["data"]) == 3
        (assignment,) = shlex.split(pasted[1])
        connection = json.loads(assignment.partition("=")[2])
        assert (connection["password"], connection["host"]) == (key[1], url[1])
        assert connection["extra"] == {"rate_limit_per_minute": 100_000}, "a number, not a text"
        assert json.loads(*shlex.split(added[1])) == connection
        process.send_signal(number)
        rest, complaints = process.communicate(timeout=300)
        assert (process.returncode, rest.strip(), complaints) == (0, "Stopped.", "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--portals", "many"], "--portals"),
        (["--portals", "-3"], "portals must be between 0 and 100000, not -3"),
        (["--broken-banks", "9", "--portals", "3"], "broken_banks must be between 0 and 3, not 9"),
        (["--time-scale", "nan"], "time scale"),
        (["--now", "soon"], "not a time like 2026-03-01T08:00:00Z"),
        (["--port", "99999"], "port must be between"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_one_clear_line(arguments, complaint, capsys):
    from airflow_provider_banksync.sandbox.control.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    said = capsys.readouterr()
    assert (stopped.value.code, said.out) == (2, "")
    assert complaint in said.err
    assert said.err.count("\n") == 1


def test_a_port_in_use_is_one_clear_line_of_the_command(family):
    port = str(urlsplit(family.url).port)
    done = subprocess.run(
        [*COMMAND, "--port", port], env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == f"sandbox: port {port} on 127.0.0.1 is in use; choose another, or 0 for any free one\n"
    )


def test_help_has_examples(capsys):
    from airflow_provider_banksync.sandbox.control.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    said = capsys.readouterr().out
    assert stopped.value.code == 0
    assert "examples:" in said
    assert "--broken-banks" in said
    assert "X-API-Key" in said


@pytest.mark.banksync_sandbox(portals=2, time_scale=50, seed=5)
def test_the_fixture_runs_a_sandbox_as_its_marker_says(banksync_sandbox):
    assert len(banksync_sandbox.portals) == 2
    assert banksync_sandbox.clock.scale == 50
    assert os.environ["AIRFLOW_CONN_BANKSYNC_DEFAULT"] == banksync_sandbox.connection_uri
    headers = {"X-API-Key": banksync_sandbox.api_key, "User-Agent": "tests/1.0"}
    assert requests.get(f"{banksync_sandbox.url}/v1/whoami", headers=headers, timeout=300).status_code == 200


def test_the_fixture_needs_no_marker(banksync_sandbox):
    assert len(banksync_sandbox.portals) == 25


@pytest.mark.banksync_sandbox(portals=-1)
def test_a_wrong_marker_fails_the_test_in_one_line(request):
    with pytest.raises(pytest.fail.Exception, match="portals must be between 0 and 100000, not -1"):
        request.getfixturevalue("banksync_sandbox")


@pytest.mark.parametrize(
    ("marker", "complaint"),
    [
        (pytest.mark.banksync_sandbox(3), "takes its settings by name"),
        (pytest.mark.banksync_sandbox(portal=3), "has no setting 'portal'; there are portals, seed"),
        (pytest.mark.banksync_sandbox(portals="3"), "portals must be a whole number"),
    ],
    ids=["positional", "misspelt", "kind"],
)
def test_an_invalid_marker_fails_the_test_in_one_line(request, marker, complaint):
    request.node.add_marker(marker)
    with pytest.raises(pytest.fail.Exception, match=complaint):
        request.getfixturevalue("banksync_sandbox")


@pytest.mark.banksync_sandbox(portals=4, page_size=7, seed=3)
class TestMarkersOfClassAndFunction:
    @pytest.mark.banksync_sandbox(portals=2, time_scale=0)
    def test_they_add_up_and_the_nearest_counts(self, banksync_sandbox):
        assert (len(banksync_sandbox.portals), banksync_sandbox.clock.scale) == (2, 0)
        assert banksync_sandbox.world.seed.number == 3


@pytest.fixture
def afterwards():
    """Check after the teardown of all other fixtures that the test's sandbox has stopped."""
    seen = []
    yield seen
    with pytest.raises(SandboxError, match="not running"):
        _ = seen[0].url


def test_the_fixture_stops_its_sandbox(afterwards, banksync_sandbox):
    afterwards.append(banksync_sandbox)


def test_without_starlette_the_message_says_what_to_install():
    script = """
        import sys
        for name in ("starlette", "uvicorn"):
            sys.modules[name] = None
        from airflow_provider_banksync.sandbox import BankSyncSandbox, SandboxError
        try:
            BankSyncSandbox(portals=1).start()
        except SandboxError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=True)
    assert "pip install starlette uvicorn httptools" in done.stdout


def test_the_plugin_is_light_and_the_sandbox_knows_nothing_of_the_rest():
    script = """
        import sys
        import pytest
        before = set(sys.modules)
        import airflow_provider_banksync.sandbox.pytest_plugin
        assert not {"starlette", "uvicorn", "airflow", "requests", "aiohttp"} & (set(sys.modules) - before)
        import airflow_provider_banksync.sandbox.http.app, airflow_provider_banksync.sandbox.control.cli
        import airflow_provider_banksync.sandbox.http.server_thread
        ours = {name for name in sys.modules if name.startswith("airflow_provider_banksync.")}
        assert all(name.startswith("airflow_provider_banksync.sandbox") for name in ours), ours
        assert "airflow" not in sys.modules
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    subprocess.run(command, env=ENVIRONMENT, timeout=300, check=True)


def test_a_sandbox_is_quiet_in_the_callers_log(caplog):
    caplog.set_level(0)
    with BankSyncSandbox(portals=1) as sandbox:
        requests.get(sandbox.url, headers={"User-Agent": "tests/1.0"}, timeout=300)
        for name in ("uvicorn.error", "uvicorn.access"):
            logging.getLogger(name).info("another server of this process")
    said = [record for record in caplog.records if not record.name.startswith("urllib3")]
    assert [record.getMessage() for record in said] == ["another server of this process"] * 2
