"""The counts of jobs, and jobs whose bank, destination, feed or portal is deleted."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest

from airflow_provider_banksync.sandbox.clock import parse_moment
from airflow_provider_banksync.sandbox.world.api_rows import Drift
from airflow_provider_banksync.sandbox.world.banks import PROFILES, BankRates
from airflow_provider_banksync.sandbox.world.ledger import TransactionLedger
from airflow_provider_banksync.sandbox.world.transactions import DAY_MS

WINDOW = {"startDate": "2025-11-03", "endDate": "2026-01-17"}


@pytest.fixture
def start(fresh, client_of):
    """Start a sandbox. Returns it with a client of its owner and the parent's feed of a type."""

    def begin(data_type="transactions", **settings):
        sandbox = fresh(**{"job_seconds": (40, 40), **settings})
        client = client_of(sandbox)
        feed = next(row for row in client.data("/v1/feeds") if row["dataType"] == data_type)
        return sandbox, client, feed

    return begin


def run(sandbox, client, feed, body=None):
    response = client.post(f"/v1/feeds/{feed['id']}/sync", json=body)
    assert response.status_code == 201, response.text
    sandbox.clock.advance(60)
    return client.data(f"/v1/feeds/{feed['id']}/jobs/{response.json()['data']['id']}")


def listed(client, feed, part, **query):
    """Return the number of rows that the API has for the feed's accounts."""
    count = 0
    for account in feed["sourceConfig"]["accounts"]:
        path = f"/v1/banks/{account['bankId']}/accounts/{account['accountId']}/{part}"
        asked = dict(query)
        while True:
            body = client.get(path, params=asked).json()
            count += len(body["data"])
            if not body.get("meta", {}).get("hasMore"):
                break
            asked = {"cursor": body["meta"]["cursor"]}
    return count


@pytest.mark.parametrize(
    "settings", [{}, {"transactions_per_day": 3}, {"rows_per_sync": 500}], ids=["default", "fixed", "added"]
)
def test_a_job_counts_the_rows_that_the_api_has_in_its_window(start, settings):
    sandbox, client, feed = start(**settings)
    account = feed["sourceConfig"]["accounts"][0]["accountId"]
    sandbox.add_transaction(account, 1, day=parse_moment("2025-12-01T00:00:00Z").date())
    expected = listed(client, feed, "transactions", **{"from": WINDOW["startDate"], "to": WINDOW["endDate"]})
    jobs = [run(sandbox, client, feed, WINDOW) for _ in range(3)]
    assert expected > 40
    assert [(job["transactionsProcessed"], job["transactionsWritten"]) for job in jobs] == [
        (expected,) * 2
    ] * 3


@pytest.mark.parametrize("first", ["2026-02-20", "2023-01-01", "0001-01-01"])
def test_a_window_up_to_today_counts_pending_rows_and_those_of_the_sync(start, first):
    sandbox, client, feed = start(rows_per_sync=5, page_size=1_000)
    account = feed["sourceConfig"]["accounts"][0]["accountId"]
    sandbox.add_transaction(account, -1, settles_after=86_400)
    before = listed(client, feed, "transactions", **{"from": first})
    job = run(sandbox, client, feed, {"startDate": first})
    assert job["transactionsProcessed"] == before + 5 * len(feed["sourceConfig"]["accounts"])
    assert listed(client, feed, "transactions", **{"from": first}) == job["transactionsProcessed"]


def test_a_job_without_dates_reads_the_last_week(start):
    sandbox, client, feed = start()
    week = listed(client, feed, "transactions", **{"from": "2026-02-26"})
    assert run(sandbox, client, feed)["transactionsProcessed"] == week > 0


@pytest.mark.parametrize(
    ("data_type", "part"), [("trades", "trades"), ("holdings", "holdings"), ("balances", None)]
)
def test_a_job_of_another_type_counts_its_own_rows(start, data_type, part):
    sandbox, client, feed = start(data_type)
    years = {"startDate": "2023-01-01", "endDate": "2029-01-01"}
    job = run(sandbox, client, feed, years)
    asked = {"from": years["startDate"], "to": years["endDate"]} if part == "trades" else {}
    expected = listed(client, feed, part, **asked) if part else len(feed["sourceConfig"]["accounts"])
    assert job["transactionsProcessed"] == job["transactionsWritten"] == expected > 0


def test_a_job_does_not_count_rows_added_while_it_runs(start):
    counts = []
    for looks in (False, True):
        sandbox, client, feed = start()
        client.post(f"/v1/feeds/{feed['id']}/sync")
        sandbox.add_transaction(feed["sourceConfig"]["accounts"][0]["accountId"], 1)
        if looks:
            sandbox.clock.advance(30)
            assert sandbox.jobs[0]["status"] == "in_progress"
        sandbox.add_transaction(feed["sourceConfig"]["accounts"][0]["accountId"], 1)
        sandbox.clock.advance(60)
        counts.append(sandbox.jobs[0]["transactionsProcessed"])
    assert counts[0] == counts[1]


def test_a_count_is_the_number_of_rows_that_are_read(family):
    world = family.world
    now = int(family.clock.now().timestamp() * 1_000)
    today = family.clock.now().date().toordinal()
    for profile, rate in product(PROFILES.values(), (None, 0.4, 6)):
        ledger = TransactionLedger(world.seed, Drift(world.seed, on=False), BankRates(profile), rate)
        for account in world.workspace_accounts(world.parent):
            for first, length in (
                (today - 400, 90),
                (today - 33, 33),
                (today - 5, 2),
                (today - 2, 400),
                (0, 9),
            ):
                for snapshot in (ledger.snapshot_at(now), ledger.snapshot_at(now - 9 * DAY_MS)):
                    rows = 0
                    for day in range(max(first, ledger.first_day(account)), min(first + length, today) + 1):
                        block, _ = ledger.rows_from(account, day, day, snapshot)
                        rows += b"".join(block.encode(0, len(block))).count(b'{"id":')
                    assert ledger.count(account, first, first + length, snapshot) == rows


def test_errors_appear_as_they_happen(start):
    sandbox, client, feed = start(row_error_share=1)
    client.post(f"/v1/feeds/{feed['id']}/sync", json=WINDOW)
    for _ in range(60):
        (job,) = sandbox.jobs
        now = f"{sandbox.clock.now():%Y-%m-%dT%H:%M:%S}.{sandbox.clock.now().microsecond // 1000:03d}Z"
        assert all(error["timestamp"] <= now for error in job["errors"])
        sandbox.clock.advance(1)
    assert sandbox.jobs[0]["errors"]


@pytest.mark.parametrize("change", ["delete bank", "break bank", "delete integration"])
def test_a_running_job_fails_if_its_bank_or_destination_goes(start, change):
    sandbox, client, feed = start(rows_per_sync=3)
    account = feed["sourceConfig"]["accounts"][0]
    client.post(f"/v1/feeds/{feed['id']}/sync", json=WINDOW)
    sandbox.clock.advance(25)
    (before,) = sandbox.jobs
    assert before["status"] == "in_progress"
    if change == "delete bank":
        client.delete(f"/v1/banks/{account['bankId']}")
    elif change == "break bank":
        sandbox.break_bank(account["bankId"])
    else:
        client.delete(f"/v1/integrations/{feed['destinationConfig']['integrationId']}")
    (job,) = sandbox.jobs
    category = "destination" if "integration" in change else "authentication"
    assert (job["status"], job["errorCategory"]) == ("failed", category)
    assert job["completedAt"] == job["errors"][-1]["timestamp"] == before["updatedAt"]
    for count in ("transactionsProcessed", "transactionsWritten"):
        assert job[count] == before[count] > 0
    sandbox.clock.advance(3_600)
    assert sandbox.jobs == [job]
    if change == "break bank":
        sandbox.mend_bank(account["bankId"])
        assert sandbox.jobs == [job]
    if change != "delete bank":
        path = f"/v1/banks/{account['bankId']}/accounts/{account['accountId']}/transactions"
        assert "New since the sync" not in client.get(path).text


def test_a_deleted_bank_stops_the_rows_of_the_other_banks_too(start):
    sandbox, client, feed = start(rows_per_sync=3)
    link = client.post("/v1/banks/link", json={"source": "plaid"}).json()["data"]["linkToken"]
    token = {"publicToken": sandbox.finish_link(link)}
    second = client.post("/v1/banks/connect", json=token).json()["data"]["id"]
    account = client.data(f"/v1/banks/{second}/accounts")[0]
    here = feed["sourceConfig"]["accounts"][0]
    accounts = [here, {"bankId": second, "accountId": account["id"]}]
    both = {name: feed[name] for name in ("source", "dataType", "destinationConfig")}
    both |= {"name": "Both", "sourceConfig": {"type": "sync", "accounts": accounts}}
    made = client.post("/v1/feeds", json=both).json()["data"]["id"]
    client.post(f"/v1/feeds/{made}/sync")
    client.delete(f"/v1/banks/{here['bankId']}")
    sandbox.clock.advance(60)
    assert sandbox.jobs[0]["status"] == "failed"
    assert "New since the sync" not in client.get(account["links"]["transactions"]).text


def test_a_job_succeeds_if_its_bank_is_mended_before_it_reads(start):
    sandbox, client, feed = start(rows_per_sync=3)
    account = feed["sourceConfig"]["accounts"][0]
    sandbox.break_bank(account["bankId"])
    client.post(f"/v1/feeds/{feed['id']}/sync")
    sandbox.clock.advance(1)
    sandbox.mend_bank(account["bankId"])
    sandbox.clock.advance(60)
    assert sandbox.jobs[0]["status"] == "completed"
    path = f"/v1/banks/{account['bankId']}/accounts/{account['accountId']}/transactions"
    assert client.get(path).text.count("New since the sync") == 3


def test_a_change_after_the_end_of_a_job_does_not_change_it(start):
    sandbox, client, feed = start(rows_per_sync=3, job_seconds=(0, 0))
    account = feed["sourceConfig"]["accounts"][0]
    client.post(f"/v1/feeds/{feed['id']}/sync")
    path = f"/v1/banks/{account['bankId']}/accounts/{account['accountId']}/transactions"
    before = sandbox.jobs, client.get(path).json()["data"]
    sandbox.break_bank(account["bankId"])
    sandbox.mend_bank(account["bankId"])
    assert (sandbox.jobs, client.get(path).json()["data"]) == before


@pytest.mark.parametrize("what", ["feed", "portal"])
def test_deleting_a_feed_or_a_portal_ends_its_job(fresh, client_of, what):
    sandbox = fresh(portals=1, rows_per_sync=4, job_seconds=(40, 40))
    client, portal = client_of(sandbox), sandbox.portals[0][0]
    feed = client.data("/v1/feeds", workspace=portal)[0]
    client.post(f"/v1/feeds/{feed['id']}/sync", workspace=portal)
    sandbox.clock.advance(20)
    if what == "feed":
        client.delete(f"/v1/feeds/{feed['id']}", workspace=portal)
    else:
        sandbox.delete_portal(portal)
    (job,) = sandbox.jobs
    assert job["status"] == "cancelled"
    assert parse_moment(job["completedAt"]) == sandbox.clock.now()
    sandbox.clock.advance(60)
    assert sandbox.jobs == [job]
    if what == "feed":
        account = feed["sourceConfig"]["accounts"][0]
        path = f"/v1/banks/{account['bankId']}/accounts/{account['accountId']}/transactions"
        assert "New since the sync" not in client.get(path, workspace=portal).text


def test_trades_without_dates_cover_ninety_days(fresh, client_of):
    sandbox = fresh(portals=0)
    client = client_of(sandbox)
    bank = client.data("/v1/banks")[0]["id"]
    account = next(row for row in client.data(f"/v1/banks/{bank}/accounts") if "trades" in row["links"])
    path = account["links"]["trades"]
    days = [row["date"] for row in client.data(f"{path}?from=2026-03-05&to=2026-12-31")]
    assert days == []
    # The day of the trade is the oldest in the window. One day later it is outside.
    old = client.data(f"{path}?from=2025-12-20&to=2026-01-31")[0]["date"]
    sandbox.clock.move_to(parse_moment(f"{old}T12:00:00Z") + timedelta(days=89))
    assert client.data(path)[0]["date"] == old
    sandbox.clock.advance(86_400)
    assert old not in {row["date"] for row in client.data(path)}
