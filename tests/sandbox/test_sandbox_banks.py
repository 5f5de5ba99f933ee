"""Banks as they are: rows that vanish, change, arrive late or come back, and the balances that agree with them."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal

import pytest

from airflow_provider_banksync.sandbox import Banks, BankSyncSandbox, SandboxError

START = {"from": "2023-01-01"}


def read_all(client, account, workspace, **query):
    """Return all rows of a read, and the cursor after them."""
    path, rows = account["links"]["transactions"], []
    while True:
        body = client.get(path, workspace=workspace, params=query).json(parse_float=Decimal)
        rows += body["data"]
        query = {"cursor": body["meta"]["cursor"]}
        if not body["meta"]["hasMore"]:
            return rows, query["cursor"]


def accounts_of(client):
    return [
        (bank["workspaceId"], account)
        for bank in client.data("/v1/banks?scope=family")
        for account in client.data(f"/v1/banks/{bank['id']}/accounts", workspace=bank["workspaceId"])
    ]


def by_id(rows):
    found = {row["id"]: row for row in rows}
    assert len(found) == len(rows), "an id is there twice"
    return found


@pytest.fixture
def world(fresh, client_of):
    """Return a function that starts a sandbox, with a client of its owner and its accounts."""

    def start(**settings):
        sandbox = fresh(**{"portals": 2, "page_size": 50, **settings})
        client = client_of(sandbox)
        return sandbox, client, accounts_of(client)

    return start


@pytest.fixture
def card(world):
    """Return a sandbox of documented banks, its client, and the firm's current account."""
    sandbox, client, accounts = world(banks="documented", portals=0)
    return sandbox, client, accounts[0][1]


def test_the_default_is_what_production_shows(world):
    sandbox, client, accounts = world(portals=6)
    rows = [row for home, each in accounts for row in read_all(client, each, home, **START)[0]]
    posted = [row for row in rows if not row["pending"]]
    assert {row["pendingTransactionId"] for row in rows} == {None}
    off = sum(row["authorizedDate"] != row["date"] for row in posted if row["type"] != "card")
    assert off > len(posted) / 20
    assert sum(row["amount"] == 0 for row in rows) > 10
    forever = [row for row in rows if row["pending"] and row["date"] < "2026-02-20"]
    assert len(forever) > 10
    names = {row["merchantName"] for row in rows}
    assert {None, "Shell", "Amazon"} <= names
    assert sandbox.truth.transactions() == rows


def test_tips_grow_the_amount_of_meals(world):
    sandbox, _client, _accounts = world(portals=6)
    grown = Counter()
    pending = {}
    for _ in range(60):
        for row in sandbox.truth.transactions(first=sandbox.today - timedelta(days=5)):
            if row["pending"]:
                pending[row["reference"], row["accountId"]] = row
            elif before := pending.pop((row["reference"], row["accountId"]), None):
                assert row["id"] != before["id"]
                assert row["description"] == before["description"]
                share = row["amount"] / before["amount"] if before["amount"] else Decimal(1)
                grown[before["category"] if share != 1 else "same"] += 1
                assert 1 <= share < Decimal("1.21")
        sandbox.advance(days=1)
    assert set(grown) == {"Meals", "same"}
    assert grown["same"] > grown["Meals"] > 3


def test_rows_are_sent_again_for_seven_days_with_the_same_id(world):
    sandbox, client, accounts = world(portals=0)
    home, account = accounts[0]
    _, cursor = read_all(client, account, home)
    made = sandbox.add_transaction(account["id"], "-5")
    sent = []
    for day in range(12):
        news, cursor = read_all(client, account, home, cursor=cursor)
        sent += [day for row in news if row["id"] == made]
        assert read_all(client, account, home, cursor=cursor)[0] == []
        sandbox.advance(days=1)
    assert sent == [0, 1, 2, 3, 4, 5, 6, 7]


def test_a_source_without_loans_answers_404(world):
    found = Counter()
    for banks in ("production", "documented"):
        _, client, accounts = world(portals=60, banks=banks)
        sources = {bank["id"]: bank["source"] for bank in client.data("/v1/banks?scope=family")}
        for home, account in accounts:
            if account["accountType"] == "loan":
                answer = client.get(account["links"]["loan"], workspace=home)
                found[banks, sources[account["bankId"]] == "fiskil", answer.status_code] += 1
    assert set(found) == {
        ("production", True, 404),
        ("production", False, 200),
        ("documented", True, 200),
        ("documented", False, 200),
    }


def changes_between(before, after):
    """Return the rows that are new or different."""
    return {key: row for key, row in after.items() if before.get(key) != row}


@pytest.mark.parametrize("per_day", [None, 2.5], ids=["small business", "fixed rate"])
@pytest.mark.parametrize("profile", ["documented", "production", "restless"])
def test_a_cursor_brings_new_and_changed_rows_and_no_removed_ones(world, profile, per_day):
    sandbox, client, accounts = world(banks=profile, transactions_per_day=per_day, portals=1)
    held, cursors = {}, {}
    for home, account in accounts:
        rows, cursors[account["id"]] = read_all(client, account, home, **START)
        held[account["id"]] = by_id(rows)
    gone = changed = late = 0
    for step in (1, 1, 2, 1, 9, 1, 1, 30, 1, 1):
        sandbox.advance(days=step, hours=5)
        for home, account in accounts:
            key = account["id"]
            now = by_id(sandbox.truth.transactions(account_id=key))
            news, cursors[key] = read_all(client, account, home, cursor=cursors[key])
            news = by_id(news)
            expected = changes_between(held[key], now)
            assert expected.items() <= news.items(), "a change was not delivered"
            assert news.items() <= now.items(), "the cursor brought what is not there"
            if profile == "documented":
                assert news == expected
            gone += sum(not row["pending"] for each, row in held[key].items() if each not in now)
            changed += len(expected.keys() & held[key].keys())
            first = (sandbox.today - timedelta(days=step + 5)).isoformat()
            late += sum(row["date"] < first for row in expected.values() if row["id"] not in held[key])
            held[key] = now
    if profile == "restless":
        assert min(gone, changed, late) > 0
    else:
        assert gone == changed == late == 0


@pytest.mark.parametrize("per_day", [None, 2.5], ids=["small business", "fixed rate"])
def test_restless_banks_do_everything_that_banks_do(world, per_day):
    sandbox, _client, _accounts = world(banks="restless", transactions_per_day=per_day, portals=8)
    seen, _last_seen, found = {}, {}, Counter()
    previous = {}
    for number in range(100):
        rows = by_id(sandbox.truth.transactions(first=sandbox.today - timedelta(days=80)))
        for key, row in rows.items():
            found["late"] += (
                number > 0 and key not in seen and row["date"] < str(sandbox.today - timedelta(days=4))
            )
            before = seen.get(key)
            if before is not None and before != row:
                assert {name for name in row if row[name] != before[name]} <= {"description", "category"}
                assert not row["pending"]
                found["changed"] += 1
        pending = {(row["accountId"], row["reference"]): row for row in previous.values() if row["pending"]}
        posted = {(row["accountId"], row["reference"]): row for row in rows.values() if not row["pending"]}
        for place, before in pending.items():
            after = posted.get(place)
            if after is not None:
                found["linked" if after["pendingTransactionId"] == before["id"] else "unlinked"] += 1
                found["other amount"] += abs(after["amount"]) < abs(before["amount"])
                found["other day"] += after["date"] != str(sandbox.today)
            elif before["id"] not in rows:
                found["vanished"] += 1
        oldest = str(sandbox.today - timedelta(days=79))
        found["removed"] += sum(
            not row["pending"] and row["date"] > oldest for key, row in previous.items() if key not in rows
        )
        seen |= rows
        previous = rows
        sandbox.advance(days=1)
    found["pending for ever"] = sum(
        row["pending"] and row["date"] < str(sandbox.today - timedelta(days=9)) for row in previous.values()
    )
    expected = {"late", "changed", "linked", "unlinked", "other amount", "other day", "vanished", "removed"}
    assert {name for name, count in found.items() if count > 2} == {*expected, "pending for ever"}, found
    assert found["unlinked"] > found["linked"]


@pytest.mark.parametrize("per_day", [None, 2.5], ids=["small business", "fixed rate"])
def test_the_same_seed_gives_the_same_rows_in_any_order_of_reading(fresh, per_day):
    def start():
        return fresh(portals=2, banks="restless", transactions_per_day=per_day)

    one, other = start(), start()
    for _ in range(3):
        one.advance(days=10)
        one.truth.transactions()
    other.advance(days=30)
    assert one.truth.transactions() == other.truth.transactions()


def test_a_pending_row_vanishes_by_command(card):
    sandbox, client, account = card
    row_id = sandbox.add_transaction(account["id"], "-9", settles_after=86_400)
    _, cursor = read_all(client, account, None)
    sandbox.banks.vanish(account["id"], row_id)
    assert read_all(client, account, None, cursor=cursor)[0] == []
    before = read_all(client, account, None)[0]
    assert row_id not in by_id(before)
    sandbox.advance(days=5)
    assert not [row for row in read_all(client, account, None)[0] if row["amount"] == -9]


@pytest.mark.parametrize("link", [True, False])
def test_a_pending_row_posts_by_command_with_another_amount_and_date(card, link):
    sandbox, client, account = card
    row_id = sandbox.add_transaction(account["id"], "-9", "Meal", settles_after=86_400)
    _, cursor = read_all(client, account, None)
    new_id = sandbox.banks.post(account["id"], row_id, amount="-10.50", day=date(2026, 3, 2), link=link)
    (row,) = read_all(client, account, None, cursor=cursor)[0]
    assert (row["id"], row["amount"], row["date"]) == (new_id, Decimal("-10.50"), "2026-03-02")
    assert (row["pending"], row["pendingTransactionId"]) == (False, row_id if link else None)
    sandbox.advance(days=3)
    rows = by_id(read_all(client, account, None)[0])
    assert rows[new_id] == row
    assert row_id not in rows


def test_a_row_stays_pending_by_command(card):
    sandbox, client, account = card
    (row_id, *_) = (row["id"] for row in read_all(client, account, None)[0] if row["pending"])
    sandbox.banks.keep_pending(account["id"], row_id)
    sandbox.advance(days=25)
    assert by_id(read_all(client, account, None)[0])[row_id]["pending"]


def test_a_posted_row_changes_and_is_removed_by_command(card):
    sandbox, client, account = card
    old = read_all(client, account, None, **{"from": "2024-05-01", "to": "2024-05-31"})[0][3]
    _, cursor = read_all(client, account, None)
    sandbox.banks.change(account["id"], old["id"], category="Tea")
    (news,) = read_all(client, account, None, cursor=cursor)[0]
    assert news == {**old, "category": "Tea"}
    sandbox.banks.change(account["id"], old["id"], description="New")
    _, cursor = read_all(client, account, None)
    window = {"from": "2024-05-01", "to": "2024-05-31"}
    assert {**old, "category": "Tea", "description": "New"} in read_all(client, account, None, **window)[0]
    before = read_all(client, account, None, **window)[0]
    sandbox.banks.remove(account["id"], old["id"])
    assert read_all(client, account, None, cursor=cursor)[0] == []
    after = read_all(client, account, None, **window)[0]
    assert [row for row in before if row["id"] != old["id"]] == after


def test_a_command_between_two_pages_does_not_move_rows(world):
    sandbox, client, accounts = world(banks="documented", portals=0, page_size=20)
    home, account = accounts[0]
    window = {"from": "2025-06-01", "to": "2025-09-30"}
    whole, _ = read_all(client, account, home, **window)
    first = client.get(account["links"]["transactions"], params=window).json(parse_float=Decimal)
    for row in (whole[1], whole[30], whole[-1]):
        sandbox.banks.remove(account["id"], row["id"])
    rest, _ = read_all(client, account, home, cursor=first["meta"]["cursor"])
    assert first["data"] + rest == whole


@pytest.mark.parametrize(
    ("command", "state"),
    [("vanish", "pending"), ("keep_pending", "pending"), ("post", "pending"), ("remove", "posted")],
)
def test_a_command_for_a_row_in_another_state_is_refused(card, command, state):
    sandbox, _, account = card
    settles = 60 if state == "posted" else None
    row_id = sandbox.add_transaction(account["id"], 1, settles_after=settles)
    with pytest.raises(SandboxError, match=f"must be {state}"):
        getattr(sandbox.banks, command)(account["id"], row_id)
    with pytest.raises(SandboxError, match="lists no transaction 'nope'"):
        getattr(sandbox.banks, command)(account["id"], "nope")
    with pytest.raises(SandboxError, match="no account 'nope'"):
        getattr(sandbox.banks, command)("nope", row_id)


def balance_of(client, account, home):
    return client.data(account["links"]["balances"], workspace=home)


@pytest.mark.parametrize("per_day", [None, 2.5], ids=["small business", "fixed rate"])
@pytest.mark.parametrize("profile", ["documented", "production"])
def test_a_balance_is_the_sum_of_the_posted_rows(world, profile, per_day):
    sandbox, client, accounts = world(banks=profile, transactions_per_day=per_day)
    opening = {}
    for days in (0, 0.2, 1, 3.3, 40):
        sandbox.advance(days=days)
        for home, account in accounts:
            rows = sandbox.truth.transactions(account_id=account["id"])
            posted = sum((row["amount"] for row in rows if not row["pending"]), Decimal(0))
            balance = balance_of(client, account, home)
            listed = client.data(account["links"]["self"], workspace=home)
            assert balance["current"] == listed["balance"] == sandbox.truth.balance(account["id"])
            assert balance["available"] == listed["availableBalance"]
            assert (
                opening.setdefault(account["id"], balance["current"] - posted) == balance["current"] - posted
            )
            if profile == "production":
                assert listed["balanceAsOf"] == balance["asOf"]


def test_cards_and_loans_have_negative_balances(world):
    _, _, accounts = world(portals=9)
    owed = {account["accountType"] for _, account in accounts if account["balance"] < 0}
    assert owed == {"credit card", "loan"}


@pytest.mark.parametrize("per_day", [None, 2.5], ids=["small business", "fixed rate"])
def test_only_planted_differences_are_unexplained_when_all_rows_are_final(world, per_day):
    sandbox, _, accounts = world(banks="restless", transactions_per_day=per_day)
    first = sandbox.today
    sandbox.advance(days=30)
    planted = accounts[0][1]["id"], accounts[-1][1]["id"]
    sandbox.banks.plant_difference(planted[0], "12.34", first + timedelta(days=20))
    sandbox.banks.plant_difference(planted[1], -3, first + timedelta(days=10))
    now = [sandbox.truth.unexplained(each["id"], first, sandbox.today) for _, each in accounts]
    assert sum(map(bool, now)) > 2, "rows are still missing, or will be removed"
    last = sandbox.today
    sandbox.advance(days=100)
    found = {}
    for _, account in accounts:
        for day in range((last - first).days):
            after = first + timedelta(days=day)
            difference = sandbox.truth.unexplained(account["id"], after, after + timedelta(days=1))
            if difference:
                found[account["id"], after + timedelta(days=1)] = difference
    assert found == {
        (planted[0], first + timedelta(days=20)): Decimal("12.34"),
        (planted[1], first + timedelta(days=10)): -3,
    }


def test_a_planted_difference_shows_in_the_balance_from_its_day(card):
    sandbox, client, account = card
    before = balance_of(client, account, None)["current"]
    sandbox.banks.plant_difference(account["id"], "-7.25", date(2026, 3, 3))
    assert balance_of(client, account, None)["current"] == before - Decimal("7.25")
    assert sandbox.truth.balance(account["id"], date(2026, 3, 2)) + sandbox.truth.unexplained(
        account["id"], date(2026, 3, 2), date(2026, 3, 3)
    ) == sandbox.truth.balance(account["id"], date(2026, 3, 2)) - Decimal("7.25")
    with pytest.raises(SandboxError, match="after the sandbox's today"):
        sandbox.banks.plant_difference(account["id"], 1, date(2026, 3, 5))
    with pytest.raises(SandboxError, match="amount must be exact"):
        sandbox.banks.plant_difference(account["id"], 0.5)


@pytest.mark.parametrize("per_day", [None, 2.5], ids=["small business", "fixed rate"])
def test_a_relinked_bank_has_its_history_under_new_ids(world, per_day):
    sandbox, client, accounts = world(banks="restless", transactions_per_day=per_day)
    home = sandbox.portals[0][0]
    bank = client.data("/v1/banks", workspace=home)[0]
    old = [account for _, account in accounts if account["bankId"] == bank["id"]]
    added = sandbox.add_transaction(old[0]["id"], "-1.00", "Kept", day=date(2025, 1, 1))
    sandbox.banks.plant_difference(old[0]["id"], 5)
    histories = [sandbox.truth.transactions(account_id=each["id"]) for each in old]
    balances = [balance_of(client, each, home)["current"] for each in old]
    new_id = sandbox.banks.relink(bank["id"])
    assert client.get(f"/v1/banks/{bank['id']}", workspace=home).status_code == 404
    new_bank = client.data(f"/v1/banks/{new_id}", workspace=home)
    same = ("name", "source", "institutionId", "type", "connectionStatus")
    assert [new_bank[name] for name in same] == [bank[name] for name in same]
    new = client.data(f"/v1/banks/{new_id}/accounts", workspace=home)
    for before, after in zip(old, new, strict=True):
        assert before["id"] != after["id"]
        same = ("accountNumber", "accountName", "accountType", "currency")
        assert [after[name] for name in same] == [before[name] for name in same]
    assert [balance_of(client, each, home)["current"] for each in new] == balances
    for account, history in zip(new, histories, strict=True):
        rows, _cursor = read_all(client, account, home, **START)
        assert by_id(rows).keys().isdisjoint(by_id(history))
        own = ("id", "accountId", "bankId", "pendingTransactionId")
        assert [{**row, **dict.fromkeys(own)} for row in rows] == [
            {**row, **dict.fromkeys(own)} for row in history
        ]
        named = {row["pendingTransactionId"] for row in rows} - {None}
        assert not named & {row["pendingTransactionId"] for row in history}
    assert added not in {row["id"] for row in rows}
    kept = next(
        row for row in sandbox.truth.transactions(account_id=new[0]["id"]) if row["description"] == "Kept"
    )
    sandbox.banks.remove(new[0]["id"], kept["id"])
    assert kept not in sandbox.truth.transactions(account_id=new[0]["id"])
    again = sandbox.banks.relink(new_id)
    assert again not in {bank["id"], new_id}
    sandbox.advance(days=20)
    assert sandbox.truth.transactions(home)


def test_a_feed_of_a_relinked_bank_fails_until_it_names_the_new_accounts(card):
    sandbox, client, account = card
    feed = client.data("/v1/feeds")[0]
    new = sandbox.banks.relink(account["bankId"])
    client.post(f"/v1/feeds/{feed['id']}/sync")
    sandbox.advance(hours=1)
    accounts = [
        {"bankId": new, "accountId": each["id"]} for each in client.data(f"/v1/banks/{new}/accounts")[:1]
    ]
    config = {"sourceConfig": {"type": "sync", "accounts": accounts}}
    assert client.send("PUT", f"/v1/feeds/{feed['id']}", json=config).status_code == 200
    client.post(f"/v1/feeds/{feed['id']}/sync")
    sandbox.advance(hours=1)
    assert [job["status"] for job in sandbox.jobs] == ["failed", "completed"]


def test_a_stale_account_delivers_nothing_until_it_is_refreshed(world):
    sandbox, client, accounts = world(portals=0)
    home, account = accounts[0]
    key = account["id"]
    sandbox.banks.make_stale(key)
    rows, cursor = read_all(client, account, home, **START)
    balance = balance_of(client, account, home)
    sandbox.advance(days=20)
    assert read_all(client, account, home, **START)[0] == rows
    assert [row for row in read_all(client, account, home, cursor=cursor)[0] if row not in rows] == []
    assert balance_of(client, account, home) == balance
    _, during = read_all(client, account, home)
    sandbox.banks.refresh(key)
    sandbox.advance(hours=1)
    now = by_id(sandbox.truth.transactions(account_id=key))
    missed = changes_between(by_id(rows), now)
    assert len(missed) > 5
    for each in (cursor, during):
        assert missed.items() <= by_id(read_all(client, account, home, cursor=each)[0]).items()
    assert balance_of(client, account, home)["current"] != balance["current"]
    assert balance_of(client, account, home)["asOf"] > balance["asOf"]


def test_accounts_have_their_usual_gaps(world):
    sandbox, _, accounts = world(portals=9, banks="documented")
    gaps = {}
    for _, account in accounts:
        days = sorted(
            {date.fromisoformat(row["date"]) for row in sandbox.truth.transactions(account_id=account["id"])}
        )
        usual = sorted(after - before for before, after in itertools.pairwise(days))
        gaps.setdefault(account["accountType"], set()).add(usual[len(usual) // 2].days)
    assert max(gaps["checking"]) <= 2
    assert gaps["savings"] == {7}
    assert min(gaps["loan"]) >= 28


def test_rates_change_for_the_rows_of_tomorrow(world):
    sandbox, _, _ = world(banks="documented")
    before = sandbox.truth.transactions()
    assert sandbox.banks.set_rates(vanish=1.0).vanish == 1
    assert sandbox.truth.transactions() == before
    sandbox.advance(days=30)
    after = {row["id"] for row in sandbox.truth.transactions()}
    new = [row for row in sandbox.truth.transactions() if row["date"] > "2026-03-08"]
    assert {row["id"] for row in before if not row["pending"]} <= after
    assert not any(row["type"] == "card" and not row["pending"] for row in new)
    sandbox.banks.set_rates("documented")
    sandbox.advance(days=10)
    assert any(
        row["type"] == "card" and not row["pending"] and row["date"] > "2026-04-05"
        for row in sandbox.truth.transactions()
    )


@pytest.mark.parametrize(
    ("banks", "complaint"),
    [
        ("tidy", "banks must be one of documented, production, restless"),
        ({"vanish": 2}, "vanish must be between 0 and 1"),
        ({"vanish": 0.7, "stay_pending": 0.6}, "the sum of vanish, stay_pending"),
        ({"profile": "restless", "explode": 1}, "no rate 'explode'"),
        ({"resend_days": 1.5}, "resend_days must be a whole number"),
        ({"merchant_names": 1}, "merchant_names must be True or False"),
    ],
    ids=str,
)
def test_rates_that_make_no_sense_are_refused(banks, complaint):
    with pytest.raises(SandboxError, match=complaint):
        BankSyncSandbox(banks=banks)


def test_rates_can_be_given_in_three_ways(fresh):
    ways = ({"profile": "documented", "late": 0.5}, Banks(late=0.5))
    assert len({fresh(banks=each).banks.rates for each in ways}) == 1
    assert fresh().banks.rates == fresh(banks="production").banks.rates


def test_the_truth_of_an_unknown_workspace_is_refused(fresh):
    with pytest.raises(SandboxError, match="no live workspace 'nope'"):
        fresh().truth.transactions("nope")
