"""Every request: the edge, routes, parameters, headers, records."""

from __future__ import annotations

import http.client
import socket
import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import pytest

BLOCKED = [
    "python-requests/2.32.3",
    "Python-urllib/3.11",
    "aiohttp/3.11.0",
    "Python/3.11 aiohttp/3.11.10",
    "python-httpx/0.28.1",
    "curl/8.5.0",
    "Wget/1.21",
    "Go-http-client/1.1",
    "axios/1.7.2",
    "Java/17.0.2",
    "PycURL/7.45.2 libcurl/8.5.0",
    "Scrapy/2.11.2 (+https://scrapy.org)",
    "Dart/3.4 (dart:io)",
    "",
]


@pytest.mark.parametrize("agent", BLOCKED)
def test_the_edge_blocks_default_user_agents(client, agent):
    response = client.get("/v1/whoami", headers={"User-Agent": agent})
    assert response.status_code == 403
    assert response.headers["Content-Type"].startswith("text/html")
    assert "error code: 1010" in response.text
    with pytest.raises(ValueError, match=r".*"):
        response.json()


def test_the_edge_blocks_a_missing_user_agent_before_it_checks_the_key(family):
    connection = http.client.HTTPConnection(urlsplit(family.url).netloc, timeout=300)
    connection.request("GET", "/nowhere")
    response = connection.getresponse()
    assert (response.status, b"1010" in response.read()) == (403, True)
    connection.close()
    assert (family.requests[-1].status, family.requests[-1].key_id) == (403, None)


@pytest.mark.parametrize(
    "agent", ["airflow-provider-banksync/0.1.0", "acme-etl (python-requests/2.32)", "Mozilla/5.0"]
)
def test_the_edge_accepts_other_user_agents(client, agent):
    assert client.get("/v1/whoami", headers={"User-Agent": agent}).status_code == 200


def test_the_edge_can_be_switched_off(fresh, client_of):
    client = client_of(fresh(block_default_user_agents=False))
    assert client.get("/v1/whoami", headers={"User-Agent": "curl/8.5.0"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/bank",
        "/v1/banks/",
        "/v2/banks",
        "/v1/banks//accounts",
        "/v1/banks/a%2Fb",
        "/api",
        "/api/nothing",
        "/api/v1/feeds",
        "/v1/jobs",
    ],
)
def test_there_are_no_other_routes(client, refused, path):
    assert refused(client.get(path))[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/v1/banks", "GET"),
        ("GET", "/v1/feeds/x/sync", "POST"),
        ("POST", "/v1/feeds/x/jobs/y", "DELETE, GET"),
        ("OPTIONS", "/v1/whoami", "GET"),
    ],
)
def test_a_method_that_the_path_does_not_have_is_405(client, refused, method, path, allowed):
    response = client.send(method, path)
    assert refused(response) == (405, "Method not allowed")
    assert response.headers["Allow"] == allowed


@pytest.mark.parametrize(
    "path",
    [
        "/v1/whoami?x=1",
        "/v1/banks?limit=3",
        "/v1/feeds?scope=self&page=2",
        "/api/jobs?feedId=1",
        "/v1/banks?%ff=",
    ],
)
def test_unknown_query_parameters_are_400(client, refused, path):
    status, sentence = refused(client.get(path))
    assert (status, "Unknown query parameter" in sentence) == (400, True)


def test_a_parameter_given_twice_is_400(client, refused):
    assert refused(client.get("/v1/banks?scope=self&scope=family")) == (
        400,
        "Query parameter given twice: scope",
    )


@pytest.mark.parametrize(
    "path",
    [
        "/v1/banks/nope",
        "/v1/banks/nope/accounts",
        "/v1/banks/{bid}/accounts/nope",
        "/v1/banks/{bid}/accounts/nope/transactions",
        "/v1/feeds/nope",
        "/v1/feeds/nope/jobs",
        "/v1/feeds/{fid}/jobs/nope",
        "/v1/enrichments/nope",
    ],
)
def test_what_does_not_exist_is_404(client, refused, path):
    bank, feed = client.data("/v1/banks")[0]["id"], client.data("/v1/feeds")[0]["id"]
    status, sentence = refused(client.get(path.format(bid=bank, fid=feed)))
    assert (status, sentence.endswith("not found")) == (404, True)


def test_a_resource_of_another_workspace_is_404(family, client, refused):
    rows = (
        client.data("/v1/banks", params={"scope": "family"}),
        client.data("/v1/feeds", params={"scope": "family"}),
    )
    for kind, listed in zip(("banks", "feeds"), rows, strict=True):
        row = next(row for row in listed if row["portal"])
        assert refused(client.get(f"/v1/{kind}/{row['id']}"))[0] == 404
        assert client.data(f"/v1/{kind}/{row['id']}", workspace=row["workspaceId"])["id"] == row["id"]


def test_the_date_header_and_the_data_share_one_clock(fresh, client_of):
    sandbox = fresh(time_scale=0)
    sandbox.clock.advance(86_400 * 3 + 7)
    client = client_of(sandbox)
    feed = client.data("/v1/feeds")[0]["id"]
    response = client.post(f"/v1/feeds/{feed}/sync")
    assert parsedate_to_datetime(response.headers["Date"]) == sandbox.clock.now()
    assert response.json()["data"]["createdAt"] == "2026-03-07T12:00:07.000Z"


def test_request_records_never_hold_a_key(fresh, client_of):
    sandbox = fresh()
    portal = sandbox.portals[0][0]
    client_of(sandbox).get("/v1/banks", params={"scope": "self"}, workspace=portal)
    client_of(sandbox, "bsk_wrong").get("/v1/feeds")
    good, bad = sandbox.requests
    assert (good.method, good.path, good.query, good.workspace_id, good.status) == (
        "GET",
        "/v1/banks",
        {"scope": "self"},
        portal,
        200,
    )
    assert good.time == sandbox.clock.now()
    assert good.key_id
    assert (bad.key_id, bad.status) == (None, 401)
    assert "bsk_" not in repr(sandbox.requests)
    sandbox.clear_requests()
    assert sandbox.requests == []


def test_request_records_distinguish_keys(fresh, client_of):
    sandbox = fresh()
    for key in (sandbox.api_key, sandbox.create_key(), sandbox.api_key):
        client_of(sandbox, key).get("/v1/whoami")
    first, second, third = (record.key_id for record in sandbox.requests)
    assert first == third != second


def test_a_bug_of_the_sandbox_is_a_500_in_the_envelope_and_a_traceback_in_the_log(
    fresh, client_of, refused, caplog
):
    sandbox = fresh()
    sandbox.world.workspace = None  # what a bug looks like
    assert refused(client_of(sandbox).get("/v1/banks"))[0] == 500
    assert "has a bug" in caplog.text
    assert sandbox.requests[-1].status == 500


def test_a_client_that_hangs_up_is_recorded(fresh):
    sandbox = fresh()
    feed = sandbox.world.feeds(sandbox.world.parent)[0].id
    connection = http.client.HTTPConnection(urlsplit(sandbox.url).netloc, timeout=300)
    connection.putrequest("POST", f"/v1/feeds/{feed}/sync")
    for name, value in (
        ("User-Agent", "tests/1.0"),
        ("X-API-Key", sandbox.api_key),
        ("Content-Type", "application/json"),
        ("Content-Length", "100"),
    ):
        connection.putheader(name, value)
    connection.endheaders(b'{"start')
    connection.close()
    for _ in range(1_000):
        if sandbox.requests:
            break
        time.sleep(0.005)
    assert [record.status for record in sandbox.requests] == [499]
    assert sandbox.jobs == []


def test_new_connections_do_not_delay_a_stop(fresh):
    sandbox = fresh()
    address = ("127.0.0.1", urlsplit(sandbox.url).port)
    callers = [socket.create_connection(address, timeout=300) for _ in range(5)]
    began = time.monotonic()
    sandbox.stop()
    assert time.monotonic() - began < 60
    for caller in callers:
        caller.close()
