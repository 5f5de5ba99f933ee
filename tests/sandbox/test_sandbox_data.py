"""The data: relations, exact amounts, the fields of family rows, pages that lose nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal

import pytest

DIGITS = {"USD": 2, "GBP": 2, "EUR": 2, "AUD": 2, "JPY": 0, "KWD": 3}
MONEY = re.compile(
    r'"(amount|creditAmount|debitAmount|balance|availableBalance|current|available|price|value)":(-?[0-9.]+)'
)


def accounts_of(client, family=True):
    """Return every account that the owner can see, with its workspace and its bank."""
    for bank in client.data("/v1/banks", params={"scope": "family"}):
        for account in client.data(f"/v1/banks/{bank['id']}/accounts", workspace=bank["workspaceId"]):
            yield bank["workspaceId"], bank, account


def path_of(account):
    return f"/v1/banks/{account['bankId']}/accounts/{account['id']}"


def read_all(client, path, workspace, **query):
    """Follow the cursors to the end. Returns the pages and the last cursor."""
    pages = []
    while True:
        body = client.get(path, workspace=workspace, params=query).json(parse_float=Decimal)
        assert body["meta"]["count"] == len(body["data"])
        pages.append(body["data"])
        query = {"cursor": body["meta"]["cursor"]}
        if not body["meta"]["hasMore"]:
            assert "next" not in body["links"]
            return pages, query["cursor"]
        assert body["links"]["next"].endswith(query["cursor"])


def test_the_workspaces_are_the_firm_and_its_live_portals(family, client):
    parent, *portals = client.data("/v1/workspaces")
    assert (parent["id"], parent["isInherited"], parent["parentWorkspaceId"]) == (
        family.workspace_id,
        False,
        None,
    )
    assert [(portal["id"], portal["name"]) for portal in portals] == family.portals
    assert {(portal["isInherited"], portal["parentWorkspaceId"]) for portal in portals} == {
        (True, family.workspace_id)
    }
    assert not {name for _, name in family.deleted_portals} & {name for _, name in family.portals}


def test_a_thousand_clients_have_a_thousand_names():
    from airflow_provider_banksync.sandbox import BankSyncSandbox

    names = [name for _, name in BankSyncSandbox(portals=4_500).portals]
    assert len(set(names)) == 4_500
    assert any(not name.isascii() for name in names[:6])


@pytest.mark.parametrize("kind", ["banks", "feeds", "integrations"])
def test_only_family_rows_name_their_portal(family, client, kind):
    rows = client.data(f"/v1/{kind}", params={"scope": "family"})
    names = dict(family.portals)
    by_workspace = {}
    for row in rows:
        home, portal = row.pop("workspaceId"), row.pop("portal")
        by_workspace.setdefault(home, []).append(row)
        if home == family.workspace_id:
            assert portal is None
        else:
            assert (portal["id"], portal["name"]) == (home, names[home])
            assert set(portal) <= {"id", "name", "icon"}
    assert set(by_workspace) == {family.workspace_id, *names}
    for workspace, expected in by_workspace.items():
        own = client.data(f"/v1/{kind}", workspace=workspace)
        assert own == expected
        assert not any({"workspaceId", "portal"} & set(row) for row in own)


def test_ids_are_opaque_and_unique(family, client):
    ids = [
        row["id"]
        for kind in ("banks", "feeds", "integrations")
        for row in client.data(f"/v1/{kind}?scope=family")
    ]
    ids += [account["id"] for _, _, account in accounts_of(client)] + [each for each, _ in family.portals]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[A-Za-z0-9]{20}", each) for each in ids)


def test_amounts_have_the_digits_of_their_currency(client):
    seen = set()
    for workspace, bank, account in accounts_of(client):
        base = path_of(account)
        seen.add(account["currency"])
        paths = [base]
        if bank["connectionStatus"]["status"] == "connected":
            paths += [f"{base}/{part}" for part in ("transactions", "balances", "trades", "holdings")]
        for path in paths:
            for name, text in MONEY.findall(client.get(path, workspace=workspace).text):
                assert len(text.partition(".")[2]) == DIGITS[account["currency"]], (path, name, text)
    assert seen == set(DIGITS)


def test_quantities_keep_more_digits_than_a_float_has(client):
    _, _, account = next(each for each in accounts_of(client) if each[2]["accountType"] == "investment")
    text = client.get(f"{path_of(account)}/holdings").text
    coins = re.search(r'"symbol":"ETH".*?"quantity":([0-9.]+)', text)
    assert coins
    assert len(coins[1].partition(".")[2]) == 18
    assert json.dumps(float(coins[1])) != coins[1]


def test_transactions_add_up(client):
    for workspace, bank, account in accounts_of(client):
        if bank["connectionStatus"]["status"] != "connected":
            continue
        for row in client.data(f"{path_of(account)}/transactions", workspace=workspace):
            assert row["amount"] == row["creditAmount"] - row["debitAmount"]
            assert min(row["creditAmount"], row["debitAmount"]) == 0
            assert (row["accountId"], row["bankId"], row["bank"]) == (account["id"], bank["id"], bank["name"])
            assert (row["accountName"], row["accountNumber"]) == (
                account["accountName"],
                account["accountNumber"],
            )
            assert row["currency"] == account["currency"]
            assert re.fullmatch(r"••••\d{4}", row["accountNumber"])


def test_feeds_refer_to_existing_accounts_and_destinations(family, client):
    for workspace in (family.workspace_id, *(each for each, _ in family.portals)):
        accounts = {
            (bank["id"], account["id"])
            for bank in client.data("/v1/banks", workspace=workspace)
            for account in client.data(f"/v1/banks/{bank['id']}/accounts", workspace=workspace)
        }
        destinations = {
            row["id"]: row["type"] for row in client.data("/v1/integrations", workspace=workspace)
        }
        feeds = client.data("/v1/feeds", workspace=workspace)
        assert feeds
        assert len({feed["name"] for feed in feeds}) == len(feeds)
        for feed in feeds:
            read = {(each["bankId"], each["accountId"]) for each in feed["sourceConfig"]["accounts"]}
            assert read
            assert read <= accounts
            assert (
                destinations[feed["destinationConfig"]["integrationId"]] == feed["destinationConfig"]["type"]
            )
    assert {feed["dataType"] for feed in client.data("/v1/feeds")} == {
        "transactions",
        "balances",
        "holdings",
        "trades",
    }


def test_only_loan_accounts_carry_a_loan_and_only_investments_positions(client, refused):
    kinds = Counter()
    for workspace, bank, account in accounts_of(client):
        if bank["connectionStatus"]["status"] != "connected":
            continue
        kind, base = account["accountType"], path_of(account)
        kinds[kind] += 1
        if kind == "loan":
            assert (
                client.data(f"{base}/loan", workspace=workspace)["outstandingPrincipal"]
                == -account["balance"]
            )
        else:
            assert refused(client.get(f"{base}/loan", workspace=workspace))[0] == 404
        assert bool(client.data(f"{base}/holdings", workspace=workspace)) == (kind == "investment")
        assert bool(client.data(f"{base}/trades", workspace=workspace)) == (kind == "investment")
        for name, path in account["links"].items():
            assert client.get(path, workspace=workspace).status_code == 200, name
    assert set(kinds) == {"checking", "savings", "credit card", "investment", "loan"}


def test_a_broken_bank_only_lists_its_accounts(family, client, refused):
    banks = client.data("/v1/banks?scope=family")
    broken = [bank for bank in banks if bank["connectionStatus"]["status"] != "connected"]
    assert len({bank["workspaceId"] for bank in broken}) == len(broken) == 2
    for bank in broken:
        assert bank["connectionStatus"]["errorCode"] == "ITEM_LOGIN_REQUIRED"
        accounts = client.data(f"/v1/banks/{bank['id']}/accounts", workspace=bank["workspaceId"])
        assert accounts
        for part in ("transactions", "balances", "holdings", "trades", "loan"):
            response = client.get(f"{path_of(accounts[0])}/{part}", workspace=bank["workspaceId"])
            status, sentence = refused(response)
            assert (status, bank["name"] in sentence, "Retry-After" in response.headers) == (503, True, False)


def test_a_balance_is_that_of_its_account(client):
    _, _, account = next(accounts_of(client))
    assert client.data(f"{path_of(account)}/balances") == {
        "accountId": account["id"],
        "current": account["balance"],
        "available": account["availableBalance"],
        "currency": account["currency"],
        "asOf": "2026-03-04T12:00:00.000Z",
    }


@pytest.fixture
def checking(client):
    """Return the path of the parent's current account, which has rows on most days."""
    _, _, account = next(accounts_of(client))
    assert account["accountType"] == "checking"
    return f"{path_of(account)}/transactions"


def test_without_dates_a_list_covers_thirty_days(client, checking):
    pages, _ = read_all(client, checking, None)
    explicit, _ = read_all(client, checking, None, **{"from": "2026-02-03", "to": "2026-03-04"})
    assert pages == explicit
    assert min(row["date"] for row in pages[0]) >= "2026-02-03"


def test_pages_are_full_and_lose_and_repeat_nothing(client, checking):
    window = {"from": "2025-06-01", "to": "2025-12-31"}
    pages, _ = read_all(client, checking, None, **window)
    assert len(pages) > 5
    assert {len(page) for page in pages[:-1]} == {20}
    rows = [row for page in pages for row in page]
    assert len({row["id"] for row in rows}) == len(rows)
    day, by_day = date(2025, 6, 1), []
    while day <= date(2025, 12, 31):
        single, _ = read_all(client, checking, None, **{"from": day.isoformat(), "to": day.isoformat()})
        assert {row["date"] for page in single for row in page} <= {day.isoformat()}
        by_day += [row for page in single for row in page]
        day += timedelta(days=1)
    assert by_day == rows


def test_a_month_has_realistic_transactions(client, checking):
    pages, _ = read_all(client, checking, None, **{"from": "2026-01-01", "to": "2026-01-31"})
    categories = Counter(row["category"] for page in pages for row in page)
    assert {"Rent", "Payroll", "Bank fees", "Transfer", "Revenue"} <= set(categories)
    assert categories["Rent"] == 1


@pytest.mark.parametrize(
    "query",
    [
        "from=2026-2-1",
        "to=yesterday",
        "from=2026-02-30",
        "from=",
        "from=2026-03-02&to=2026-03-01",
        "cursor=abc&from=2026-02-01",
        "cursor=",
        "cursor=abc",
        "cursor=%F0%9F%90%9F",
        "cursor=W10",
    ],
)
def test_bad_windows_and_cursors_are_400(client, refused, checking, query):
    assert refused(client.get(f"{checking}?{query}"))[0] == 400


def test_a_cursor_with_dates_and_a_cursor_of_another_account_are_400(client, refused, checking):
    _, cursor = read_all(client, checking, None)
    assert refused(client.get(checking, params={"cursor": cursor, "from": "2026-01-01"}))[0] == 400
    accounts = [account for _, _, account in accounts_of(client)]
    other = f"{path_of(accounts[1])}/transactions"
    assert refused(client.get(other, params={"cursor": cursor})) == (400, "Invalid cursor")
    tampered = ("B" if cursor[0] == "A" else "A") + cursor[1:]
    assert refused(client.get(checking, params={"cursor": tampered})) == (400, "Invalid cursor")


@pytest.mark.parametrize(
    "window", ["from=2027-01-01&to=2027-02-01", "to=2000-01-01", "to=0001-01-02", "from=9999-12-31"]
)
def test_days_without_rows_are_an_empty_page_with_a_cursor(client, checking, window):
    body = client.get(f"{checking}?{window}").json()
    assert (body["data"], body["meta"]["hasMore"]) == ([], False)
    assert client.data(checking, params={"cursor": body["meta"]["cursor"]}) == []


def test_trades_are_read_by_days_and_for_ninety_by_default(client, refused):
    account = next(account for _, _, account in accounts_of(client) if account["accountType"] == "investment")
    path = f"{path_of(account)}/trades"
    rows = client.data(path)
    assert rows == client.data(path, params={"from": "2025-12-05", "to": "2026-03-04"})
    for row in rows:
        assert (row["amount"] < 0) == (row["type"] == "buy")
        assert client.data(path, params={"from": row["date"], "to": row["date"]}) == [row]
    assert refused(client.get(path, params={"from": "x"}))[0] == 400


def test_the_last_cursor_resumes_with_what_is_new(fresh, client_of):
    sandbox = fresh(page_size=5, banks="documented")
    client = client_of(sandbox)
    _, _, account = next(accounts_of(client))
    path = f"{path_of(account)}/transactions"
    pages, cursor = read_all(client, path, None)
    assert client.data(path, params={"cursor": cursor}) == []

    held = {row["id"]: row for page in pages for row in page}
    for hours in (7, 30, 100, 1):
        sandbox.clock.advance(hours * 3_600)
        news, cursor = read_all(client, path, None, cursor=cursor)
        for row in (row for page in news for row in page):
            assert row["id"] not in held
            held[row["id"]] = row
            # A posted row replaces the pending row that it names.
            held.pop(row["pendingTransactionId"], None)
    now, _ = read_all(client, path, None, **{"from": "2026-02-03"})
    current = {row["id"]: row for page in now for row in page}
    assert held == current


def test_pages_of_one_read_show_one_snapshot(fresh, client_of):
    still = fresh(page_size=5)
    expected, _ = read_all(client_of(still), *first_path(client_of(still)))
    moving = fresh(page_size=5)
    client = client_of(moving)
    path, _ = first_path(client)
    body, rows = client.get(path).json(parse_float=Decimal), []
    while True:
        rows.append(body["data"])
        if not body["meta"]["hasMore"]:
            break
        moving.clock.advance(40_000)
        body = client.get(path, params={"cursor": body["meta"]["cursor"]}).json(parse_float=Decimal)
    assert rows == expected


def first_path(client):
    _, _, account = next(accounts_of(client))
    return f"{path_of(account)}/transactions", None


def test_a_pending_row_posts_under_another_id(fresh, client_of):
    sandbox = fresh(banks="documented")
    client = client_of(sandbox)
    path, _ = first_path(client)
    window = {"from": "2026-02-20", "to": "2026-03-20"}
    pending = {row["id"]: row for row in client.data(path, params=window) if row["pending"]}
    assert pending
    assert all(row["pendingTransactionId"] is None for row in pending.values())
    sandbox.clock.advance(4 * 86_400)
    later = client.data(path, params=window)
    assert not pending.keys() & {row["id"] for row in later}
    posted = {row["pendingTransactionId"]: row for row in later if row["pendingTransactionId"] in pending}
    assert posted.keys() == pending.keys()
    for before, after in ((pending[each], posted[each]) for each in pending):
        assert (after["amount"], after["description"], after["pending"]) == (
            before["amount"],
            before["description"],
            False,
        )
        assert after["authorizedDate"] == before["date"] < after["date"]
