"""Writes: feeds, enrichments, banks, destinations."""

from __future__ import annotations

import pytest

from airflow_provider_banksync.sandbox import SandboxError


@pytest.fixture
def sandbox_and_client(fresh, client_of):
    """Return a sandbox and a client of its owner."""
    sandbox = fresh()
    return sandbox, client_of(sandbox)


def feed_body(client, **changes):
    """Return a valid feed of the first account with these changes. None removes a field."""
    bank = client.data("/v1/banks")[0]["id"]
    account = client.data(f"/v1/banks/{bank}/accounts")[0]["id"]
    target = client.data("/v1/feeds")[0]["destinationConfig"]
    body = {
        "name": "Everything",
        "source": "sync",
        "dataType": "transactions",
        "sourceConfig": {"type": "sync", "accounts": [{"bankId": bank, "accountId": account}]},
        "destinationConfig": target,
        "fieldMappings": [{"sourceField": "date", "destinationField": "Day"}],
        "dataTypeOptions": {"dataType": "transactions", "pendingMode": "sync_all"},
        "schedule": {"enabled": True, "frequency": "daily", "timeOfDay": "03:30"},
    }
    return {name: value for name, value in {**body, **changes}.items() if value is not None}


def invalid(response):
    """Return the lists of a 422."""
    body = response.json()
    assert (response.status_code, set(body)) == (422, {"success", "error", "errors", "warnings"}), (
        response.text
    )
    assert body["errors"]
    return body["errors"], body["warnings"]


def test_a_feed_is_created_read_listed_and_synced(sandbox_and_client):
    sandbox, client = sandbox_and_client
    body = feed_body(client, icon="🧮")
    before = client.data("/v1/feeds")
    response = client.post("/v1/feeds", json=body)
    assert response.status_code == 201
    feed = response.json()["data"]
    assert {name: feed[name] for name in body} == body
    assert feed["createdAt"] == feed["updatedAt"] == "2026-03-04T12:00:00.000Z"
    assert client.data(f"/v1/feeds/{feed['id']}") == feed
    assert client.data("/v1/feeds") == [*before, feed]
    assert client.data(f"/v1/feeds/{feed['id']}/jobs") == []
    job = client.post(f"/v1/feeds/{feed['id']}/sync").json()["data"]
    sandbox.clock.advance(60)
    assert client.data(f"/v1/feeds/{feed['id']}/jobs/{job['id']}")["status"] == "completed"


def test_a_feed_lives_in_its_workspace_and_in_the_family(sandbox_and_client):
    sandbox, client = sandbox_and_client
    portal = sandbox.portals[0][0]
    feed = client.post(
        "/v1/feeds", json=feed_body(client, sourceConfig=None, destinationConfig=None), workspace=portal
    )
    made = feed.json()["data"]["id"]
    assert client.get(f"/v1/feeds/{made}").status_code == 404
    family = {row["id"]: row["workspaceId"] for row in client.data("/v1/feeds?scope=family")}
    assert family[made] == portal
    assert len(family) == len(client.data("/v1/feeds?scope=family"))


def test_two_feeds_have_two_ids_and_a_deleted_one_does_not_give_its_id_back(sandbox_and_client):
    _, client = sandbox_and_client
    made = set()
    for _ in range(3):
        feed = client.post("/v1/feeds", json=feed_body(client)).json()["data"]["id"]
        made.add(feed)
        assert client.delete(f"/v1/feeds/{feed}").json() == {"success": True}
    assert len(made) == 3


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": None}, "name is required"),
        ({"name": ""}, "name must be a string that is not empty"),
        ({"source": None}, "source is required"),
        ({"source": "plaid"}, "source must be one of sync, extractor, upload"),
        ({"dataType": "coins"}, "dataType must be one of"),
        ({"colour": "red"}, "colour is not a known field"),
        ({"order": 1.5}, "order must be a whole number"),
        ({"order": True}, "order must be a whole number"),
        ({"icon": 3}, "icon must be a string"),
        ({"sourceConfig": {"type": "sync", "accounts": []}}, "sourceConfig.accounts must have at least 1"),
        ({"sourceConfig": {"type": "sync"}}, "sourceConfig.accounts is required"),
        ({"sourceConfig": {"type": "upload"}}, "sourceConfig.type must be sync, the feed's own source"),
        ({"sourceConfig": []}, "sourceConfig.type must be one of"),
        (
            {"sourceConfig": {"type": "sync", "accounts": [{"bankId": "x", "accountId": "y"}]}},
            "sourceConfig.accounts[0] is not an account of this workspace",
        ),
        (
            {"destinationConfig": {"type": "notion", "integrationId": "x", "databaseId": "y"}},
            "destinationConfig.integrationId is not an integration of this workspace",
        ),
        ({"destinationConfig": {"type": "excel"}}, "destinationConfig.type must be one of notion, airtable"),
        ({"dataTypeOptions": {"dataType": "trades"}}, "dataTypeOptions.dataType must be transactions"),
        ({"dataTypeOptions": {"dataType": "balances", "mode": "x"}}, "dataTypeOptions.mode must be one of"),
        ({"fieldMappings": {}}, "fieldMappings must be a list"),
        ({"fieldMappings": ["x"]}, "fieldMappings[0] must be an object"),
        (
            {"schedule": {"enabled": "yes", "frequency": "daily", "timeOfDay": "03:30"}},
            "schedule.enabled must be true or false",
        ),
        (
            {"schedule": {"enabled": True, "frequency": "daily", "timeOfDay": "24:00"}},
            "schedule.timeOfDay must be a time such as 06:30",
        ),
        (
            {"schedule": {"enabled": True, "frequency": "weekly", "timeOfDay": "03:30", "dayOfWeek": 7}},
            "schedule.dayOfWeek must be a whole number from 0 to 6",
        ),
    ],
    ids=str,
)
def test_a_feed_that_does_not_hold_together_is_422_and_is_not_made(sandbox_and_client, changes, complaint):
    _, client = sandbox_and_client
    before = client.data("/v1/feeds")
    errors, _ = invalid(client.post("/v1/feeds", json=feed_body(client, **changes)))
    assert any(complaint in error for error in errors), errors
    assert client.data("/v1/feeds") == before


def test_warnings_come_with_errors_and_do_not_block_alone(sandbox_and_client):
    _, client = sandbox_and_client
    weekly = {"enabled": True, "frequency": "weekly", "timeOfDay": "03:30"}
    body = feed_body(client, schedule=weekly, destinationConfig=None)
    assert client.post("/v1/feeds", json=body).status_code == 201
    wrong = {**body, "sourceConfig": {"type": "sync", "accounts": [{"bankId": "x", "accountId": "y"}]}}
    _, warnings = invalid(client.post("/v1/feeds", json=wrong))
    assert [warning.partition(" ")[0] for warning in warnings] == ["destinationConfig", "schedule.dayOfWeek"]


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b'"x"', b"", b'{"name": "\\ud800"}', b'{"order": 1e999999}']
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/feeds"), ("PUT", "/v1/feeds/{}"), ("POST", "/v1/enrichments")]
)
def test_what_is_no_json_object_is_400(sandbox_and_client, refused, method, path, body):
    _, client = sandbox_and_client
    path = path.format(client.data("/v1/feeds")[0]["id"])
    response = client.send(method, path, data=body, headers={"Content-Type": "application/json"})
    assert refused(response)[0] == 400


def test_an_update_changes_what_it_names_and_nothing_else(sandbox_and_client):
    sandbox, client = sandbox_and_client
    feed = client.data("/v1/feeds")[0]
    sandbox.clock.advance(5)
    weekly = {"enabled": False, "frequency": "weekly", "timeOfDay": "04:00", "dayOfWeek": 0}
    response = client.send(
        "PUT", f"/v1/feeds/{feed['id']}", json={"name": "Renamed 🎈", "schedule": weekly, "order": 9}
    )
    expected = {
        **feed,
        "name": "Renamed 🎈",
        "schedule": weekly,
        "order": 9,
        "updatedAt": "2026-03-04T12:00:05.000Z",
    }
    assert (response.status_code, response.json()["data"]) == (200, expected)
    assert client.data(f"/v1/feeds/{feed['id']}") == expected
    assert client.data("/v1/feeds")[0] == expected
    assert client.send("PUT", f"/v1/feeds/{feed['id']}", json={}).json()["data"] == expected


@pytest.mark.parametrize("field", [{"source": "upload"}, {"dataType": "trades"}, {"source": "sync"}], ids=str)
def test_source_and_data_type_cannot_change(sandbox_and_client, field):
    _, client = sandbox_and_client
    feed = client.data("/v1/feeds")[0]["id"]
    errors, _ = invalid(client.send("PUT", f"/v1/feeds/{feed}", json=field))
    assert errors == [f"{next(iter(field))} cannot be changed after creation"]


def test_an_update_that_does_not_hold_together_is_422_and_changes_nothing(sandbox_and_client):
    _, client = sandbox_and_client
    feed = client.data("/v1/feeds")[0]
    invalid(client.send("PUT", f"/v1/feeds/{feed['id']}", json={"name": "", "icon": "x"}))
    invalid(client.send("PUT", f"/v1/feeds/{feed['id']}", json={"dataTypeOptions": {"dataType": "loans"}}))
    assert client.data(f"/v1/feeds/{feed['id']}") == feed


def test_a_deleted_feed_is_gone_with_its_jobs(sandbox_and_client, refused):
    _, client = sandbox_and_client
    feed = client.data("/v1/feeds")[0]["id"]
    job = client.post(f"/v1/feeds/{feed}/sync").json()["data"]["id"]
    response = client.delete(f"/v1/feeds/{feed}")
    assert (response.status_code, response.json()) == (200, {"success": True})
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("PUT", ""),
        ("POST", "/sync"),
        ("GET", "/jobs"),
        ("GET", f"/jobs/{job}"),
        ("DELETE", f"/jobs/{job}"),
    ):
        assert (
            refused(client.send(method, f"/v1/feeds/{feed}{path}", json={} if method == "PUT" else None))[0]
            == 404
        )
    assert feed not in {row["id"] for row in client.data("/v1/feeds?scope=family")}
    assert feed not in {row["feedId"] for row in client.data("/api/jobs?limit=999")}


@pytest.mark.parametrize("source", ["extractor", "upload"])
def test_only_feeds_that_sync_can_be_synced(sandbox_and_client, refused, source):
    _, client = sandbox_and_client
    body = feed_body(
        client, source=source, dataType="receipts", dataTypeOptions=None, sourceConfig={"type": source}
    )
    feed = client.post("/v1/feeds", json=body).json()["data"]["id"]
    assert refused(client.post(f"/v1/feeds/{feed}/sync"))[0] == 400


def test_a_sync_of_a_feed_without_a_destination_or_without_accounts_fails(sandbox_and_client):
    sandbox, client = sandbox_and_client
    for changes in ({"destinationConfig": None}, {"sourceConfig": None}):
        feed = client.post("/v1/feeds", json=feed_body(client, **changes)).json()["data"]["id"]
        assert client.post(f"/v1/feeds/{feed}/sync").status_code == 201
    sandbox.clock.advance(60)
    homeless, empty = sandbox.jobs
    for job, word in ((homeless, "destination"), (empty, "accounts")):
        assert (job["status"], job["errorCategory"], job["transactionsWritten"]) == (
            "failed",
            "configuration",
            0,
        )
        assert f"The feed has no {word}" in job["errors"][0]["message"]
    assert homeless["transactionsProcessed"] > empty["transactionsProcessed"] == 0


def test_a_feed_that_reads_no_accounts_has_no_scheduled_jobs_either(sandbox_and_client):
    sandbox, client = sandbox_and_client
    for source, data_type in (("extractor", "receipts"), ("upload", "documents"), ("sync", "transactions")):
        body = {"name": source, "source": source, "dataType": data_type}
        schedule = {"enabled": True, "frequency": "daily", "timeOfDay": "03:30"}
        client.post("/v1/feeds", json={**body, "schedule": schedule})
    sandbox.clock.advance(5 * 86_400)
    jobs = {
        feed["name"]: client.data(f"/v1/feeds/{feed['id']}/jobs") for feed in client.data("/v1/feeds")[-3:]
    }
    assert (jobs["extractor"], jobs["upload"]) == ([], [])
    assert {(job["status"], job["transactionsProcessed"]) for job in jobs["sync"]} == {("failed", 0)}


WRITES = [
    ("POST", "/v1/feeds", "feeds"),
    ("PUT", "/v1/feeds/{feed}", "feeds"),
    ("DELETE", "/v1/feeds/{feed}", "feeds"),
    ("POST", "/v1/enrichments", "enrichments"),
    ("PUT", "/v1/enrichments/{enrichment}", "enrichments"),
    ("DELETE", "/v1/enrichments/{enrichment}", "enrichments"),
    ("POST", "/v1/banks/link", "banks"),
    ("POST", "/v1/banks/connect", "banks"),
    ("DELETE", "/v1/banks/{bank}", "banks"),
    ("DELETE", "/v1/integrations/{integration}", "workspaces"),
    ("POST", "/v1/feeds/{feed}/sync", "jobs"),
    ("POST", "/v1/feeds/{feed}/learn", "jobs"),
]


@pytest.mark.parametrize(("method", "path", "area"), WRITES, ids=str)
def test_a_write_needs_both_scopes_and_a_role_that_may(
    sandbox_and_client, client_of, refused, method, path, area
):
    sandbox, client = sandbox_and_client
    ids = {
        kind: client.data(f"/v1/{kind}s")[0]["id"] for kind in ("feed", "enrichment", "bank", "integration")
    }
    path = path.format(**ids)
    for key, complaint in (
        (sandbox.create_key([f"{area}:write"]), f"{area}:read"),
        (sandbox.create_key([f"{area}:read"]), f"{area}:write"),
        (sandbox.create_key(role="viewer"), "viewer"),
    ):
        status, sentence = refused(client_of(sandbox, key).send(method, path))
        assert (status, complaint in sentence) == (403, True)
    for role in ("owner", "admin", "editor"):
        both = sandbox.create_key([f"{area}:read", f"{area}:write"], role=role)
        assert client_of(sandbox, both).send(method, path).status_code != 403


def test_a_deleted_bank_is_gone_and_its_feeds_fail(sandbox_and_client, refused):
    sandbox, client = sandbox_and_client
    bank = client.data("/v1/banks")[0]
    feed = client.data("/v1/feeds")[0]["id"]
    response = client.delete(f"/v1/banks/{bank['id']}")
    assert response.json() == {"success": True, "data": {"deleted": True}}
    for path in ("", "/accounts"):
        assert refused(client.get(f"/v1/banks/{bank['id']}{path}")) == (404, "Bank not found")
    assert client.data("/v1/banks") == []
    assert refused(client.delete(f"/v1/banks/{bank['id']}"))[0] == 404
    client.post(f"/v1/feeds/{feed}/sync")
    sandbox.clock.advance(60)
    assert (sandbox.jobs[-1]["status"], bank["name"] in sandbox.jobs[-1]["errors"][-1]["message"]) == (
        "failed",
        True,
    )


def test_a_deleted_integration_is_gone_and_its_feeds_fail(sandbox_and_client, refused):
    sandbox, client = sandbox_and_client
    feed = client.data("/v1/feeds")[0]
    target = feed["destinationConfig"]["integrationId"]
    assert client.delete(f"/v1/integrations/{target}").json() == {"success": True, "data": {"deleted": True}}
    assert target not in {row["id"] for row in client.data("/v1/integrations")}
    assert refused(client.delete(f"/v1/integrations/{target}")) == (404, "Integration not found")
    client.post(f"/v1/feeds/{feed['id']}/sync")
    sandbox.clock.advance(60)
    assert (sandbox.jobs[-1]["status"], sandbox.jobs[-1]["errorCategory"]) == ("failed", "destination")


def test_a_bank_link_waits_for_a_person_and_then_makes_a_bank(sandbox_and_client, refused):
    sandbox, client = sandbox_and_client
    before = client.data("/v1/banks")
    link = client.post("/v1/banks/link", json={"source": "plaid", "countryCodes": ["US"]}).json()["data"]
    assert (link["provider"], link["expiresAt"]) == ("plaid", "2026-03-04T16:00:00.000Z")
    assert link["linkToken"] in link["authUrl"]
    for made_up in ("public-made-up", link["linkToken"]):
        assert refused(client.post("/v1/banks/connect", json={"publicToken": made_up}))[0] == 400
    token = sandbox.finish_link(link["linkToken"])
    other = sandbox.portals[0][0]
    assert refused(client.post("/v1/banks/connect", json={"publicToken": token}, workspace=other))[0] == 400
    body = {"publicToken": token, "institutionName": "Bank of Oz"}
    response = client.post("/v1/banks/connect", json=body)
    bank = response.json()["data"]
    assert (response.status_code, bank["name"], bank["connectionStatus"]) == (
        201,
        "Bank of Oz",
        {"status": "connected"},
    )
    assert client.data("/v1/banks") == [*before, bank]
    account = client.data(f"/v1/banks/{bank['id']}/accounts")[0]
    assert client.data(account["links"]["balances"])["current"] == account["balance"]
    assert client.data(account["links"]["transactions"])
    assert refused(client.post("/v1/banks/connect", json=body))[0] == 400
    with pytest.raises(SandboxError, match="no open link"):
        sandbox.finish_link(link["linkToken"])


def test_every_link_is_another_and_leads_to_a_bank_of_its_source(sandbox_and_client):
    sandbox, client = sandbox_and_client
    portal = sandbox.portals[0][0]

    def link(source, **more):
        return client.post("/v1/banks/link", json={"source": source}, **more).json()["data"]["linkToken"]

    first, second = link("plaid"), link("basiq")
    publics = [sandbox.finish_link(first)]
    third, abroad = link("plaid"), link("basiq", workspace=portal)
    assert len({first, second, third, abroad}) == 4
    publics += [sandbox.finish_link(second), sandbox.finish_link(third)]
    before = client.data("/v1/banks")
    made = [client.post("/v1/banks/connect", json={"publicToken": each}).json()["data"] for each in publics]
    assert [bank["source"] for bank in made] == ["plaid", "basiq", "plaid"]
    assert [bank["order"] for bank in made] == [len(before), len(before) + 1, len(before) + 2]
    body = {"publicToken": sandbox.finish_link(abroad)}
    assert client.post("/v1/banks/connect", json=body, workspace=portal).json()["data"]["source"] == "basiq"


def test_a_link_expires_after_four_hours(sandbox_and_client, refused):
    sandbox, client = sandbox_and_client
    tokens = [
        client.post("/v1/banks/link", json={"source": "plaid"}).json()["data"]["linkToken"] for _ in range(2)
    ]
    sandbox.clock.advance(4 * 3_600 - 0.001)
    public = sandbox.finish_link(tokens[0])
    sandbox.clock.advance(0.001)
    with pytest.raises(SandboxError, match=r"expired at 2026-03-04T16:00:00\.000Z"):
        sandbox.finish_link(tokens[1])
    assert refused(client.post("/v1/banks/connect", json={"publicToken": public}))[0] == 400


def test_a_feed_whose_bank_or_destination_is_gone_can_still_be_renamed(sandbox_and_client):
    _, client = sandbox_and_client
    feed = next(row for row in client.data("/v1/feeds") if row["dataType"] == "transactions")
    client.delete(f"/v1/banks/{feed['sourceConfig']['accounts'][0]['bankId']}")
    client.delete(f"/v1/integrations/{feed['destinationConfig']['integrationId']}")
    path = f"/v1/feeds/{feed['id']}"
    renamed = client.send("PUT", path, json={"name": "Archive"})
    assert (renamed.status_code, renamed.json()["data"]["name"]) == (200, "Archive")
    for part in ("sourceConfig", "destinationConfig"):
        errors, _ = invalid(client.send("PUT", path, json={part: feed[part]}))
        assert all(part in error for error in errors)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("link", {}),
        ("link", {"source": "saltedge"}),
        ("link", {"source": 3}),
        ("link", {"source": "plaid", "countryCodes": "US"}),
        ("link", {"source": "plaid", "institutionId": 3}),
        ("link", {"source": "plaid", "colour": "red"}),
        ("connect", {}),
        ("connect", {"publicToken": 3}),
    ],
    ids=str,
)
def test_bad_bodies_of_links_are_400(sandbox_and_client, refused, path, body):
    _, client = sandbox_and_client
    assert refused(client.post(f"/v1/banks/{path}", json=body))[0] == 400


RULE = {
    "conditions": {
        "logic": "or",
        "conditions": [{"field": "description", "operator": "contains", "value": "coffee"}],
    },
    "action": {"field": "category", "value": "Meals"},
}


def test_an_enrichment_is_created_changed_and_deleted(sandbox_and_client):
    sandbox, client = sandbox_and_client
    before = client.data("/v1/enrichments")
    body = {"name": "Coffee", "type": "rule", "dataType": "transactions", "ruleConfig": {"rules": [RULE]}}
    response = client.post("/v1/enrichments", json=body)
    made = response.json()["data"]
    assert response.status_code == 201
    assert made == {
        **body,
        "id": made["id"],
        "enabled": True,
        "order": len(before),
        "feedIds": [],
        "allFeeds": True,
        "createdAt": "2026-03-04T12:00:00.000Z",
        "updatedAt": "2026-03-04T12:00:00.000Z",
        "createdBy": made["createdBy"],
    }
    assert client.data("/v1/enrichments") == [*before, made]
    sandbox.clock.advance(1)
    path = f"/v1/enrichments/{made['id']}"
    changed = client.send("PUT", path, json={"enabled": False, "emoji": "☕"}).json()["data"]
    assert changed == {**made, "enabled": False, "emoji": "☕", "updatedAt": "2026-03-04T12:00:01.000Z"}
    assert client.data(path) == changed
    assert client.delete(path).json() == {"success": True}
    assert client.get(path).status_code == 404
    assert client.data("/v1/enrichments") == before


def test_there_is_one_memory_per_workspace(sandbox_and_client, refused):
    _, client = sandbox_and_client
    memory = {"name": "Memory", "type": "memory", "dataType": "transactions"}
    assert refused(client.post("/v1/enrichments", json=memory))[0] == 409
    rule = next(row for row in client.data("/v1/enrichments") if row["type"] == "rule")
    assert refused(client.send("PUT", f"/v1/enrichments/{rule['id']}", json={"type": "memory"}))[0] == 409
    old = next(row for row in client.data("/v1/enrichments") if row["type"] == "memory")
    assert client.send("PUT", f"/v1/enrichments/{old['id']}", json={"type": "memory"}).status_code == 200
    client.delete(f"/v1/enrichments/{old['id']}")
    assert client.post("/v1/enrichments", json=memory).status_code == 201
    assert refused(client.post("/v1/enrichments", json=memory))[0] == 409


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": None}, "name is required"),
        ({"name": "x" * 201}, "name must be a string of 1 to 200 characters"),
        ({"type": "magic"}, "type must be one of rule, alert, memory"),
        ({"feedIds": ["nope"]}, "feedIds[0] is not a feed of this workspace"),
        ({"ruleConfig": {"rules": []}}, "ruleConfig.rules must have at least 1 entries"),
        (
            {"ruleConfig": {"rules": [{"action": RULE["action"]}]}},
            "ruleConfig.rules[0].conditions is required",
        ),
        (
            {"ruleConfig": {"rules": [{**RULE, "conditions": {"logic": "xor", "conditions": [1]}}]}},
            "conditions.logic must be one of and, or",
        ),
        (
            {
                "alertConfig": {
                    "conditions": RULE["conditions"],
                    "destinations": [1],
                    "cooldownMinutes": 10_081,
                }
            },
            "alertConfig.cooldownMinutes must be a whole number from 0 to 10080",
        ),
        ({"memoryConfig": {"learnFields": "x"}}, "memoryConfig.learnFields must be a list"),
    ],
    ids=str,
)
def test_an_enrichment_that_does_not_hold_together_is_422(sandbox_and_client, changes, complaint):
    _, client = sandbox_and_client
    body = {"name": "R", "type": "rule", "dataType": "transactions", **changes}
    errors, _ = invalid(client.post("/v1/enrichments", json={k: v for k, v in body.items() if v is not None}))
    assert any(complaint in error for error in errors), errors


RECORDS = [
    {"description": "Blue Bottle Coffee", "amount": -4, "category": "Other"},
    {"description": "Rent", "amount": -9_000, "category": "Rent"},
]


def test_a_preview_shows_changes_and_saves_nothing(sandbox_and_client):
    _, client = sandbox_and_client
    for row in client.data("/v1/enrichments"):
        client.delete(f"/v1/enrichments/{row['id']}")
    feed = client.data("/v1/feeds")[0]["id"]
    nested = {"logic": "and", "conditions": [{"field": "amount", "operator": "less_than", "value": -5_000}]}
    alert = {"conditions": {"logic": "and", "conditions": [nested]}, "destinations": [{"type": "email"}]}
    common = {"dataType": "transactions", "feedIds": [feed]}
    for body in (
        {"name": "C", "type": "rule", "ruleConfig": {"rules": [RULE]}, **common},
        {"name": "A", "type": "alert", "alertConfig": alert, **common},
        {"name": "Off", "type": "alert", "alertConfig": alert, "enabled": False, **common},
    ):
        assert client.post("/v1/enrichments", json=body).status_code == 201
    shown = client.post(f"/v1/feeds/{feed}/enrich/preview", json={"records": RECORDS}).json()["data"]
    coffee, rent = shown["records"]
    assert coffee == {
        "original": RECORDS[0],
        "enriched": {**RECORDS[0], "category": "Meals"},
        "changedFields": ["category"],
    }
    assert rent == {"original": RECORDS[1], "enriched": RECORDS[1], "changedFields": []}
    assert shown["summary"] == {"totalRecords": 2, "enrichedCount": 1, "rules": 1, "alerts": 1}
    other = client.data("/v1/feeds")[1]["id"]
    summary = client.post(f"/v1/feeds/{other}/enrich/preview", json={"records": RECORDS}).json()["data"][
        "summary"
    ]
    assert (summary["rules"], summary["alerts"]) == (0, 0)


@pytest.mark.parametrize(
    ("operator", "value", "hit"),
    [
        ("equals", "rent", True),
        ("not_equals", "rent", False),
        ("contains", "EN", True),
        ("not_contains", "en", False),
        ("starts_with", "re", True),
        ("ends_with", "re", False),
        ("greater_than", 5, False),
        ("sounds_like", "rend", False),
    ],
)
def test_the_comparisons_of_a_rule(sandbox_and_client, operator, value, hit):
    _, client = sandbox_and_client
    condition = {"field": "description", "operator": operator, "value": value}
    rule = {**RULE, "conditions": {"logic": "and", "conditions": [condition]}}
    body = {"name": "R", "type": "rule", "dataType": "transactions", "ruleConfig": {"rules": [rule]}}
    client.post("/v1/enrichments", json=body)
    feed = client.data("/v1/feeds")[0]["id"]
    shown = client.post(f"/v1/feeds/{feed}/enrich/preview", json={"records": [RECORDS[1]]}).json()["data"]
    assert bool(shown["records"][0]["changedFields"]) == hit


@pytest.mark.parametrize(
    ("value", "operator", "hit"),
    [
        ("12.50", "equals", True),
        ("12.5", "equals", True),
        ('"12.5"', "equals", True),
        ("12.51", "equals", False),
        ('"rent"', "equals", False),
        ("12.50", "not_equals", False),
        ('"rent"', "not_equals", True),
    ],
)
def test_numbers_are_compared_as_numbers(sandbox_and_client, value, operator, hit):
    _, client = sandbox_and_client
    for row in client.data("/v1/enrichments"):
        client.delete(f"/v1/enrichments/{row['id']}")
    condition = f'{{"field": "amount", "operator": "{operator}", "value": {value}}}'
    rule = f'{{"conditions": {{"logic": "and", "conditions": [{condition}]}}, "action": {{"field": "c", "value": 1}}}}'
    body = f'{{"name": "R", "type": "rule", "dataType": "transactions", "ruleConfig": {{"rules": [{rule}]}}}}'
    json = {"Content-Type": "application/json"}
    assert client.post("/v1/enrichments", data=body, headers=json).status_code == 201
    path = f"/v1/feeds/{client.data('/v1/feeds')[0]['id']}/enrich/preview"
    shown = client.post(path, data='{"records": [{"amount": 12.5}]}', headers=json).json()["data"]
    assert bool(shown["records"][0]["changedFields"]) == hit


@pytest.mark.parametrize("records", [None, [], {}, ["x"], [{}] * 51], ids=str)
def test_a_preview_takes_one_to_fifty_records(sandbox_and_client, refused, records):
    _, client = sandbox_and_client
    feed = client.data("/v1/feeds")[0]["id"]
    body = {} if records is None else {"records": records}
    assert refused(client.post(f"/v1/feeds/{feed}/enrich/preview", json=body))[0] == 400
    assert client.post(f"/v1/feeds/{feed}/enrich/preview", json={"records": [{}] * 50}).status_code == 200
