"""The public and the internal surface, sessions, and deleted portals."""

from __future__ import annotations

import http.client
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from airflow_provider_banksync.sandbox import Fault, RateLimit, SandboxError


def places(client):
    """Return the ids of a bank with an account, and of a feed."""
    bank, feed = client.data("/v1/banks")[0]["id"], client.data("/v1/feeds")[0]["id"]
    return {"bid": bank, "fid": feed, "aid": client.data(f"/v1/banks/{bank}/accounts")[0]["id"]}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/feeds/{fid}%2Fsync"),
        ("POST", "/v1/feeds%2F{fid}/sync"),
        ("GET", "/v1/banks/{bid}%2Faccounts"),
        ("GET", "/v1/banks/{bid}%2faccounts/{aid}"),
    ],
)
def test_an_encoded_slash_does_not_end_a_segment(fresh, client_of, refused, method, path):
    sandbox = fresh()
    client = client_of(sandbox)
    assert refused(client.send(method, path.format(**places(client))))[0] in {404, 405}
    assert sandbox.jobs == []


def test_other_encoded_characters_are_what_they_stand_for(fresh, client_of):
    sandbox = fresh()
    client = client_of(sandbox)
    bank = places(client)["bid"]
    assert client.get(f"/v1/%62anks/%{ord(bank[0]):02x}{bank[1:]}").status_code == 200
    rule = sandbox.faults.add(Fault.latency(0), path="/v1/banks/*")
    client.get("/v1/banks/a%2Fb")
    assert (rule.hits, sandbox.requests[-1].path) == (1, "/v1/banks/a%2Fb")


def test_the_internal_surface_has_everything_that_the_public_one_has(fresh, client_of):
    client = client_of(fresh())
    ids = places(client)
    for path in (
        "whoami",
        "workspaces",
        "banks?scope=family",
        "banks/{bid}/accounts/{aid}/transactions",
        "feeds",
        "feeds/{fid}/jobs",
        "integrations",
        "enrichments",
        "feeds/nope",
    ):
        public, internal = (client.get(f"/{root}/{path.format(**ids)}") for root in ("v1", "api"))
        assert (internal.status_code, internal.content) == (public.status_code, public.content)
    started = client.post(f"/api/feeds/{ids['fid']}/sync")
    assert started.status_code == 201
    assert client.post(f"/v1/feeds/{ids['fid']}/sync").status_code == 409
    assert [job["id"] for job in client.data("/api/jobs?limit=1")] == [started.json()["data"]["id"]]
    assert client.get("/v1/jobs").status_code == 404
    assert client.post("/api/jobs").status_code == 405


def test_a_connection_to_the_internal_surface_works(fresh, monkeypatch):
    from airflow_provider_banksync.hooks.banksync import BankSyncHook

    sandbox = fresh()
    uri = sandbox.connection_uri
    monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", uri.replace("/?", "%2Fapi/?"))
    hook = BankSyncHook()
    (feed, *_) = hook.list_feeds()
    assert hook.trigger_sync(feed["id"])["feedId"] == feed["id"]
    assert {record.path.split("/")[1] for record in sandbox.requests} == {"api"}


@pytest.mark.parametrize("name", ["X-API-Key", "X-Workspace-Id"])
def test_a_header_that_is_given_twice_is_400(family, name):
    connection = http.client.HTTPConnection(urlsplit(family.url).netloc, timeout=300)
    connection.putrequest("GET", "/v1/whoami")
    connection.putheader("User-Agent", "tests/1.0")
    for header, value in (("X-API-Key", family.api_key), ("X-Workspace-Id", family.workspace_id)):
        for _ in range(2 if header == name else 1):
            connection.putheader(header, value)
    connection.endheaders()
    response = connection.getresponse()
    assert (response.status, b"given twice" in response.read()) == (400, True)
    connection.close()


def bearer(client, token, path, workspace, method="GET"):
    return client.send(method, path, headers={"Authorization": f"Bearer {token}"}, workspace=workspace)


@pytest.mark.parametrize(
    ("role", "family_status", "sync_status"),
    [
        ("owner", 200, 201),
        ("admin", 200, 201),
        ("editor", 403, 201),
        ("viewer", 403, 403),
    ],
)
def test_a_session_has_the_role_of_its_person(fresh, client_of, role, family_status, sync_status):
    sandbox = fresh()
    feed = places(client_of(sandbox))["fid"]
    client, token = client_of(sandbox, None), sandbox.create_session(role=role)
    home = sandbox.workspace_id
    assert bearer(client, token, "/v1/banks", home).status_code == 200
    assert bearer(client, token, "/v1/banks?scope=family", home).status_code == family_status
    assert bearer(client, token, f"/v1/feeds/{feed}/sync", home, "POST").status_code == sync_status


def test_a_session_ends_when_it_is_ended_and_when_its_time_is_up(fresh, client_of, refused):
    sandbox = fresh()
    client, home = client_of(sandbox, None), sandbox.workspace_id
    short = sandbox.create_session(expires_at=sandbox.clock.now() + timedelta(hours=1))
    ended = sandbox.create_session()
    assert len({short, ended, sandbox.bearer_token}) == 3
    for token in (short, ended, sandbox.bearer_token):
        assert bearer(client, token, "/v1/whoami", home).status_code == 200
    sandbox.revoke_key(ended)
    sandbox.clock.advance(3_600)
    for token in (short, ended):
        assert refused(bearer(client, token, "/v1/whoami", home)) == (401, "Invalid or expired session token")
    assert bearer(client, sandbox.bearer_token, "/v1/whoami", home).status_code == 200
    assert sandbox.traffic(ended).requests == 2


def test_a_session_of_a_portal_reaches_that_portal_only(fresh, client_of, refused):
    sandbox = fresh()
    (mine, _), (other, _) = sandbox.portals[:2]
    client, token = client_of(sandbox, None), sandbox.create_session(workspace_id=mine)
    assert bearer(client, token, "/v1/whoami", mine).json()["data"]["workspaceId"] == mine
    assert refused(bearer(client, token, "/v1/whoami", None))[0] == 400
    for foreign in (other, sandbox.workspace_id):
        assert refused(bearer(client, token, "/v1/whoami", foreign))[0] == 404


@pytest.mark.parametrize("header", ["Basic {token}", "Token {token}", "{token}", "Bearer"])
def test_only_a_bearer_token_is_a_session(family, client_of, refused, header):
    headers = {"Authorization": header.format(token=family.bearer_token)}
    response = client_of(family, None).get("/v1/banks", headers=headers, workspace=family.workspace_id)
    assert refused(response) == (401, "Invalid or expired session token")


def test_a_portal_is_deleted_while_the_sandbox_runs(fresh, client_of, refused):
    sandbox = fresh(portals=3)
    client, (gone, name) = client_of(sandbox), sandbox.portals[1]
    widow = client_of(sandbox, sandbox.create_key(workspace_id=gone))
    account = next(
        account
        for bank in client.data("/v1/banks", workspace=gone)
        for account in client.data(f"/v1/banks/{bank['id']}/accounts", workspace=gone)
    )
    sandbox.delete_portal(gone)
    assert gone not in {each for each, _ in sandbox.portals}
    assert (gone, name) in sandbox.deleted_portals
    for response in (client.get("/v1/banks", workspace=gone), widow.get("/v1/whoami")):
        assert refused(response) == (404, "Workspace not found")
    assert gone not in {row["id"] for row in client.data("/v1/workspaces")}
    for listing in ("/v1/banks", "/v1/feeds", "/v1/integrations", "/api/jobs"):
        assert gone not in {row["workspaceId"] for row in client.data(f"{listing}?scope=family")}
    with pytest.raises(SandboxError, match="no account"):
        sandbox.add_transaction(account["id"], 1)
    for wrong in (gone, "nope", sandbox.workspace_id):
        with pytest.raises(SandboxError, match="no live portal"):
            sandbox.delete_portal(wrong)


def test_traffic_counts_what_a_fault_answered(fresh, client_of):
    sandbox = fresh(rate_limit=RateLimit(5, window=60))
    client = client_of(sandbox)
    sandbox.faults.add(Fault.rate_limited(3), path="/v1/banks", times=2)
    assert [client.get("/v1/banks").status_code for _ in range(3)] == [429, 429, 200]
    client.get("/v1/nowhere")
    client.get("/v1/whoami", headers={"User-Agent": "curl/8"})
    mine, everybody = sandbox.traffic(sandbox.api_key), sandbox.traffic()
    assert (mine.requests, mine.refused, mine.peak) == (5, 2, 1)
    assert (everybody.requests, everybody.refused, everybody.peak) == (5, 2, 1)


def test_traffic_accepts_a_revoked_key(fresh, client_of):
    sandbox = fresh()
    key = sandbox.create_key()
    sandbox.revoke_key(key)
    assert client_of(sandbox, key).get("/v1/whoami").status_code == 401
    assert (sandbox.traffic(key).requests, sandbox.traffic(key).peak) == (1, 0)
