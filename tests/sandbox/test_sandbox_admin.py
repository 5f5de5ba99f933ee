"""The admin calls: the methods of the sandbox over HTTP, from this machine only."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

import pytest
import requests


@pytest.fixture
def admin(fresh, client_of):
    """Return a sandbox, a client of its owner, and a function that sends admin calls without a key."""
    sandbox = fresh(rate_limit=1_000)
    session = requests.Session()
    session.trust_env = False

    def call(method, path="", **more):
        return session.request(method, f"{sandbox.url}/_sandbox{path}", timeout=300, **more)

    yield sandbox, client_of(sandbox), call
    session.close()


def test_every_listed_call_answers(admin):
    sandbox, client, call = admin
    told = call("GET").json()
    assert (told["url"], told["apiKey"]) == (sandbox.url, sandbox.api_key)
    bank = client.data("/v1/banks")[0]["id"]
    account = client.data(f"/v1/banks/{bank}/accounts")[0]["id"]
    link = client.post("/v1/banks/link", json={"source": "plaid"}).json()["data"]["linkToken"]
    bodies = {
        "/_sandbox/faults": {"fault": "gzip"},
        "/_sandbox/transactions": {"accountId": account, "amount": -1},
        "/_sandbox/keys": {},
        "/_sandbox/transactions/{id}/change": {"accountId": account, "category": "Tea"},
        "/_sandbox/accounts/{id}/difference": {"amount": "1.50", "day": "2026-03-01"},
    }

    def row(path):
        """Add a row, pending or posted, for a call."""
        pending = None if path.rsplit("/")[-1] in {"change", "remove"} else 60
        return sandbox.add_transaction(account, -1, settles_after=pending)

    ids = {"links": link, "keys": sandbox.create_key(), "portals": sandbox.portals[0][0], "accounts": account}
    ids["truth"] = sandbox.workspace_id
    for each in sorted(told["calls"], key=lambda each: "relink" in each["path"]):
        kind = each["path"].split("/")[2] if "{id}" in each["path"] else ""
        own = {**ids, "banks": bank, "transactions": row(each["path"])}
        path = each["path"].replace("{id}", own.get(kind, ""))
        body = bodies.get(each["path"]) if each["method"] == "POST" else None
        if kind == "transactions" and body is None:
            body = {"accountId": account}
        response = call(each["method"], path.removeprefix("/_sandbox"), json=body)
        assert response.status_code == 200, (each, response.text)
    assert not any("/_sandbox" in record.path for record in sandbox.requests)


def test_faults_are_added_listed_and_removed(admin):
    sandbox, client, call = admin
    rule = {
        "fault": "status",
        "with": {"code": 503, "body": "html"},
        "method": "GET",
        "path": "/v1/b*",
        "nth": 2,
    }
    assert call("POST", "/faults", json={**rule, "probability": 1.0}).status_code == 200
    assert [client.get("/v1/banks").status_code for _ in range(3)] == [200, 503, 200]
    (shown,) = call("GET", "/faults").json()["faults"]
    assert (shown["fault"], shown["calls"], shown["hits"], shown["when"]) == ("status", 3, 1, "before")
    assert call("DELETE", "/faults").json() == {"faults": []}
    assert sandbox.faults.rules == []


def test_a_fault_for_one_workspace_after_the_work_was_done(admin):
    sandbox, client, call = admin
    portal = sandbox.portals[0][0]
    call("POST", "/faults", json={"fault": "reset", "workspaceId": portal, "when": "after", "times": 1})
    feed = client.data("/v1/feeds", workspace=sandbox.portals[1][0])[0]["id"]
    assert client.get(f"/v1/feeds/{feed}", workspace=sandbox.portals[1][0]).status_code == 200
    with pytest.raises(requests.ConnectionError):
        client.get("/v1/feeds", workspace=portal)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({}, "fault is required"),
        ({"fault": "explosion"}, "fault must be one of added, answer, content_type"),
        ({"fault": 3}, "fault must be one of"),
        ({"fault": "status"}, "code"),
        ({"fault": "status", "with": {"code": 503, "loud": True}}, "loud"),
        ({"fault": "status", "with": []}, "with must be an object"),
        ({"fault": "status", "with": {"code": "x"}}, "code must be a whole number"),
        ({"fault": "latency", "with": {"seconds": -0.5}}, "seconds must be"),
        ({"fault": "reset", "nth": 0}, "nth must be between 1 and"),
        ({"fault": "reset", "whom": "me"}, "Unknown field"),
    ],
    ids=str,
)
def test_a_fault_that_makes_no_sense_is_400(admin, body, complaint):
    sandbox, _, call = admin
    response = call("POST", "/faults", json=body)
    assert (response.status_code, complaint in response.json()["error"]) == (400, True), response.text
    assert sandbox.faults.rules == []


def test_the_clock_is_read_moved_and_stopped(admin):
    sandbox, _, call = admin
    assert call("GET", "/clock").json() == {"now": "2026-03-04T12:00:00.000Z", "scale": 0}
    assert call("PUT", "/clock", json={"advance": 1.5}).json()["now"] == "2026-03-04T12:00:01.500Z"
    moved = call("PUT", "/clock", json={"now": "2026-03-05T00:00:00Z"}).json()
    assert moved == {"now": "2026-03-05T00:00:00.000Z", "scale": 0}
    assert call("PUT", "/clock", json={"scale": 20}).json()["scale"] == 20
    assert sandbox.clock.scale == 20
    for wrong in (
        {"now": "2026-01-01T00:00:00Z"},
        {"now": "soon"},
        {"advance": -1},
        {"scale": "x"},
        {"stop": 1},
    ):
        assert call("PUT", "/clock", json=wrong).status_code == 400


def test_the_requests_are_listed_and_cleared(admin):
    sandbox, client, call = admin
    client.get("/v1/banks?scope=self")
    (record,) = call("GET", "/requests").json()["requests"]
    assert (record["method"], record["path"], record["query"], record["status"]) == (
        "GET",
        "/v1/banks",
        {"scope": "self"},
        200,
    )
    assert record["time"] == "2026-03-04T12:00:00.000Z"
    assert "bsk_" not in call("GET", "/requests").text
    assert call("GET", "/traffic").json() == {"requests": 1, "refused": 0, "peak": 1}
    call("DELETE", "/requests")
    assert sandbox.requests == []


def test_transactions_banks_and_keys(admin, client_of):
    sandbox, client, call = admin
    bank = client.data("/v1/banks")[0]["id"]
    account = client.data(f"/v1/banks/{bank}/accounts")[0]
    body = {
        "accountId": account["id"],
        "amount": "-3.10",
        "description": "T",
        "day": "2026-03-01",
        "settlesAfter": 60,
    }
    made = call("POST", "/transactions", json=body).json()["id"]
    (row,) = (row for row in client.data(account["links"]["transactions"]) if row["id"] == made)
    assert (str(row["amount"]), row["date"], row["pending"]) == ("-3.10", "2026-03-01", True)
    exact = call(
        "POST",
        "/transactions",
        data=f'{{"accountId": "{account["id"]}", "amount": 90071992547409.93}}',
        headers={"Content-Type": "application/json"},
    )
    shown = {row["id"]: str(row["amount"]) for row in client.data(account["links"]["transactions"])}
    assert shown[exact.json()["id"]] == "90071992547409.93"
    for wrong in ({"amount": 1}, {**body, "amount": 0.001}, {**body, "day": "x"}, {**body, "accountId": "x"}):
        assert call("POST", "/transactions", json=wrong).status_code == 400
    call("POST", f"/banks/{bank}/break")
    assert client.get(account["links"]["balances"]).status_code == 503
    call("POST", f"/banks/{bank}/mend")
    assert client.get(account["links"]["balances"]).status_code == 200
    assert call("POST", "/banks/nope/break").status_code == 400
    key = call("POST", "/keys", json={"scopes": ["banks:read"], "expiresAt": "2026-03-05T00:00:00Z"}).json()[
        "apiKey"
    ]
    assert [client_of(sandbox, key).get(f"/v1/{kind}").status_code for kind in ("banks", "feeds")] == [
        200,
        403,
    ]
    assert call("DELETE", f"/keys/{key}").json() == {"revoked": True}
    assert client_of(sandbox, key).get("/v1/banks").status_code == 401
    assert call("POST", "/keys", json={"role": "king"}).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"Origin": "https://a-web-page.example"},
        {"Host": "sandbox.example:80"},
        {"Host": "127.0.0.1.rebound.example"},
    ],
    ids=str,
)
def test_an_indirect_request_is_refused(admin, headers):
    sandbox, _, call = admin
    response = call("POST", "/faults", json={"fault": "reset"}, headers=headers)
    assert response.status_code == 403
    assert sandbox.faults.rules == []


def test_the_api_accepts_a_forwarded_address(admin):
    _, client, _ = admin
    assert client.get("/v1/whoami", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:1", "[::1]:80"])
def test_every_name_of_this_machine_is_accepted(admin, host):
    _, _, call = admin
    assert call("GET", "/clock", headers={"Host": host}).status_code == 200


def test_unknown_admin_paths_and_methods_are_refused(admin, client_of):
    sandbox, client, call = admin
    assert call("GET", "/nothing").status_code == 404
    assert call("GET", "/banks//break").status_code == 404
    refused = call("PATCH", "/clock")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, PUT")
    assert call("POST", "/faults", data="fault=reset").status_code == 400
    assert client.get("/_sandboxes").status_code == 404
    assert sandbox.requests[-1].path == "/_sandboxes"


def test_faults_do_not_apply_to_admin_calls(admin):
    sandbox, _, call = admin
    call("POST", "/faults", json={"fault": "reset"})
    assert call("DELETE", "/faults").status_code == 200
    connection = http.client.HTTPConnection(urlsplit(sandbox.url).netloc, timeout=300)
    connection.request("GET", "/_sandbox/clock")
    assert connection.getresponse().status == 200
    connection.close()
