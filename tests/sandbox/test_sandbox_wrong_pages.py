"""Faults that change lists and pages: partial, overlapping, endless, foreign, or of other types."""

from __future__ import annotations

from decimal import Decimal
from itertools import islice

import pytest
import requests

from airflow_provider_banksync.sandbox import Fault, SandboxError

BANKS = "/v1/banks"


@pytest.fixture
def account(fresh, client_of):
    """Return a sandbox with pages of ten rows, a client, and the path of an account's transactions."""
    sandbox = fresh(portals=1, page_size=10, transactions_per_day=1)
    client = client_of(sandbox)
    bank = client.data(BANKS)[0]["id"]
    path = f"{BANKS}/{bank}/accounts/{client.data(f'{BANKS}/{bank}/accounts')[0]['id']}/transactions"
    return sandbox, client, path


def pages(client, path, **query):
    """Yield the answers of all pages."""
    query = query or {"from": "2026-02-01", "to": "2026-03-04"}
    while True:
        answer = client.get(path, params=query).json(parse_float=Decimal)
        yield answer
        if not answer["meta"].get("hasMore"):
            return
        query = {"cursor": answer["meta"]["cursor"]}


def ids(answers):
    return [row["id"] for answer in answers for row in answer["data"]]


@pytest.mark.parametrize("rows", [0, 2])
def test_a_list_is_shortened(account, rows):
    sandbox, client, path = account
    whole, banks = client.get(path).json(), client.data(BANKS)
    sandbox.faults.add(Fault.shortened(rows), path="/v1/banks**")
    assert client.data(BANKS) == banks[:rows]
    short = client.get(path).json()
    assert (short["data"], short["meta"]) == (whole["data"][:rows], whole["meta"])
    sandbox.faults.clear()
    sandbox.faults.add(Fault.shortened(rows, adjust_count=True))
    assert client.get(path).json()["meta"] == {**whole["meta"], "count": rows}
    assert client.get("/v1/whoami").json()["success"] is True


def test_meta_is_changed_added_or_left_out(account):
    sandbox, client, path = account
    whole = client.get(path).json()
    sandbox.faults.add(Fault.meta(hasMore=True, count=99), path=BANKS)
    assert client.get(BANKS).json()["meta"] == {"hasMore": True, "count": 99}
    sandbox.faults.add(Fault.meta(hasMore=None), path=path, nth=1)
    sandbox.faults.add(Fault.without("meta.hasMore"), path=path, nth=2)
    sandbox.faults.add(Fault.without("meta"), path=path, nth=3)
    sandbox.faults.add(Fault.without("data.accountId"), path=path, nth=4)
    null, absent, none, fields = (client.get(path).json() for _ in range(4))
    assert null["meta"] == {**whole["meta"], "hasMore": None}
    assert absent["meta"] == {name: value for name, value in whole["meta"].items() if name != "hasMore"}
    assert none == {name: value for name, value in whole.items() if name != "meta"}
    assert not any("accountId" in row for row in fields["data"])
    sandbox.faults.add(Fault.meta(hasMore=True))
    assert "meta" not in client.get("/v1/nowhere").json()


@pytest.mark.parametrize("rows", [1, 3, 25])
def test_pages_overlap(account, rows):
    sandbox, client, path = account
    true = ids(pages(client, path))
    assert len(true) > 20
    sandbox.faults.add(Fault.overlapping(rows), path="/v1/banks/**")
    answers = list(pages(client, path))
    seen: list[str] = []
    for answer in answers:
        early = seen[-rows:]
        assert ids([answer])[: len(early)] == early
        assert answer["meta"]["count"] == len(answer["data"])
        seen = [*seen, *ids([answer])[len(early) :]]
    assert seen == true
    # The cursor of the last page includes its last rows too, and a repeated request gets the same answer.
    last = answers[-1]["meta"]["cursor"]
    assert ids(pages(client, path, cursor=last)) == ids(pages(client, path, cursor=last)) == true[-rows:]


@pytest.mark.parametrize("kind", ["same", "all", "none"])
def test_pages_without_end(account, kind):
    sandbox, client, path = account
    true = list(pages(client, path))
    sandbox.faults.add(Fault.endless(kind), path="/v1/banks/**")
    answers = list(islice(pages(client, path), 12))
    assert all(answer["meta"]["hasMore"] for answer in answers)
    assert len({answer["meta"]["cursor"] for answer in answers}) == 12
    read = [ids([answer]) for answer in answers]
    rows = [ids([answer]) for answer in true]
    more = {"same": [rows[-1]] * 12, "all": rows * 4, "none": [[]] * 12}[kind]
    assert read == (rows + more)[:12]
    # A second read begins as the first one did, and a repeated request gets the same rows.
    assert ids(islice(pages(client, path), 5)) == [row for page in read[:5] for row in page]
    (again,) = islice(pages(client, path, cursor=answers[7]["meta"]["cursor"]), 1)
    assert ids([again]) == read[8]


def test_an_unknown_cursor_stays_invalid(account, refused):
    sandbox, client, path = account
    sandbox.faults.add(Fault.endless())
    assert refused(client.get(path, params={"cursor": "endless-1"})) == (400, "Invalid cursor")
    client.get(path)
    assert refused(client.get(path, params={"cursor": "endless-x"})) == (400, "Invalid cursor")


def test_rows_of_another_account_or_day_are_added(account):
    sandbox, client, path = account
    whole = client.get(path).json(parse_float=Decimal)
    fields = {"accountId": "other", "date": "2019-01-01", "amount": Decimal("0.10")}
    sandbox.faults.add(Fault.added(2, **fields), path="/v1/banks/**")
    answer = client.get(path).json(parse_float=Decimal)
    assert answer["data"][:-2] == whole["data"]
    assert answer["meta"]["count"] == whole["meta"]["count"] + 2
    assert len(set(ids([answer]))) == len(answer["data"])
    for row in answer["data"][-2:]:
        assert row == {**whole["data"][0], "id": row["id"], **fields}


def test_days_are_moved_by_whole_days(account):
    sandbox, client, path = account
    whole = client.data(path)
    sandbox.faults.add(Fault.shifted(date=-86_400, pending=5, nothing=5), path="/v1/banks/**")
    for true, moved in zip(whole, client.data(path), strict=True):
        assert moved["date"] < true["date"]
        assert {**moved, "date": true["date"]} == true


def test_fields_come_as_another_type(account):
    sandbox, client, path = account
    whole = client.get(path).content
    true = client.data(path)
    (drift,) = [
        sandbox.faults.add(Fault.retyped(amount="text", pending="text", date="text"), path="/v1/banks/**")
    ]
    for row, was in zip(client.data(path), true, strict=True):
        assert (row["amount"], row["pending"], row["date"]) == (
            str(was["amount"]),
            "true" if was["pending"] else "false",
            was["date"],
        )
        assert f'"amount":{row["amount"]},'.encode() in whole  # as it was written
    sandbox.faults.remove(drift)
    fault = Fault.retyped(amount="object", pending="number", date="number", description="number")
    drift = sandbox.faults.add(fault, path="/v1/banks/**")
    sandbox.faults.add(Fault.retyped(date="timestamp"), path="/v1/banks/**", nth=2)
    for row, was in zip(client.data(path), true, strict=True):
        assert (row["amount"], row["pending"]) == ({"value": was["amount"]}, int(was["pending"]))
        assert (type(row["date"]), row["description"]) == (int, was["description"])
    sandbox.faults.remove(drift)
    assert [row["date"] for row in client.data(path)] == [f"{row['date']}T00:00:00.000Z" for row in true]


def test_a_quoted_number_comes_without_quotes(account):
    sandbox, client, path = account
    true = client.data(path)
    sandbox.faults.add(Fault.retyped(amount="text", share=0.5), path="/v1/banks/**")
    quoted = [isinstance(row["amount"], str) for row in client.data(path)]
    assert 0 < sum(quoted) < len(quoted)
    sandbox.faults.add(Fault.retyped(amount="number"), path="/v1/banks/**")
    assert client.data(path) == true


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Fault.shortened(-1), "rows must be between 0"),
        (lambda: Fault.shortened(1.0), "rows must be a whole number"),
        (lambda: Fault.shortened(1, adjust_count=1), "adjust_count must be True or False"),
        (lambda: Fault.added(0), "rows must be between 1"),
        (lambda: Fault.added(amount=0.1), "use Decimal"),
        (Fault.meta, "meta needs a field"),
        (lambda: Fault.meta(count=0.5), "use Decimal"),
        (lambda: Fault.without("meta."), "member must be a name"),
        (lambda: Fault.without("data.a.b"), "member must be a name"),
        (lambda: Fault.overlapping(0), "rows must be between 1"),
        (lambda: Fault.endless("new"), "rows must be one of same, all, none"),
        (Fault.retyped, "retyped needs a field"),
        (lambda: Fault.retyped(amount="float"), "amount must be one of text, number"),
        (lambda: Fault.retyped(amount="text", share=-0.1), "share must be between"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(make, complaint):
    with pytest.raises(SandboxError, match=complaint):
        make()


@pytest.mark.parametrize(
    "body",
    [
        {"fault": "shortened", "with": {"rows": 3, "adjust_count": True}},
        {"fault": "added", "with": {"rows": 3, "amount": 0.1}},
        {"fault": "meta", "with": {"hasMore": None, "count": 1.5}},
        {"fault": "without", "with": {"member": "meta"}},
        {"fault": "overlapping", "with": {"rows": 2}},
        {"fault": "endless", "with": {"rows": "none"}},
        {"fault": "retyped", "with": {"amount": "text", "share": 0.25}},
    ],
    ids=lambda body: body["fault"],
)
def test_a_fault_is_added_over_http(account, body):
    sandbox, client, path = account
    response = requests.post(f"{sandbox.url}/_sandbox/faults", json=body, timeout=300)
    assert (response.status_code, response.json()["fault"]["fault"]) == (200, body["fault"])
    assert client.get(path).status_code == 200
    assert sandbox.requests[-1].fault == f"{body['fault']} after"


# --- Faults that need no fault of their own: the recipes of docs/sandbox.md ---


def test_a_key_is_rotated(world, client_of):
    sandbox, client, _ = world
    new = sandbox.create_key()
    assert client.get(BANKS).status_code == 200
    sandbox.revoke_key(sandbox.api_key)
    assert client.get(BANKS).status_code == 401
    assert client_of(sandbox, new).get(BANKS).status_code == 200


def test_all_accounts_of_one_bank_fail(world):
    sandbox, client, _ = world
    banks = {row["id"]: row["workspaceId"] for row in client.data(f"{BANKS}?scope=family")[:2]}
    sandbox.faults.add(Fault.status(500), path=f"{BANKS}/{next(iter(banks))}/accounts/**")
    found = []
    for bank, home in banks.items():
        account = client.data(f"{BANKS}/{bank}/accounts", workspace=home)[0]["id"]
        path = f"{BANKS}/{bank}/accounts/{account}/balances"
        found.append(client.get(path, workspace=home).status_code)
    assert found == [500, 200]


@pytest.mark.parametrize("code", [400, 403, 404, 502])
def test_a_gateway_answers_for_one_path(world, code):
    sandbox, client, feed = world
    sandbox.faults.add(Fault.status(code, body="html"), path="/v1/feeds/*")
    response = client.get(feed)
    assert (response.status_code, response.headers["Content-Type"]) == (code, "text/html; charset=UTF-8")
    assert client.get("/v1/feeds").status_code == 200
