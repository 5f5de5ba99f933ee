"""Large families: they start at once, use little memory, and have the same bytes in every process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from airflow_provider_banksync.sandbox.exact_json import encode
from airflow_provider_banksync.sandbox.world.api_rows import Drift
from airflow_provider_banksync.sandbox.world.banks import PROFILES, BankRates
from airflow_provider_banksync.sandbox.world.ledger import TransactionLedger
from airflow_provider_banksync.sandbox.world.transactions import format_amount

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def run(script: str, **environment: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(
        command, env={**ENVIRONMENT, **environment}, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LARGE = """
    import json, re, time
    from datetime import datetime, timezone
    import requests
    began = time.process_time()
    from airflow_provider_banksync.sandbox import BankSyncSandbox
    now = datetime(2026, 3, 4, 12, tzinfo=timezone.utc)
    with BankSyncSandbox(portals=1000, transactions_per_day=1.12, page_size=1000, time_scale=0, now=now) as sandbox:
        started = time.process_time() - began
        session = requests.Session()
        session.headers.update({"X-API-Key": sandbox.api_key, "User-Agent": "tests/1.0"})
        get = lambda path, home=None: session.get(sandbox.url + path, headers={"X-Workspace-Id": home}).json()
        feeds = len(get("/v1/feeds?scope=family")["data"])
        jobs = len(get("/api/jobs?scope=family&limit=5000")["data"])
        world = sandbox.world
        accounts = [(home.id, account) for home in world.family() for bank in world.banks(home)
                    for account in world.accounts(bank)]
        total = sum((now.date() - account.opened).days * 1120 // 1000 for _, account in accounts)
        rows = 0
        for home, account in accounts[:40]:
            path = f"/v1/banks/{account.bank.id}/accounts/{account.id}/transactions"
            query = "?from=2023-01-01"
            while query:
                page = get(path + query, home)
                rows += len(page["data"])
                query = f"?cursor={page['meta']['cursor']}" if page["meta"]["hasMore"] else ""
    # Not getrusage, whose peak includes that of the parent process.
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
    expected = sum((now.date() - account.opened).days * 1120 // 1000 for _, account in accounts[:40])
    print(json.dumps([started, peak, len(world.portals), feeds, jobs, total, rows, expected]))
"""


def test_a_thousand_clients_with_five_million_transactions_start_at_once():
    started, peak, portals, feeds, jobs, total, rows, expected = json.loads(run(LARGE))
    assert started < 2, "seconds of processor time, that what else the machine has to do does not add to"
    assert peak < 200
    assert (portals, feeds > 2_000, jobs) == (1_000, True, 5_000)
    assert total > 5_000_000
    # The last day has some rows already, and purchases that are still pending.
    assert 0 <= rows - expected <= 4 * 40


@pytest.mark.parametrize("digits", [0, 2, 3])
@pytest.mark.parametrize("units", [0, 1, 9, 10, 99, 100, 999, 1_000, 123_456_789_012_345_678])
def test_amounts_are_written_as_the_encoder_would(units, digits):
    assert format_amount(units, digits).encode() == encode(Decimal(units).scaleb(-digits))


def test_a_row_from_the_template_is_one_that_the_encoder_would_write(fresh, client_of):
    sandbox = fresh(portals=12)
    client = client_of(sandbox)
    seen = set()
    for bank in client.data("/v1/banks?scope=family"):
        account = client.data(f"/v1/banks/{bank['id']}/accounts", workspace=bank["workspaceId"])[0]
        made = sandbox.add_transaction(account["id"], -7, 'A "quoted" 100 % \\ %s {} name\n🫖')
        body = client.get(account["links"]["transactions"], workspace=bank["workspaceId"]).content
        envelope = json.loads(body, parse_float=Decimal)
        assert encode(envelope) == body
        (row,) = (row for row in envelope["data"] if row["id"] == made)
        assert row["description"] == 'A "quoted" 100 % \\ %s {} name\n🫖'
        assert row["accountName"] == account["accountName"]
        seen.add(row["currency"])
    assert len(seen) >= 5


@pytest.mark.parametrize("per_day", [None, 1.12, 500])
def test_rows_dropped_from_the_cache_are_generated_again_identically(fresh, monkeypatch, per_day):
    world = fresh(portals=1).world
    account = world.accounts(world.banks(world.parent)[0])[0]

    def read(ledger, day):
        block, after = ledger.rows_from(account, day, day + 9, ledger.snapshot_at(1_772_625_600_000))
        return after, block.encode(0, len(block))

    def make_ledger(cached_spans):
        for module in ("activity", "ledger"):
            name = f"airflow_provider_banksync.sandbox.world.{module}._CACHED_SPANS"
            monkeypatch.setattr(name, cached_spans)
        rates = BankRates(PROFILES["restless"])
        return TransactionLedger(world.seed, Drift(world.seed, on=False), rates, per_day)

    small, large = make_ledger(3), make_ledger(10**9)
    days = range(739_000, 739_600, 7)
    first = [read(small, day) for day in days]
    assert [read(small, day) for day in days] == first
    assert [read(large, day) for day in reversed(days)] == first[::-1]
    assert any(rows for _, rows in first)


@pytest.fixture
def fixed_rate(fresh, client_of):
    """Return a sandbox with three rows a day in every account, and a client of its owner."""
    sandbox = fresh(transactions_per_day=3, page_size=37, banks="documented")
    return sandbox, client_of(sandbox)


def accounts_of(client):
    for bank in client.data("/v1/banks?scope=family"):
        for account in client.data(f"/v1/banks/{bank['id']}/accounts", workspace=bank["workspaceId"]):
            yield bank["workspaceId"], account


def all_rows(client, account, workspace=None, **query):
    rows = []
    while True:
        body = client.get(account["links"]["transactions"], workspace=workspace, params=query).json()
        rows += body["data"]
        query = {"cursor": body["meta"]["cursor"]}
        if not body["meta"]["hasMore"]:
            return rows, query["cursor"]


def test_accounts_that_share_what_rows_are_about_share_no_id_and_no_history(fixed_rate):
    _, client = fixed_rate
    ids, histories = set(), set()
    count = 0
    for workspace, account in accounts_of(client):
        rows, _ = all_rows(client, account, workspace, **{"from": "2025-01-01", "to": "2025-12-31"})
        assert {row["accountId"] for row in rows} == {account["id"]}
        assert {row["currency"] for row in rows} == {account["currency"]}
        assert [row["date"] for row in rows] == sorted(row["date"] for row in rows)
        assert len({row["reference"] for row in rows}) == len(rows)
        named = [row[name] for row in rows for name in ("id", "pendingTransactionId") if row[name]]
        assert all(re.fullmatch(r"[A-Za-z0-9]{20}", each) for each in named)
        ids.update(named)
        count += len(named)
        histories.add(tuple((row["amount"], row["description"]) for row in rows))
    assert len(ids) == count > 10_000
    assert len(histories) == sum(1 for _ in accounts_of(client)) > 5


def test_a_day_read_alone_has_the_rows_that_it_has_among_others(fixed_rate):
    _, client = fixed_rate
    _, account = next(accounts_of(client))
    rows, _ = all_rows(client, account, **{"from": "2025-11-01", "to": "2025-11-30"})
    days = [f"2025-11-{day:02d}" for day in range(1, 31)]
    assert [row for day in days for row in all_rows(client, account, **{"from": day, "to": day})[0]] == rows


def test_rows_of_fixed_rate_accounts_are_pending_and_post_too(fixed_rate):
    sandbox, client = fixed_rate
    _, account = next(accounts_of(client))
    rows, cursor = all_rows(client, account, **{"from": "2026-02-20"})
    held = {row["id"]: row for row in rows}
    assert {row["pending"] for row in rows} == {True, False}
    for hours in (7, 30, 100, 1):
        sandbox.clock.advance(hours * 3_600)
        news, cursor = all_rows(client, account, cursor=cursor)
        for row in news:
            assert row["id"] not in held
            held[row["id"]] = row
            before = held.pop(row["pendingTransactionId"], None)
            if before is not None:
                assert (before["pending"], before["amount"]) == (True, row["amount"])
                assert before["date"] == row["authorizedDate"] < row["date"]
    current, _ = all_rows(client, account, **{"from": "2026-02-20"})
    assert held == {row["id"]: row for row in current}


def test_before_an_account_was_opened_only_added_rows_exist(fixed_rate):
    sandbox, client = fixed_rate
    _, account = next(accounts_of(client))
    made = sandbox.add_transaction(account["id"], 5, day=date(2001, 1, 1))
    rows, _ = all_rows(client, account, **{"from": "2000-01-01", "to": "2022-12-31"})
    assert [row["id"] for row in rows] == [made]


EVENTFUL = """
    import hashlib
    from datetime import datetime, timezone
    import requests
    from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault, RateLimit

    now = datetime(2026, 3, 4, 12, tzinfo=timezone.utc)
    settings = dict(portals=4, seed=11, broken_banks=1, time_scale=0, now=now, drift=True, rows_per_sync=2,
                    transactions_per_day=3, rate_limit=RateLimit(200, retry_after="date"))
    with BankSyncSandbox(**settings) as sandbox:
        session = requests.Session()
        session.headers.update({"X-API-Key": sandbox.api_key, "User-Agent": "tests/1.0"})
        digest = hashlib.sha256()

        def ask(method, path, **more):
            try:
                response = session.request(method, sandbox.url + path, timeout=300, **more)
            except requests.ConnectionError as error:
                digest.update(b"connection lost")
                return None
            digest.update(str(response.status_code).encode() + response.content)
            digest.update(response.headers.get("Retry-After", "").encode())
            return response.json().get("data") if "json" in response.headers.get("Content-Type", "") else None

        sandbox.faults.add(Fault.status(502, body="html"), path="/v1/banks/**", probability=0.5, seed=5)
        sandbox.faults.add(Fault.reset(), method="POST", path="/v1/feeds/*/sync", nth=1, when="after")
        sandbox.faults.add(Fault.gzip(), path="/v1/feeds", nth=2)
        bank = ask("GET", "/v1/banks")[0]["id"]
        account = next(iter(sandbox.world.accounts(sandbox.world.banks(sandbox.world.parent)[0]))).id
        feeds = ask("GET", "/v1/feeds")
        ask("GET", "/v1/feeds")
        for feed in feeds:
            ask("POST", f"/v1/feeds/{feed['id']}/sync", json={"startDate": "2026-01-01", "endDate": "2026-01-31"})
            sandbox.clock.advance(21)
        made = ask("POST", "/v1/feeds", json={"name": "N", "source": "sync", "dataType": "balances"})["id"]
        ask("PUT", f"/v1/feeds/{made}", json={"name": "M", "order": 3})
        ask("DELETE", f"/v1/feeds/{feeds[-1]['id']}")
        ask("POST", "/v1/enrichments", json={"name": "E", "type": "rule", "dataType": "transactions"})
        sandbox.break_bank(bank)
        ask("POST", f"/v1/feeds/{feeds[0]['id']}/sync")
        sandbox.clock.advance(3 * 86_400)
        sandbox.mend_bank(bank)
        sandbox.add_transaction(account, "-1.25", settles_after=60)
        for path in ("/v1/feeds", "/v1/enrichments", "/api/jobs?scope=family&limit=500"):
            ask("GET", path)
        for _ in range(9):
            ask("GET", f"/v1/banks/{bank}/accounts/{account}/transactions?from=2026-01-01")
        for _ in range(200):
            ask("GET", "/v1/whoami")
        digest.update(repr([(each.status, each.fault) for each in sandbox.requests]).encode())
        statuses = {each.status for each in sandbox.requests}
        assert {0, 200, 201, 429, 502} <= statuses, statuses
        print(digest.hexdigest())
"""


def test_after_faults_writes_and_events_two_processes_still_give_the_same_bytes():
    first, second = (run(EVENTFUL, PYTHONHASHSEED=number) for number in ("1", "2"))
    assert re.fullmatch(r"[0-9a-f]{64}", first)
    assert first == second
