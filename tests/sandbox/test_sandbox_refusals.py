"""Invalid settings, faults, transactions and keys are errors at once, in one line that names the argument."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal

import pytest
import requests

from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault, RateLimit, SandboxError

PATHS = ("/v1/whoami", "/v1/banks")


@pytest.fixture
def admin(fresh, client_of):
    """Return a sandbox, a client of its owner, and a function that sends admin calls."""
    sandbox = fresh(portals=1)
    with requests.Session() as session:
        session.trust_env = False

        def call(method, path="", **more):
            return session.request(method, f"{sandbox.url}/_sandbox{path}", timeout=300, **more)

        yield sandbox, client_of(sandbox), call


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"portals": "3"}, "portals must be a whole number, not '3'"),
        ({"portals": True}, "portals must be a whole number, not True"),
        ({"page_size": 2.5}, "page_size must be a whole number"),
        ({"rows_per_sync": 1.5}, "rows_per_sync must be a whole number"),
        ({"seed": "abc"}, "seed must be a whole number"),
        ({"port": 8080.5}, "port must be a whole number"),
        ({"drift": "no"}, "drift must be True or False"),
        ({"block_default_user_agents": 0}, "block_default_user_agents must be True or False"),
        ({"now": "2026-01-01"}, "now must be a datetime"),
        ({"now": datetime(2026, 1, 1)}, "now must carry a time zone"),  # noqa: DTZ001
        ({"now": datetime(2101, 1, 1, tzinfo=timezone.utc)}, "no further than 2100-01-01"),
        ({"time_scale": "1"}, "time scale must be a number"),
        ({"time_scale": 1e300}, "time scale must be between 0 and 1000000"),
        ({"rate_limit": 2.5}, "rate_limit must be a whole number"),
        ({"rate_limit": True}, "rate_limit must be a whole number"),
        ({"rate_limit": "2"}, "rate_limit must be a whole number"),
        ({"transactions_per_day": "4"}, "transactions_per_day must be a number"),
        ({"job_seconds": 3}, "job_seconds must be a pair"),
        ({"job_seconds": (1, 2, 3)}, "job_seconds must be a pair"),
        ({"job_seconds": ("1", "2")}, "job_seconds must be a number"),
        ({"failure_share": None}, "failure_share must be a number"),
    ],
    ids=str,
)
def test_a_setting_of_a_wrong_kind_is_refused_before_anything_starts(settings, complaint):
    with pytest.raises(SandboxError, match=complaint):
        BankSyncSandbox(**settings)


@pytest.mark.parametrize(
    "make", [lambda: RateLimit(2.5), lambda: RateLimit(2, window="60"), lambda: RateLimit(2, 60, ["date"])]
)
def test_a_rate_limit_of_a_wrong_kind_is_refused(make):
    with pytest.raises(SandboxError):
        make()


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1, "60", 1e300, 75 * 366 * 86_400])
def test_a_clock_that_cannot_be_moved_does_not_change(fresh, seconds):
    sandbox = fresh(portals=0)
    before = sandbox.clock.now()
    with pytest.raises(SandboxError, match="clock"):
        sandbox.clock.advance(seconds)
    assert sandbox.clock.now() == before


def test_a_clock_that_runs_stops_at_the_end_of_time(fresh, client_of):
    sandbox = fresh(
        portals=0, now=datetime(2099, 12, 31, 23, 59, 59, tzinfo=timezone.utc), time_scale=1_000_000
    )
    for _ in range(1_000_000):
        if sandbox.clock.now().year == 2100:
            break
    assert sandbox.clock.now() == datetime(2100, 1, 1, tzinfo=timezone.utc)
    assert client_of(sandbox).get("/v1/whoami").status_code == 200


BAD_FAULTS = [
    ({"fault": "reset", "path": 5}, "path must be a string"),
    ({"fault": "reset", "path": None}, "path must be a string"),
    ({"fault": "reset", "path": "v1"}, "path must begin with /"),
    ({"fault": "reset", "nth": 1.5}, "nth must be a whole number"),
    ({"fault": "reset", "times": "2"}, "times must be a whole number"),
    ({"fault": "reset", "probability": "x"}, "probability must be a number"),
    ({"fault": "reset", "seed": "x"}, "seed must be a whole number"),
    ({"fault": "reset", "workspaceId": 5}, "workspace_id must be a string"),
    ({"fault": "reset", "method": ["GET"]}, "method must be one of"),
    ({"fault": "reset", "when": ["after"]}, "when must be"),
    ({"fault": "reset", "when": ""}, "when must be"),
    ({"fault": "status", "with": {"code": 503.5}}, "code must be a whole number"),
    ({"fault": "status", "with": {"code": 503, "body": ["json"]}}, "body must be one of"),
    ({"fault": "status", "with": {"code": 503, "message": 5}}, "message must be a string"),
    ({"fault": "status", "with": {"code": 503, "retry_after": "5"}}, "retry_after must be a number"),
    ({"fault": "not_success", "with": {"message": 5}}, "message must be a string"),
    ({"fault": "latency", "with": {"seconds": "1"}}, "seconds must be a number"),
    ({"fault": "truncated", "with": {"part": "1"}}, "part must be a number"),
    ({"fault": "answer", "with": {"status": 200, "body": 5}}, "body must be a string"),
    ({"fault": "answer", "with": {"status": 200, "body": {"a": 1}}}, "body must be a string"),
    ({"fault": "answer", "with": {"status": 200.5}}, "status must be a whole number"),
    ({"fault": "answer", "with": {"status": 204, "body": "x"}}, "body must be empty"),
    ({"fault": "answer", "with": {"status": 200, "headers": {"X-A": 5}}}, "the header X-A must be a string"),
    (
        {"fault": "answer", "with": {"status": 200, "headers": {"X-A": "a\nb"}}},
        "the header X-A must be one line",
    ),
    (
        {"fault": "answer", "with": {"status": 200, "headers": {"X-A": "→"}}},
        "the header X-A must be one line",
    ),
    ({"fault": "answer", "with": {"status": 200, "headers": {"X A": "a"}}}, "not a valid header name"),
    ({"fault": "answer", "with": {"status": 200, "headers": {"Content-length": "9"}}}, "must not hold"),
    ({"fault": "answer", "with": {"status": 200, "headers": []}}, "headers must be a mapping"),
    ({"fault": "answer", "with": {"status": 200, "media_type": "te→xt"}}, "media_type must be one line"),
    ({"fault": "redirect", "with": {"to": 5}}, "to must be a string"),
    ({"fault": "redirect", "with": {"to": "https://exämple.→/"}}, "to must be one line"),
    ({"fault": "content_type", "with": {"media_type": 5}}, "media_type must be a string"),
    ({"fault": "content_type", "with": {"media_type": "te→xt"}}, "media_type must be one line"),
]


@pytest.mark.parametrize(
    ("body", "complaint"), BAD_FAULTS, ids=lambda value: str(value).encode("ascii", "replace")
)
def test_a_fault_that_cannot_happen_is_refused_when_it_is_added(admin, body, complaint):
    sandbox, client, call = admin
    response = call("POST", "/faults", json=body)
    assert (response.status_code, complaint in response.json()["error"]) == (400, True), response.text
    assert sandbox.faults.rules == []
    assert client.get("/v1/whoami").status_code == 200


def test_what_is_no_fault_is_refused(family):
    with pytest.raises(SandboxError, match="fault must be a Fault"):
        family.faults.add("reset")


@pytest.mark.parametrize("make", [lambda: Fault.edited(name="\ud800"), lambda: Fault.not_success("\ud800")])
def test_half_a_surrogate_pair_is_refused(make):
    with pytest.raises(SandboxError):
        make()


def test_a_fault_with_a_bug_is_a_500_and_is_recorded(fresh, client_of, refused, caplog):
    sandbox = fresh(portals=0)
    sandbox.faults.add(Fault("odd", instead=lambda now: now / 0))  # what a bug looks like
    assert refused(client_of(sandbox).get("/v1/banks"))[0] == 500
    assert [(each.path, each.status, each.fault) for each in sandbox.requests] == [
        ("/v1/banks", 500, "odd before")
    ]
    assert "has a bug" in caplog.text


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"amount": "1e5000"}, "amount must be below"),
        ({"amount": "-1e18"}, "amount must be below"),
        ({"amount": None}, "amount must be a decimal number"),
        ({"amount": 1, "description": 5}, "description must be a string"),
        ({"amount": 1, "category": ["x"]}, "category must be a string"),
        ({"amount": 1, "settlesAfter": "60"}, "settles_after must be a number"),
        ({"amount": 1, "day": "20260301"}, "YYYY-MM-DD"),
    ],
    ids=str,
)
def test_a_transaction_that_cannot_be_shown_is_refused_when_it_is_added(admin, body, complaint):
    _, client, call = admin
    bank = client.data("/v1/banks")[0]["id"]
    account = client.data(f"/v1/banks/{bank}/accounts")[0]
    response = call("POST", "/transactions", json={"accountId": account["id"], **body})
    assert (response.status_code, complaint in response.json()["error"]) == (400, True), response.text
    assert client.get(account["links"]["transactions"]).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"description": "\ud800"},
        {"category": "\udfff"},
        {"day": "2026-03-01"},
        {"settles_after": float("nan")},
    ],
    ids=ascii,
)
def test_add_transaction_checks_its_arguments(fresh, client_of, wrong):
    sandbox = fresh(portals=0)
    account = sandbox.world.workspace_accounts(sandbox.world.parent)[0]
    with pytest.raises(SandboxError, match=next(iter(wrong))):
        sandbox.add_transaction(account.id, 1, **wrong)


def test_the_largest_amount_is_shown_exactly(fresh, client_of):
    sandbox = fresh(portals=0)
    client = client_of(sandbox)
    bank = client.data("/v1/banks")[0]["id"]
    account = client.data(f"/v1/banks/{bank}/accounts")[0]
    made = sandbox.add_transaction(account["id"], "-9999999999999999.99")
    shown = {row["id"]: row["amount"] for row in client.data(account["links"]["transactions"])}
    assert shown[made] == Decimal("-9999999999999999.99")


@pytest.mark.parametrize("moment", ["2026-05-01T00:00:00", "2026-05-01", "soon", 5])
@pytest.mark.parametrize("sort", ["keys", "sessions"])
def test_an_expiry_without_a_time_zone_is_refused(admin, sort, moment):
    _, _, call = admin
    response = call("POST", f"/{sort}", json={"expiresAt": moment})
    assert (response.status_code, "2026-03-01T08:00:00Z" in response.json()["error"]) == (400, True)


@pytest.mark.parametrize("moment", [datetime(2026, 5, 1), "2026-05-01T00:00:00Z"])  # noqa: DTZ001
def test_the_methods_check_an_expiry_too(family, moment):
    for make in (family.create_key, family.create_session):
        with pytest.raises(SandboxError, match="expires_at must"):
            make(expires_at=moment)


def test_a_clock_moved_to_a_time_without_a_zone_says_what_is_missing(admin):
    sandbox, _, call = admin
    response = call("PUT", "/clock", json={"now": "2026-05-01T00:00:00", "scale": 5})
    assert response.status_code == 400
    assert "2026-03-01T08:00:00Z" in response.json()["error"]
    assert "datetime(" not in response.text
    assert sandbox.clock.scale == 0
    for wrong in ({"scale": "5"}, {"advance": "60"}, {"scale": True}):
        assert call("PUT", "/clock", json=wrong).status_code == 400


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--rate-limit", "0"], "rate_limit must be between 1"),
        (["--now", "2026-03-01"], "not a time like 2026-03-01T08:00:00Z: 2026-03-01"),
    ],
    ids=["rate-limit", "naive"],
)
def test_an_invalid_option_is_one_clear_line(arguments, complaint, capsys):
    from airflow_provider_banksync.sandbox.control.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    said = capsys.readouterr()
    assert (stopped.value.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert complaint in said.err
