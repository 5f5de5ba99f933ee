"""Each role, scope and status of the API's tables."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_banksync.sandbox import SandboxError
from airflow_provider_banksync.sandbox.rules.auth import ALL_SCOPES, ROLES
from tests.support.contract import Contract

FAMILY_LISTS = ("/v1/banks", "/v1/feeds", "/v1/integrations", "/api/jobs")

# Every operation of the contract with its scope. A write needs the read scope too.
NEEDS = {
    ("GET", "/v1/whoami"): None,
    ("GET", "/v1/workspaces"): "workspaces:read",
    ("GET", "/v1/banks"): "banks:read",
    ("POST", "/v1/banks/link"): "banks:write",
    ("POST", "/v1/banks/connect"): "banks:write",
    ("GET", "/v1/banks/{bid}"): "banks:read",
    ("DELETE", "/v1/banks/{bid}"): "banks:write",
    ("GET", "/v1/banks/{bid}/accounts"): "banks:read",
    ("GET", "/v1/banks/{bid}/accounts/{aid}"): "banks:read",
    ("GET", "/v1/banks/{bid}/accounts/{aid}/transactions"): "banks:read",
    ("GET", "/v1/banks/{bid}/accounts/{aid}/balances"): "banks:read",
    ("GET", "/v1/banks/{bid}/accounts/{aid}/trades"): "banks:read",
    ("GET", "/v1/banks/{bid}/accounts/{aid}/holdings"): "banks:read",
    ("GET", "/v1/banks/{bid}/accounts/{aid}/loan"): "banks:read",
    ("GET", "/v1/feeds"): "feeds:read",
    ("POST", "/v1/feeds"): "feeds:write",
    ("GET", "/v1/feeds/{fid}"): "feeds:read",
    ("PUT", "/v1/feeds/{fid}"): "feeds:write",
    ("DELETE", "/v1/feeds/{fid}"): "feeds:write",
    ("POST", "/v1/feeds/{fid}/sync"): "jobs:write",
    ("POST", "/v1/feeds/{fid}/learn"): "jobs:write",
    ("POST", "/v1/feeds/{fid}/enrich/preview"): "enrichments:read",
    ("GET", "/v1/feeds/{fid}/jobs"): "jobs:read",
    ("GET", "/v1/feeds/{fid}/jobs/{jid}"): "jobs:read",
    ("DELETE", "/v1/feeds/{fid}/jobs/{jid}"): "jobs:write",
    ("GET", "/v1/integrations"): "workspaces:read",
    ("DELETE", "/v1/integrations/{iid}"): "workspaces:write",
    ("GET", "/v1/enrichments"): "enrichments:read",
    ("POST", "/v1/enrichments"): "enrichments:write",
    ("GET", "/v1/enrichments/{eid}"): "enrichments:read",
    ("PUT", "/v1/enrichments/{eid}"): "enrichments:write",
    ("DELETE", "/v1/enrichments/{eid}"): "enrichments:write",
    ("GET", "/api/jobs"): "jobs:read",
}
BODIES = {
    "/v1/banks/link": {"source": "plaid"},
    "/v1/banks/connect": {"publicToken": "x"},
    "/v1/feeds": {"name": "F", "source": "sync", "dataType": "transactions"},
    "/v1/feeds/{fid}": {"name": "F"},
    "/v1/feeds/{fid}/enrich/preview": {"records": [{}]},
    "/v1/enrichments": {"name": "E", "type": "rule", "dataType": "transactions"},
    "/v1/enrichments/{eid}": {"name": "E"},
}


def test_every_operation_of_the_contract_has_its_scope_here():
    assert set(NEEDS) == Contract.load().operations()


@pytest.fixture
def places(fresh, client_of):
    """Return a sandbox, and a function that fills the parameters of a path with existing ids."""
    sandbox = fresh(portals=0)
    client = client_of(sandbox)
    bank = client.data("/v1/banks")[0]["id"]
    accounts = client.data(f"/v1/banks/{bank}/accounts")
    feed = client.data("/v1/feeds")[0]["id"]
    ids = {
        "bid": bank,
        "aid": next(row["id"] for row in accounts if row["accountType"] == "loan"),
        "fid": feed,
        "jid": client.data(f"/v1/feeds/{feed}/jobs")[0]["id"],
        "eid": client.data("/v1/enrichments")[0]["id"],
        "iid": client.data("/v1/integrations")[0]["id"],
    }
    return sandbox, lambda template: template.format(**ids)


@pytest.mark.parametrize(("method", "template"), NEEDS, ids=str)
def test_an_operation_needs_exactly_its_scope(places, client_of, refused, method, template):
    sandbox, real = places
    scope, body = NEEDS[method, template], BODIES.get(template) if method in {"POST", "PUT"} else None
    needed = set() if scope is None else {scope, f"{scope.partition(':')[0]}:read"}
    # The keys without the scope come first, because a request with it may delete the resource.
    for lacking in needed:
        others = client_of(sandbox, sandbox.create_key(ALL_SCOPES - {lacking}))
        answer = refused(others.send(method, real(template), json=body))
        assert answer == (403, f"API key lacks the required scope: {lacking}")
    done = client_of(sandbox, sandbox.create_key(needed)).send(method, real(template), json=body)
    # An unknown token and an ended job are errors of their own, after the scopes were checked.
    expected = {"/v1/banks/connect": 400}.get(
        template, 409 if "{jid}" in template and method == "DELETE" else None
    )
    assert done.status_code == expected if expected else done.ok, done.text


def test_a_write_needs_the_read_scope_too(fresh, client_of, refused):
    sandbox = fresh()
    feed = client_of(sandbox).data("/v1/feeds")[0]["id"]
    write_only = client_of(sandbox, sandbox.create_key(["jobs:write"]))
    for operation in ("sync", "learn"):
        status, sentence = refused(write_only.post(f"/v1/feeds/{feed}/{operation}"))
        assert (status, "jobs:read" in sentence) == (403, True)
    both = client_of(sandbox, sandbox.create_key(["jobs:read", "jobs:write"]))
    assert both.post(f"/v1/feeds/{feed}/sync").status_code == 201
    assert both.post(f"/v1/feeds/{feed}/learn").json() == {"success": True, "data": {"triggered": True}}


def test_a_read_scope_does_not_write(fresh, client_of, refused):
    sandbox = fresh()
    owner = client_of(sandbox)
    feed = owner.data("/v1/feeds")[0]["id"]
    job = owner.post(f"/v1/feeds/{feed}/sync").json()["data"]["id"]
    reader = client_of(sandbox, sandbox.create_key(["jobs:read", "feeds:read"]))
    assert refused(reader.post(f"/v1/feeds/{feed}/sync"))[0] == 403
    assert refused(reader.delete(f"/v1/feeds/{feed}/jobs/{job}"))[0] == 403
    assert owner.data(f"/v1/feeds/{feed}/jobs/{job}")["status"] == "queued"


def test_whoami_needs_no_scope(family, client_of):
    assert client_of(family, family.create_key([])).data("/v1/whoami") == {
        "workspaceId": family.workspace_id,
        "workspaceName": family.world.parent.name,
    }


@pytest.mark.parametrize(
    "key", [None, "", "bsk_wrong", "nonsense"], ids=["none", "empty", "wrong", "malformed"]
)
def test_an_unknown_key_is_401(family, client_of, refused, key):
    assert refused(client_of(family, key).get("/v1/banks"))[0] == 401


def test_a_revoked_key_is_401_from_then_on(family, client_of, refused):
    key = family.create_key()
    client = client_of(family, key)
    assert client.get("/v1/banks").status_code == 200
    family.revoke_key(key)
    assert refused(client.get("/v1/banks")) == (401, "API key has been revoked")


def test_a_key_expires_by_the_sandbox_clock(fresh, client_of, refused):
    sandbox = fresh()
    client = client_of(sandbox, sandbox.create_key(expires_at=sandbox.clock.now() + timedelta(hours=1)))
    assert client.get("/v1/whoami").status_code == 200
    sandbox.clock.advance(3_600)
    assert refused(client.get("/v1/whoami")) == (401, "API key has expired")


def test_keys_look_like_keys_and_are_all_different(family):
    keys = {family.api_key, *(family.create_key() for _ in range(20))}
    assert len(keys) == 21
    for key in keys:
        prefix, _, rest = key.partition("_")
        assert (prefix, len(rest), rest.isalnum()) == ("bsk", 44, True)


def test_a_session_token_needs_its_workspace(family, client_of, refused):
    client = client_of(family, None)
    bearer = {"Authorization": f"Bearer {family.bearer_token}"}
    status, sentence = refused(client.get("/v1/banks", headers=bearer))
    assert (status, "X-Workspace-ID" in sentence) == (400, True)
    for workspace in (family.workspace_id, family.portals[0][0]):
        assert (
            client.get("/v1/whoami", headers=bearer, workspace=workspace).json()["data"]["workspaceId"]
            == workspace
        )


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Bearer", "Basic dXNlcjpwYXNz", "{token}", "Basic {token}"]
)
def test_a_wrong_session_is_401(family, client_of, refused, header):
    headers = {"Authorization": header.format(token=family.bearer_token)}
    assert (
        refused(client_of(family, None).get("/v1/banks", headers=headers, workspace=family.workspace_id))[0]
        == 401
    )


def test_a_parents_key_reaches_its_portals_by_header(family, client):
    for portal_id, name in family.portals:
        assert client.data("/v1/whoami", workspace=portal_id) == {
            "workspaceId": portal_id,
            "workspaceName": name,
        }
        assert client.data("/v1/banks", workspace=portal_id)


def test_a_portals_own_key_sees_that_portal_and_nothing_else(family, client_of, refused):
    (mine, _), (other, _) = family.portals[:2]
    client = client_of(family, family.create_key(workspace_id=mine))
    assert client.data("/v1/whoami")["workspaceId"] == mine
    assert client.data("/v1/banks") == client.data("/v1/banks", workspace=mine)
    assert [row["id"] for row in client.data("/v1/workspaces")] == [mine]
    for foreign in (other, family.workspace_id):
        assert refused(client.get("/v1/banks", workspace=foreign)) == (404, "Workspace not found")


def test_deleted_and_unknown_workspaces_are_the_same_404(family, client, client_of, refused):
    deleted = family.deleted_portals[0][0]
    for workspace in (deleted, "nonsense"):
        assert refused(client.get("/v1/banks", workspace=workspace)) == (404, "Workspace not found")
    widow = client_of(family, family.create_key(workspace_id=deleted))
    assert refused(widow.get("/v1/banks")) == (404, "Workspace not found")


@pytest.mark.parametrize("path", FAMILY_LISTS)
@pytest.mark.parametrize("role", ROLES)
def test_only_owners_and_admins_list_the_family(family, client_of, refused, role, path):
    client = client_of(family, family.create_key(role=role))
    assert client.get(path).status_code == 200
    response = client.get(path, params={"scope": "family"})
    if role in {"owner", "admin"}:
        assert response.status_code == 200
    else:
        assert refused(response) == (403, "scope=family requires the owner or admin role")


@pytest.mark.parametrize("path", FAMILY_LISTS)
def test_the_family_of_a_portal_is_400(family, client, client_of, refused, path):
    portal = family.portals[0][0]
    by_header = client.get(path, params={"scope": "family"}, workspace=portal)
    by_key = client_of(family, family.create_key(workspace_id=portal)).get(path, params={"scope": "family"})
    assert refused(by_header) == refused(by_key)
    assert by_key.status_code == 400


@pytest.mark.parametrize("path", FAMILY_LISTS)
@pytest.mark.parametrize("scope", ["all", "", "FAMILY", "self,family"])
def test_an_unknown_scope_value_is_400(client, refused, path, scope):
    assert refused(client.get(path, params={"scope": scope})) == (400, "scope must be self or family")


@pytest.mark.parametrize(
    ("role", "status"), [("owner", 201), ("admin", 201), ("editor", 201), ("viewer", 403)]
)
def test_a_viewer_changes_nothing(fresh, client_of, role, status):
    sandbox = fresh()
    feed = client_of(sandbox).data("/v1/feeds")[0]["id"]
    assert (
        client_of(sandbox, sandbox.create_key(role=role)).post(f"/v1/feeds/{feed}/sync").status_code == status
    )


def test_a_job_names_the_member_who_started_it(fresh, client_of):
    sandbox = fresh()
    feed = client_of(sandbox).data("/v1/feeds")[0]["id"]
    users = []
    for role in ("owner", "admin", "editor", "owner"):
        client = client_of(sandbox, sandbox.create_key(role=role))
        users.append(client.post(f"/v1/feeds/{feed}/sync").json()["data"]["userId"])
        sandbox.clock.advance(60)
    assert users[0] == users[3]
    assert len(set(users)) == 3


@pytest.mark.parametrize(
    "wrong",
    [{"scopes": ["banks:admin"]}, {"scopes": "banks:admin"}, {"role": "boss"}, {"workspace_id": "nowhere"}],
    ids=["scope", "one scope", "role", "workspace"],
)
def test_an_invalid_key_cannot_be_created(family, wrong):
    with pytest.raises(SandboxError, match="no such"):
        family.create_key(**wrong)


def test_revoking_an_unknown_key_is_an_error(family):
    with pytest.raises(SandboxError, match="no such key"):
        family.revoke_key("bsk_nobody")
