"""A table of a SQL database that follows the bank."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_banksync.ledger import job, sql
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from airflow_provider_banksync.tasks import sql_table
from airflow_provider_banksync.transfers.sql import BankSyncToSqlOperator
from tests.support.account_data import family
from tests.support.ledger_task import NOW, LedgerRun, api_rows, by_key
from tests.support.paths import ROOT
from tests.support.sql_databases import CONNECTION, PASSWORD, Database

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.banksync_sandbox(portals=2, time_scale=0, page_size=500, now=NOW)

#: As far back as the tests read.
SINCE = "2026-01-01"


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, database: Database) -> LedgerRun:
    return database.run(from_date=SINCE)


def changes(summary: dict[str, Any]) -> tuple[int, int, int]:
    return summary["rows_inserted"], summary["rows_updated"], summary["rows_deleted"]


# --- the table follows ---


def test_the_table_equals_the_api(task: LedgerRun, database: Database) -> None:
    summary = task.run()

    assert by_key(database.rows()) == api_rows(from_date=SINCE)
    assert changes(summary) == (len(api_rows(from_date=SINCE)), 0, 0)
    assert summary["rows_read"] == summary["rows_inserted"]


def test_a_run_that_finds_nothing_new_changes_nothing(task: LedgerRun, database: Database) -> None:
    task.run()
    before = sorted(map(str, database.rows()))

    assert changes(task.run()) == (0, 0, 0)
    assert sorted(map(str, database.rows())) == before


def test_the_table_follows_what_banks_do(
    task: LedgerRun, database: Database, banksync_sandbox: BankSyncSandbox
) -> None:
    task.run()
    rows = sorted(database.rows(), key=lambda row: row["date"])
    recent = (NOW - timedelta(days=20)).date()
    posted = [row for row in rows if not row["pending"] and row["date"] > recent]
    pending = [row for row in rows if row["pending"]]
    banks = banksync_sandbox.banks
    banks.change(posted[0]["account_id"], posted[0]["id"], description="O'Brien's \"café\" 🧾")
    banks.remove(posted[1]["account_id"], posted[1]["id"])
    banks.vanish(pending[0]["account_id"], pending[0]["id"])
    banks.post(pending[1]["account_id"], pending[1]["id"], amount="-77.01")
    added = banksync_sandbox.add_transaction(posted[0]["account_id"], "-1.10")
    late = banksync_sandbox.add_transaction(
        posted[0]["account_id"], "-2.20", day=(NOW - timedelta(days=60)).date()
    )

    summary = task.run(lookback_days=30)

    after = {row["id"]: row for row in database.rows()}
    assert by_key(database.rows()) == api_rows(from_date=SINCE)
    assert changes(summary) == (3, 1, 3)
    assert {added, late} <= after.keys()
    assert after[posted[0]["id"]]["description"] == "O'Brien's \"café\" 🧾"
    assert after[posted[0]["id"]]["first_seen_at"] == posted[0]["first_seen_at"]
    assert after[posted[0]["id"]]["changed_at"] > posted[0]["changed_at"]


def test_the_days_that_follow(task: LedgerRun, database: Database, banksync_sandbox: BankSyncSandbox) -> None:
    for days in range(0, 9, 4):
        banksync_sandbox.advance(days=4 if days else 0)
        task.run(NOW + timedelta(days=days))
        assert by_key(database.rows()) == api_rows(from_date=SINCE)


@pytest.mark.banksync_sandbox(portals=1, time_scale=0, page_size=20, now=NOW)
def test_the_first_read_of_a_large_account_is_written_in_pieces(
    task: LedgerRun, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "PIECE_ROWS", 10)
    monkeypatch.setattr(job, "BATCH_ROWS", 50)

    task.run(from_date="2026-01-15")
    assert by_key(database.rows()) == api_rows(from_date="2026-01-15")
    assert changes(task.run(from_date="2026-01-15")) == (0, 0, 0)


def test_an_earlier_from_date_reads_more(task: LedgerRun, database: Database) -> None:
    task.run(from_date="2026-02-20")
    assert by_key(database.rows()) == api_rows(from_date="2026-02-20")

    task.run(from_date=SINCE)
    assert by_key(database.rows()) == api_rows(from_date=SINCE)


def test_types_key_and_index(task: LedgerRun, database: Database) -> None:
    task.run()

    found = database.columns()
    names = ("amount", "date", "changed_at", "pending", "description", "pendingTransactionId")
    shown = tuple(found[name] for name in names)
    if database.kind == "sqlite":
        assert shown == ("TEXT", "DATE", "TEXT", "BOOLEAN", "TEXT", "TEXT")
        plan = str(
            database.execute(
                "EXPLAIN QUERY PLAN SELECT * FROM transactions"
                " WHERE workspace_id = 'a' AND account_id = 'b' AND date > '2026-01-01'"
            )
        )
        assert "transactions_index" in plan
    else:
        when = "timestamp with time zone"
        assert shown == ("numeric(38,18)", "date", when, "boolean", "text", "text")
        indexes = str(database.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'transactions'"))
        assert "(workspace_id, account_id, date)" in indexes
        assert "UNIQUE INDEX transactions_pkey" in indexes


def test_names_keep_their_case(banksync_sandbox: BankSyncSandbox, database: Database) -> None:
    task = database.run(from_date="2026-02-20", lookback_days=5)
    task.where["table"] = 'Bank "Rows" of us; DROP'

    task.run()

    assert database.execute('SELECT count(*) FROM "Bank ""Rows"" of us; DROP"')[0][0] > 0
    assert changes(task.run()) == (0, 0, 0)


def test_a_schema_of_postgresql(banksync_sandbox: BankSyncSandbox, database: Database) -> None:
    task = database.run(from_date="2026-02-20", lookback_days=5, schema="Client books")
    if database.kind == "sqlite":
        no_requests(banksync_sandbox, task.run, "SQLite has no schemas. Leave schema out")
        return
    no_requests(banksync_sandbox, task.run, "the database has no schema 'Client books'")

    database.execute('CREATE SCHEMA "Client books"')
    summary = task.run()

    assert summary["table"] == "Client books.transactions"
    assert by_key(database.rows("Client books.transactions")) == api_rows(from_date="2026-02-20")
    assert changes(task.run()) == (0, 0, 0)


def test_the_page_works(banksync_sandbox: BankSyncSandbox, database: Database) -> None:
    page = (ROOT / "docs" / "ledger-sql.md").read_text(encoding="utf-8")
    code, query = (re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL)[0] for kind in ("python", "sql"))
    names: dict[str, Any] = {}
    exec(compile(code, "ledger-sql.md", "exec"), names)
    operator = names["dag"].task_dict["transactions"]
    assert (operator.sql_conn_id, operator.table, operator.schema) == (CONNECTION, "transactions", None)

    database.run(from_date="2026-02-20", lookback_days=5).run()

    assert database.execute(query)


# --- other resources ---


@pytest.mark.parametrize("resource", ["balances", "holdings"])
def test_the_state_of_each_day_is_kept(
    banksync_sandbox: BankSyncSandbox, database: Database, resource: str
) -> None:
    task = database.run(resource=resource)
    inserted, _, _ = changes(task.run())
    assert inserted
    assert changes(task.run()) == (0, 0, 0)
    before = database.rows(resource=resource)

    changes(task.run(NOW + timedelta(days=1)))

    after = database.rows(resource=resource)
    assert [row for row in after if row["day"] == NOW.date()] == before
    assert len([row for row in after if row["day"] == NOW.date() + timedelta(days=1)]) == inserted


def test_a_holding_that_was_sold_today_is_not_in_the_state_of_today(
    banksync_sandbox: BankSyncSandbox, database: Database
) -> None:
    task = database.run(resource="holdings")
    task.run()
    row = database.rows(resource="holdings")[0]
    database.execute(
        f"""UPDATE transactions SET position = 'sold'
        WHERE position = '{row["position"]}' AND account_id = '{row["account_id"]}'"""
    )

    assert changes(task.run()) == (1, 0, 1)


@pytest.mark.parametrize("resource", ["banks", "accounts", "feeds", "jobs"])
def test_a_listing_replaces_the_rows_of_each_workspace(
    banksync_sandbox: BankSyncSandbox, database: Database, resource: str
) -> None:
    task = database.run(resource=resource)
    task.run()
    row = database.rows(resource=resource)[0]
    database.execute(f"UPDATE transactions SET id = 'gone' WHERE id = '{row['id']}'")

    assert changes(task.run()) == (1, 0, 1)
    assert row["id"] in {each["id"] for each in database.rows(resource=resource)}


# --- answers that are not to be trusted ---


def test_an_answer_with_much_fewer_rows_changes_nothing(
    task: LedgerRun, database: Database, banksync_sandbox: BankSyncSandbox
) -> None:
    task.run()
    before = by_key(database.rows())
    _, bank, account = max(family(), key=lambda each: sum(key[1] == each[2]["id"] for key in before))
    banksync_sandbox.faults.add(
        Fault.shortened(2, adjust_count=True),
        path=f"/v1/banks/{bank['id']}/accounts/{account['id']}/transactions",
    )

    with pytest.raises(AirflowException, match=r"the table has \d+ rows of it .* allow_shrink=True"):
        task.run()
    assert by_key(database.rows()) == before


def test_an_account_that_cannot_be_read_keeps_its_rows(
    task: LedgerRun, database: Database, banksync_sandbox: BankSyncSandbox
) -> None:
    task.run()
    before = by_key(database.rows())
    banksync_sandbox.break_bank(family()[0][1]["id"])

    summary = task.run(on_unavailable="report")

    assert summary["unavailable_reasons"] == {"sign_in": summary["unavailable_count"]}
    assert by_key(database.rows()) == before


def test_values_that_are_hard_to_keep(
    task: LedgerRun, database: Database, banksync_sandbox: BankSyncSandbox
) -> None:
    rows = [
        {"id": "t1", "date": "2026-03-04", "amount": "AMOUNT", "description": "a\u0000b", "category": ""},
        {"id": "t'2", "date": "2026-03-04", "amount": 0, "description": "\\N\t\\.\n\\.\r\n", "extra1": "\\"},
    ]
    digits = "-12345678901234567890.123456789012345678"
    data = json.dumps(rows).replace('"AMOUNT"', digits)
    body = f'{{"success": true, "data": {data}, "meta": {{"hasMore": false, "cursor": "c1"}}}}'
    banksync_sandbox.faults.add(Fault.answer(200, body=body), path="/v1/banks/*/accounts/*/transactions")

    task.run()

    found = {row["id"]: row for row in database.rows()}
    one, two = found["t1"], found["t'2"]
    assert one["amount"] == Decimal(digits)
    assert (one["category"], one["currency"]) == ("", None)
    assert one["description"] == ("a\0b" if database.kind == "sqlite" else "a\ufffdb")
    assert (two["amount"], two["description"]) == (0, "\\N\t\\.\n\\.\r\n")
    assert json.loads(two["extra"]) == {"extra1": "\\"}
    assert changes(task.run()) == (0, 0, 0)


# --- kills and other tasks ---


def test_a_run_that_fails_inside_a_transaction_leaves_whole_clients(
    task: LedgerRun, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    save, calls = sql.SqlLedger._save_state, []

    def kill(self: Any, *arguments: Any) -> None:
        save(self, *arguments)
        calls.append(arguments)
        if len(calls) == 2:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(sql.SqlLedger, "_save_state", kill)
        with pytest.raises(Killed):
            task.run()

    wanted = api_rows(from_date=SINCE)
    (complete,) = {row["workspace_id"] for row in database.rows()}
    assert by_key(database.rows()) == {key: row for key, row in wanted.items() if key[0] == complete}
    assert {row[0] for row in database.execute("SELECT workspace_id FROM transactions_state")} == {complete}

    task.run()

    assert by_key(database.rows()) == wanted


KILLED = f"""
import os, signal
from airflow_provider_banksync.ledger import sql
from tests.support.ledger_task import LedgerRun
from airflow_provider_banksync.transfers.sql import BankSyncToSqlOperator

save, calls = sql.SqlLedger._save_state, []

def kill(self, *arguments):
    save(self, *arguments)
    calls.append(arguments)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

sql.SqlLedger._save_state = kill
where = {{"sql_conn_id": "{CONNECTION}", "table": "transactions"}}
LedgerRun(BankSyncToSqlOperator, where, {{"from_date": "{SINCE}"}}).run()
"""


def test_a_worker_that_is_killed_loses_nothing(task: LedgerRun, database: Database) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED],
        cwd=ROOT,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    assert len({row["workspace_id"] for row in database.rows()}) == 1

    task.run()

    assert by_key(database.rows()) == api_rows(from_date=SINCE)


def test_runs_at_once_end_in_the_right_table(
    task: LedgerRun, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "BATCH_ROWS", 50)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            database.run(from_date=SINCE).run()
        except BaseException as error:  # noqa: BLE001 - it is raised below
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not errors
    assert by_key(database.rows()) == api_rows(from_date=SINCE)


# --- bad input ---


def no_requests(sandbox: BankSyncSandbox, run: Callable[[], Any], match: str) -> None:
    """Check that a task is refused before it sends a request."""
    before = len(sandbox.requests)
    with pytest.raises(AirflowException, match=match):
        run()
    assert len(sandbox.requests) == before


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            "ALTER TABLE transactions ADD COLUMN mine text",
            "has columns that this version does not know: mine",
        ),
        ("ALTER TABLE transactions RENAME COLUMN id TO other", "'transactions' lacks the columns id"),
        ("DROP TABLE transactions_state", "so this operator has not created it. Use another table"),
        ("ALTER TABLE transactions_state ADD COLUMN mine text", "'transactions_state' has columns that"),
        ("UPDATE transactions_state SET family = 'ws_other'", "has the rows of workspace 'ws_other'"),
        (
            "DROP TABLE transactions; CREATE VIEW transactions AS SELECT 1 AS id",
            "'transactions' is a view, not a table",
        ),
        (
            "DROP TABLE transactions; CREATE TABLE transactions (id integer)",
            "'transactions' lacks the columns",
        ),
    ],
    ids=["added", "renamed", "no state", "state", "family", "view", "another"],
)
def test_a_table_that_is_not_ours_is_refused(
    banksync_sandbox: BankSyncSandbox, database: Database, change: str, match: str
) -> None:
    task = database.run(resource="banks")
    task.run()
    for statement in change.split(";"):
        database.execute(statement)

    if "family" in change:
        with pytest.raises(AirflowFailException, match=match):
            task.run()
    else:
        no_requests(banksync_sandbox, task.run, match)


def test_a_column_of_another_type_is_refused(banksync_sandbox: BankSyncSandbox, database: Database) -> None:
    task = database.run(resource="banks")
    task.run()
    database.execute('ALTER TABLE transactions DROP COLUMN "order"')
    database.execute('ALTER TABLE transactions ADD COLUMN "order" double precision')

    no_requests(banksync_sandbox, task.run, "has another type in the columns order")


def test_the_table_of_another_resource_is_refused(
    banksync_sandbox: BankSyncSandbox, database: Database
) -> None:
    database.run(resource="banks").run()

    no_requests(banksync_sandbox, database.run().run, "not a table of transactions of this operator")


def test_a_column_that_a_later_version_adds_appears(
    banksync_sandbox: BankSyncSandbox, database: Database
) -> None:
    task = database.run(resource="banks")
    task.run()
    database.execute('ALTER TABLE transactions DROP COLUMN "institutionId"')

    _, updated, _ = changes(task.run())

    assert updated
    assert any(row["institutionId"] for row in database.rows(resource="banks"))


def test_a_table_that_was_dropped_is_filled_anew(task: LedgerRun, database: Database) -> None:
    task.run(lookback_days=1)
    database.execute("DROP TABLE transactions")

    task.run(lookback_days=1)

    assert by_key(database.rows()) == api_rows(from_date=SINCE)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"sql_conn_id": "missing"}, "there is no connection 'missing', which sql_conn_id names"),
        ({"sql_conn_id": ""}, "sql_conn_id is '', but must be the id of a connection"),
        (
            {"sql_conn_id": "banksync_default"},
            "is a connection of type 'banksync'. This operator writes to databases of type postgres and sqlite",
        ),
        ({"table": "books.transactions"}, "has a dot. Write schema='books', table='transactions'"),
        ({"table": ""}, "table is '', but must be a name"),
        ({"table": "100%"}, "has the character '%'"),
        ({"table": "t" * 250}, "is too long"),
        ({"schema": " "}, "schema is ' ', but must be a name"),
        ({"resource": "balances"}, "from_date is for transactions and trades"),
    ],
)
def test_bad_arguments_are_refused(
    task: LedgerRun, banksync_sandbox: BankSyncSandbox, arguments: dict[str, Any], match: str
) -> None:
    no_requests(banksync_sandbox, lambda: task.run(**arguments), match)


def test_a_database_in_memory_is_refused(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", json.dumps({"conn_type": "sqlite"}))
    where = {"sql_conn_id": CONNECTION, "table": "transactions"}

    no_requests(banksync_sandbox, LedgerRun(BankSyncToSqlOperator, where).run, "SQLite database in memory")


def test_a_provider_that_is_missing_is_named(
    task: LedgerRun, database: Database, banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = sql_table._DATABASES
    absent = {name: each._replace(hook=("airflow.providers.absent", "Hook")) for name, each in known.items()}
    monkeypatch.setattr(sql_table, "_DATABASES", absent)

    no_requests(banksync_sandbox, task.run, f"pip install apache-airflow-providers-{database.kind}")


def test_a_database_that_cannot_be_reached(
    task: LedgerRun, database: Database, banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {**json.loads(database.connection), "host": "/nowhere/books.db"}
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", json.dumps(where))

    no_requests(banksync_sandbox, task.run, "could not connect with sql_conn_id 'books'")


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
@pytest.mark.parametrize(
    ("schema", "change", "match"),
    [
        ("closed", "REVOKE ALL ON SCHEMA closed FROM books", "may not create tables in schema 'closed'"),
        (None, "REVOKE DELETE ON transactions FROM books", "the user may not DELETE there"),
        (None, "ALTER ROLE books SET default_transaction_read_only = on", "the database is read-only"),
    ],
    ids=["create", "delete", "read-only"],
)
def test_a_user_without_rights_is_refused(
    banksync_sandbox: BankSyncSandbox, database: Database, schema: str | None, change: str, match: str
) -> None:
    task = database.run(resource="banks")
    task.run()
    database.execute("CREATE SCHEMA closed")
    database.execute(change)
    try:
        no_requests(banksync_sandbox, lambda: task.run(schema=schema), match)
    finally:
        with closing(database.connect()) as connection:
            connection.set_session(readonly=False, autocommit=True)
            connection.cursor().execute("ALTER ROLE books RESET default_transaction_read_only")


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_no_error_and_no_log_has_the_password(
    task: LedgerRun, database: Database, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    def texts(error: BaseException | None) -> str:
        return (
            "" if error is None else f"{error!r} {error} {texts(error.__cause__)} {texts(error.__context__)}"
        )

    task.run()
    shown = logged()
    wrong = {**json.loads(database.connection), "password": f"{PASSWORD} not"}
    for extra in ({}, {"port": "nonsense"}, {"sslmode": f"{PASSWORD} not"}):
        where = (
            {**wrong, "extra": extra} if "port" not in extra else {**wrong, "host": "127.0.0.1", "port": 1}
        )
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", json.dumps(where))
        with pytest.raises(AirflowException, match="could not connect") as caught:
            task.run()
        shown += str(caught.value) + repr(caught.value)
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", database.connection)
    database.execute(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'refused'; END$$"
    )
    database.execute("CREATE TRIGGER no BEFORE UPDATE ON transactions_state EXECUTE FUNCTION no()")
    with pytest.raises(AirflowException, match="could not be read or written: refused") as caught:
        task.run()

    shown += texts(caught.value) + logged()
    assert "transactions" in shown
    assert PASSWORD not in shown
