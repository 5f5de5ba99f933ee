"""Changes over time: new rows, late rows, broken and mended banks, scheduled jobs, drift."""

from __future__ import annotations

import time
from collections import Counter
from datetime import date, datetime, timezone
from decimal import Decimal

import pytest

from airflow_provider_banksync.sandbox import BankSyncSandbox, SandboxError
from airflow_provider_banksync.sandbox.world.api_rows import UNDOCUMENTED_SOURCES

DAY = 86_400


@pytest.fixture
def sandbox_with_account(fresh, client_of):
    """Return a sandbox, a client of its owner, and the parent's first account."""

    def begin(**settings):
        sandbox = fresh(**settings)
        client = client_of(sandbox)
        bank = client.data("/v1/banks")[0]["id"]
        return sandbox, client, client.data(f"/v1/banks/{bank}/accounts")[0]

    return begin


def rows_of(client, account, **query):
    """Return all rows of a read, and the cursor after them."""
    path, rows = account["links"]["transactions"], []
    while True:
        body = client.get(path, params=query).json(parse_float=Decimal)
        rows += body["data"]
        query = {"cursor": body["meta"]["cursor"]}
        if not body["meta"]["hasMore"]:
            return rows, query["cursor"]


def test_an_added_transaction_is_listed_exactly(sandbox_with_account):
    sandbox, client, account = sandbox_with_account()
    made = sandbox.add_transaction(account["id"], "-12.50", "Tea 🫖", category="Meals")
    (row,) = (row for row in rows_of(client, account)[0] if row["id"] == made)
    assert (row["amount"], row["creditAmount"], row["debitAmount"]) == (
        Decimal("-12.50"),
        0,
        Decimal("12.50"),
    )
    assert (row["description"], row["category"], row["date"], row["pending"]) == (
        "Tea 🫖",
        "Meals",
        "2026-03-04",
        False,
    )
    assert set(row) == set(rows_of(client, account)[0][0])


def test_a_cursor_finds_added_rows_of_any_date(sandbox_with_account):
    sandbox, client, account = sandbox_with_account(page_size=3)
    _, cursor = rows_of(client, account)
    made = [
        sandbox.add_transaction(account["id"], 5, day=day)
        for day in (date(2026, 3, 4), date(2024, 2, 29), date(2001, 1, 1), None)
    ]
    news, after = rows_of(client, account, cursor=cursor)  # in the same millisecond
    assert [row["id"] for row in news] == [made[2], made[1], made[0], made[3]]
    assert rows_of(client, account, cursor=after)[0] == []
    sandbox.clock.advance(0.001)
    assert rows_of(client, account, cursor=after)[0] == []
    assert [row["id"] for row in rows_of(client, account, cursor=cursor)[0]] == [row["id"] for row in news]
    made.append(sandbox.add_transaction(account["id"], 5, day=date(2024, 2, 29)))
    news, after = rows_of(client, account, cursor=after)
    assert [row["id"] for row in news] == made[-1:]
    assert rows_of(client, account, cursor=after)[0] == []
    old, _ = rows_of(client, account, **{"from": "2001-01-01", "to": "2024-02-29"})
    assert {made[1], made[2], made[4]} <= {row["id"] for row in old}


WINDOW = {"from": "2025-06-01", "to": "2025-09-30"}


@pytest.mark.parametrize("size", [1, 20, 37])
@pytest.mark.parametrize("day", [None, date(2025, 6, 1), date(2025, 8, 15), date(2025, 9, 30)], ids=str)
def test_rows_added_between_two_pages_do_not_move_others(sandbox_with_account, size, day):
    sandbox, client, account = sandbox_with_account(
        page_size=size, transactions_per_day=0.3 if size == 1 else None
    )
    whole, _ = rows_of(client, account, **WINDOW)
    path, rows, query = account["links"]["transactions"], [], dict(WINDOW)
    for number in range(1_000):
        body = client.get(path, params=query).json(parse_float=Decimal)
        rows += body["data"]
        query = {"cursor": body["meta"]["cursor"]}
        if not body["meta"]["hasMore"]:
            break
        if number in {1, 3}:
            sandbox.add_transaction(account["id"], "-1.00", day=day)
    assert len(whole) > 3 * size
    assert rows == whole
    news, _ = rows_of(client, account, **query)
    assert [row["description"] for row in news] == ["Added by a test"] * 2


def test_a_sync_between_two_pages_does_not_move_rows(sandbox_with_account):
    sandbox, client, account = sandbox_with_account(page_size=20, rows_per_sync=2, job_seconds=(1, 1))
    feed = next(row for row in client.data("/v1/feeds") if row["dataType"] == "transactions")
    whole, _ = rows_of(client, account, **WINDOW)
    first = client.get(account["links"]["transactions"], params=WINDOW).json(parse_float=Decimal)
    client.post(f"/v1/feeds/{feed['id']}/sync")
    sandbox.clock.advance(5)
    rest, _ = rows_of(client, account, cursor=first["meta"]["cursor"])
    assert first["data"] + rest == whole


def test_a_row_of_the_first_day_of_the_calendar_is_read_quickly(sandbox_with_account):
    sandbox, client, account = sandbox_with_account()
    _, cursor = rows_of(client, account)
    made = sandbox.add_transaction(account["id"], 1, day=date(1, 1, 1))
    began = time.process_time()
    news, _ = rows_of(client, account, cursor=cursor)
    assert [row["id"] for row in news] == [made]
    assert time.process_time() - began < 5, "day by day since then, it would take minutes"


def test_an_added_pending_row_posts_under_another_id(sandbox_with_account):
    sandbox, client, account = sandbox_with_account(banks="documented")
    _, cursor = rows_of(client, account)
    sandbox.clock.advance(1)
    pending_id = sandbox.add_transaction(account["id"], -7, "Card", settles_after=2 * DAY)
    before, cursor = rows_of(client, account, cursor=cursor)
    assert [(row["id"], row["pending"], row["pendingTransactionId"]) for row in before] == [
        (pending_id, True, None)
    ]
    sandbox.clock.advance(2 * DAY)
    after, _ = rows_of(client, account, cursor=cursor)
    (posted,) = (row for row in after if row["pendingTransactionId"] == pending_id)
    assert (posted["pending"], posted["date"], posted["authorizedDate"]) == (
        False,
        "2026-03-06",
        "2026-03-04",
    )
    assert pending_id not in {row["id"] for row in rows_of(client, account)[0]}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"amount": 0.1}, "amount must be exact"),
        ({"amount": "1.001"}, "at most 2 decimals, as USD has"),
        ({"amount": "NaN"}, "amount must be exact"),
        ({"amount": "much"}, "amount must be a decimal number"),
        ({"day": date(2026, 3, 5)}, "day must not be after"),
        ({"settles_after": 0}, "settles_after must be"),
        ({"account_id": "nope"}, "there is no account 'nope'"),
    ],
    ids=str,
)
def test_a_transaction_that_makes_no_sense_is_refused(sandbox_with_account, arguments, complaint):
    sandbox, _, account = sandbox_with_account()
    with pytest.raises(SandboxError, match=complaint):
        sandbox.add_transaction(**{"account_id": account["id"], "amount": 1, **arguments})


def test_a_sync_brings_its_rows_when_it_completes(sandbox_with_account):
    sandbox, client, account = sandbox_with_account(rows_per_sync=3, job_seconds=(40, 40))
    _, cursor = rows_of(client, account)
    feed = next(row for row in client.data("/v1/feeds") if row["dataType"] == "transactions")
    client.post(f"/v1/feeds/{feed['id']}/sync")
    sandbox.clock.advance(39)
    assert rows_of(client, account, cursor=cursor)[0] == []
    sandbox.clock.advance(1)
    news, cursor = rows_of(client, account, cursor=cursor)
    assert len({row["id"] for row in news}) == len(news) == 3
    cancelled = client.post(f"/v1/feeds/{feed['id']}/sync").json()["data"]["id"]
    client.delete(f"/v1/feeds/{feed['id']}/jobs/{cancelled}")
    sandbox.clock.advance(60)
    assert rows_of(client, account, cursor=cursor)[0] == []


def test_a_sync_that_fails_brings_nothing(sandbox_with_account):
    sandbox, client, account = sandbox_with_account(rows_per_sync=3, failure_share=1)
    _, cursor = rows_of(client, account)
    client.post(f"/v1/feeds/{client.data('/v1/feeds')[0]['id']}/sync")
    sandbox.clock.advance(60)
    assert sandbox.jobs[0]["status"] == "failed"
    assert rows_of(client, account, cursor=cursor)[0] == []


def test_a_bank_breaks_and_mends_while_it_runs(sandbox_with_account, refused):
    sandbox, client, account = sandbox_with_account()
    feed = next(row for row in client.data("/v1/feeds") if row["dataType"] == "transactions")
    outcomes = []
    for change in (None, sandbox.break_bank, sandbox.mend_bank):
        if change:
            change(account["bankId"])
        sandbox.clock.advance(1)
        bank = client.data(f"/v1/banks/{account['bankId']}")
        reading = client.get(account["links"]["balances"]).status_code
        client.post(f"/v1/feeds/{feed['id']}/sync")
        sandbox.clock.advance(60)
        outcomes.append((bank["connectionStatus"]["status"], reading, sandbox.jobs[-1]["status"]))
    assert outcomes == [
        ("connected", 200, "completed"),
        ("error", 503, "failed"),
        ("connected", 200, "completed"),
    ]
    assert [job["status"] for job in sandbox.jobs] == ["completed", "failed", "completed"]
    with pytest.raises(SandboxError, match="no bank 'nope'"):
        sandbox.break_bank("nope")


def test_a_bank_that_was_broken_from_the_start_can_be_mended(fresh, client_of):
    sandbox = fresh(portals=1, broken_banks=1)
    client = client_of(sandbox)
    bank = next(
        row for row in client.data("/v1/banks?scope=family") if row["connectionStatus"]["status"] == "error"
    )
    sandbox.mend_bank(bank["id"])
    mended = client.data(f"/v1/banks/{bank['id']}", workspace=bank["workspaceId"])
    assert mended["connectionStatus"] == {"status": "connected"}
    account = client.data(f"/v1/banks/{bank['id']}/accounts", workspace=bank["workspaceId"])[0]
    assert client.get(account["links"]["balances"], workspace=bank["workspaceId"]).status_code == 200


def test_the_older_jobs_of_a_bank_that_was_broken_from_the_start_completed(fresh, client_of):
    sandbox = fresh(portals=1, broken_banks=1)
    client, portal = client_of(sandbox), sandbox.portals[0][0]
    bank = next(
        row
        for row in client.data("/v1/banks", workspace=portal)
        if row["connectionStatus"]["status"] == "error"
    )
    feed = next(
        row
        for row in client.data("/v1/feeds", workspace=portal)
        if row["schedule"]["frequency"] == "daily"
        and bank["id"] in {account["bankId"] for account in row["sourceConfig"]["accounts"]}
    )
    jobs = client.data(f"/v1/feeds/{feed['id']}/jobs?limit=99", workspace=portal)
    statuses = {job["createdAt"][:10]: job["status"] for job in jobs}
    assert [statuses[f"2026-03-0{day}"] for day in (4, 3, 2)] == ["failed"] * 3
    assert {status for day, status in statuses.items() if day <= "2026-03-01"} == {"completed"}


def test_reads_are_quick_with_a_clock_far_ahead(daily):
    sandbox, client, feed = daily()
    sandbox.clock.move_to(datetime(2099, 12, 31, tzinfo=timezone.utc))
    began = time.process_time()
    assert client.get(f"/v1/feeds/{feed['id']}/jobs/nope").status_code == 404
    newest = client.data(f"/v1/feeds/{feed['id']}/jobs?limit=999")
    assert time.process_time() - began < 5, "day by day until then, it would take minutes"
    assert 390 < len(newest) <= 401
    assert newest[0]["createdAt"] > "2099-12-30"


def scheduled(client, feed, after):
    jobs = client.data(f"/v1/feeds/{feed['id']}/jobs?limit=999")
    return [job for job in jobs if job["type"] == "scheduled" and job["createdAt"] > after]


@pytest.fixture
def daily(sandbox_with_account):
    """Return a sandbox, a client of its owner, and a feed with a daily schedule."""

    def begin(**settings):
        sandbox, client, _ = sandbox_with_account(**settings)
        feed = next(row for row in client.data("/v1/feeds") if row["schedule"]["frequency"] == "daily")
        return sandbox, client, feed

    return begin


def test_scheduled_jobs_appear_after_the_first_day(daily):
    sandbox, client, feed = daily()
    start = "2026-03-04T12:00:00.000Z"
    sandbox.clock.advance(DAY)
    assert scheduled(client, feed, start) == []
    sandbox.clock.advance(4 * DAY)
    jobs = scheduled(client, feed, start)
    assert [job["createdAt"][:10] for job in jobs] == ["2026-03-09", "2026-03-08", "2026-03-07", "2026-03-06"]
    assert {job["createdAt"][11:16] for job in jobs} == {feed["schedule"]["timeOfDay"]}
    assert {job["status"] for job in jobs} == {"completed"}
    assert client.data(f"/v1/feeds/{feed['id']}/jobs/{jobs[0]['id']}") == jobs[0]
    assert sandbox.jobs == []


def to_the_schedule(sandbox, feed, day):
    """Move the clock to half a minute after the feed's scheduled time on a day of March."""
    hour, minute = map(int, feed["schedule"]["timeOfDay"].split(":"))
    due = datetime(2026, 3, day, hour, minute, 30, tzinfo=timezone.utc)
    sandbox.clock.advance((due - sandbox.clock.now()).total_seconds())


def test_a_running_scheduled_job_conflicts_and_can_be_cancelled(daily, refused):
    sandbox, client, feed = daily(job_seconds=(600, 600))
    to_the_schedule(sandbox, feed, 7)
    job = client.data(f"/v1/feeds/{feed['id']}/jobs?limit=1")[0]
    assert (job["type"], job["status"]) == ("scheduled", "queued")
    assert refused(client.post(f"/v1/feeds/{feed['id']}/sync"))[0] == 409
    assert client.delete(f"/v1/feeds/{feed['id']}/jobs/{job['id']}").json()["data"]["status"] == "cancelled"
    assert client.post(f"/v1/feeds/{feed['id']}/sync").status_code == 201
    sandbox.clock.advance(DAY / 2)
    assert client.data(f"/v1/feeds/{feed['id']}/jobs/{job['id']}")["status"] == "cancelled"


def test_a_busy_feed_skips_its_scheduled_job(daily):
    sandbox, client, feed = daily(job_seconds=(3_600, 3_600))
    to_the_schedule(sandbox, feed, 7)
    sandbox.clock.advance(DAY - 600)
    assert client.post(f"/v1/feeds/{feed['id']}/sync").status_code == 201
    sandbox.clock.advance(DAY)
    days = [job["createdAt"][:10] for job in scheduled(client, feed, "2026-03-05")]
    assert "2026-03-07" in days
    assert "2026-03-08" not in days


def test_a_changed_schedule_counts_from_when_it_was_changed(daily):
    sandbox, client, feed = daily()
    sandbox.clock.advance(3 * DAY)
    off = {**feed["schedule"], "enabled": False}
    client.send("PUT", f"/v1/feeds/{feed['id']}", json={"schedule": off})
    sandbox.clock.advance(3 * DAY)
    monthly = {"enabled": True, "frequency": "monthly", "timeOfDay": "13:00", "dayOfMonth": 31}
    client.send("PUT", f"/v1/feeds/{feed['id']}", json={"schedule": monthly})
    sandbox.clock.advance(60 * DAY)
    days = [job["createdAt"][:10] for job in scheduled(client, feed, "2026-03-04T12")]
    assert days == ["2026-04-30", "2026-03-31", "2026-03-07", "2026-03-06"]


def test_a_new_feed_runs_by_its_schedule_and_a_weekly_one_once_a_week(sandbox_with_account):
    sandbox, client, _ = sandbox_with_account()
    weekly = {"enabled": True, "frequency": "weekly", "timeOfDay": "08:00", "dayOfWeek": 0}
    made = client.post(
        "/v1/feeds", json={"name": "W", "source": "sync", "dataType": "balances", "schedule": weekly}
    )
    sandbox.clock.advance(21 * DAY)
    jobs = client.data(f"/v1/feeds/{made.json()['data']['id']}/jobs")
    assert [job["createdAt"][:10] for job in jobs] == ["2026-03-22", "2026-03-15", "2026-03-08"]


def test_the_clock_can_be_stopped_and_moved_to_a_moment(fresh):
    sandbox = fresh(time_scale=1)
    sandbox.clock.set_scale(0)
    there = datetime(2026, 4, 1, 9, tzinfo=timezone.utc)
    assert sandbox.clock.move_to(there) == sandbox.clock.now() == there
    for wrong in (datetime(2026, 3, 1, tzinfo=timezone.utc), datetime(2026, 5, 1)):  # noqa: DTZ001
        with pytest.raises(SandboxError):
            sandbox.clock.move_to(wrong)


def test_drift_shows_both_forms_and_undocumented_fields(fresh, client_of):
    sandbox = fresh(portals=12, drift=True, broken_banks=3)
    client = client_of(sandbox)
    forms, sources, limits = Counter(), set(), 0
    for bank in client.data("/v1/banks?scope=family"):
        sources.add(bank["source"])
        broken = (
            bank["connectionStatus"].get("status") == "error"
            or bank["connectionStatus"].get("connected") is False
        )
        forms[f"status {min(bank['connectionStatus'])} {broken}"] += 1
        assert bank["syncHealth"]
        for account in client.data(f"/v1/banks/{bank['id']}/accounts", workspace=bank["workspaceId"]):
            assert account["bankName"] == bank["name"]
            limits += "creditLimit" in account
            response = client.get(account["links"]["balances"], workspace=bank["workspaceId"])
            assert response.status_code == (503 if broken else 200)
            if not broken:
                balance = response.json(parse_float=Decimal)["data"]
                forms["documented" if "current" in balance else "seen"] += 1
                assert balance.get("current", balance.get("amount")) == account["balance"]
                assert (balance["accountId"], balance["currency"]) == (account["id"], account["currency"])
                if "pendingBalance" in balance:
                    assert balance["pendingBalance"] == account["balance"] - account["availableBalance"]
    assert min(forms.values()) >= 1
    assert set(forms) >= {"status connected False", "status status False", "documented", "seen"}
    assert sources & set(UNDOCUMENTED_SOURCES)
    assert limits
    account = client.data(f"/v1/banks/{client.data('/v1/banks')[0]['id']}/accounts")[0]
    text = client.get(account["links"]["transactions"]).text
    assert '"fxRate":1.000000000000000001' in text
    job = client.post(f"/v1/feeds/{client.data('/v1/feeds')[0]['id']}/sync").json()["data"]
    assert job["meta"] == {"region": "eu-1"}
    assert {job["type"] for job in client.data("/api/jobs?scope=family&limit=999")} == {
        "manual",
        "scheduled",
        "webhook",
    }


def test_without_drift_nothing_undocumented_is_sent(family, client):
    for bank in client.data("/v1/banks?scope=family"):
        assert "syncHealth" not in bank
        assert set(bank["connectionStatus"]) <= {"status", "errorCode", "errorMessage"}
        assert bank["source"] not in UNDOCUMENTED_SOURCES


@pytest.mark.parametrize(
    "wrong", [{"rows_per_sync": -1}, {"transactions_per_day": -1}, {"transactions_per_day": 1e9}]
)
def test_settings_of_new_rows_are_checked(wrong):
    with pytest.raises(SandboxError, match=next(iter(wrong))):
        BankSyncSandbox(**wrong)


@pytest.mark.parametrize("rate", [0, 0.25, 3, 40])
def test_accounts_have_the_configured_transactions_per_day(sandbox_with_account, rate):
    _, client, account = sandbox_with_account(transactions_per_day=rate, page_size=1_000)
    rows, _ = rows_of(client, account, **{"from": "2025-06-01", "to": "2025-09-08"})
    assert abs(len(rows) - 100 * rate) <= 4 * rate + 1
    assert len({row["id"] for row in rows}) == len(rows)
    if rate == 40:
        assert len({(row["amount"], row["description"]) for row in rows}) > len(rows) / 2
