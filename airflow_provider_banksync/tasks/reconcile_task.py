"""One run of a reconciliation: reads the tables, reconciles each account, writes the result."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_banksync.api.codec import loads
from airflow_provider_banksync.api.flows.conditions import is_connected, needs_sign_in
from airflow_provider_banksync.api.redaction import bullet_list, counted, show_name
from airflow_provider_banksync.api.validation import validate_days
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.ledger.columns import ACCOUNT_ID, BANK_ID, CHANGED_AT, WORKSPACE_ID, Columns
from airflow_provider_banksync.ledger.reconciliation import (
    BALANCE_COLUMNS,
    DIFFERENCE,
    OUTCOMES,
    RESULT_KEY,
    RESULT_SCHEMA,
    ROW_COLUMNS,
    STALE,
    BankFacts,
    Reconciled,
    Reconciliation,
    reconcile_tables,
)
from airflow_provider_banksync.tasks.data_interval import due_time
from airflow_provider_banksync.tasks.delta_table import delta_location, require_deltalake
from airflow_provider_banksync.tasks.sql_table import sql_database
from airflow_provider_banksync.tasks.unavailable import MAX_LISTED

if TYPE_CHECKING:
    import logging
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.ledger.stored_rows import StoredResults, StoredRows

#: Freshness needs a longer history than balances: the usual gap of an account may be a month.
_HISTORY = timedelta(days=365)
#: Differences in the log and in an error.
_MAX_SHOWN = 20


@dataclass(frozen=True)
class ReconcileRequest:
    """What the operator was given, with its templates rendered.

    :raises BankSyncConfigError: if an argument is wrong.
    """

    transactions: str
    balances: str
    reconciliation: str
    accounts: str | None
    banks: str | None
    storage_conn_id: str | None
    sql_conn_id: str | None
    schema: str | None
    workspace_ids: Sequence[str] | None
    from_date: str | date | None
    days: int
    min_days_open: int
    tolerance: Decimal | int | str
    liabilities: str
    on_difference: str

    def __post_init__(self) -> None:
        _ = self.first_day, self.largest_tolerance, self.workspaces
        if self.sql_conn_id is not None and self.storage_conn_id is not None:
            raise BankSyncConfigError(
                "storage_conn_id is for Delta Lake tables, and sql_conn_id for SQL tables. Pass one of them."
            )
        if self.schema is not None and self.sql_conn_id is None:
            raise BankSyncConfigError("schema is for SQL tables, which need a sql_conn_id.")

    @property
    def first_day(self) -> date | None:
        """The value of ``from_date``."""
        first, _ = validate_days(self.from_date, None)
        return None if first is None else date.fromisoformat(first)

    @property
    def largest_tolerance(self) -> Decimal:
        """The value of ``tolerance``."""
        return parse_tolerance(self.tolerance)

    @cached_property
    def workspaces(self) -> list[str] | None:
        """The value of ``workspace_ids``."""
        if self.workspace_ids is None:
            return None
        if isinstance(self.workspace_ids, str) or not all(
            isinstance(each, str) for each in self.workspace_ids
        ):
            raise BankSyncConfigError(f"workspace_ids must be a list of ids, not {self.workspace_ids!r}.")
        return list(self.workspace_ids)

    def open(self, argument: str, resource: str) -> StoredRows:
        """Return the table of an argument, as it is now."""
        name = getattr(self, argument)
        if self.sql_conn_id is not None:
            connect, dialect = sql_database(argument, self.sql_conn_id, name, self.schema)
            from airflow_provider_banksync.ledger.sql_rows import SqlRows

            return SqlRows(connect, dialect, Columns(resource), name, self.schema)
        require_deltalake()
        from airflow_provider_banksync.ledger.stored_rows import DeltaRows

        uri, options = delta_location(argument, name, self.storage_conn_id)
        return DeltaRows(uri, Columns(resource), options)

    def open_results(self) -> StoredResults:
        """Return the table of the result."""
        if self.sql_conn_id is not None:
            connect, dialect = sql_database(
                "reconciliation", self.sql_conn_id, self.reconciliation, self.schema
            )
            from airflow_provider_banksync.ledger.sql_rows import SqlResults

            return SqlResults(connect, dialect, self.reconciliation, self.schema, RESULT_SCHEMA, RESULT_KEY)
        require_deltalake()
        from airflow_provider_banksync.ledger.stored_rows import DeltaResults

        uri, options = delta_location("reconciliation", self.reconciliation, self.storage_conn_id)
        return DeltaResults(uri, RESULT_SCHEMA, options)


def parse_tolerance(value: object) -> Decimal:
    """Return an exact amount of at least zero."""
    try:
        if isinstance(value, (Decimal, int, str)) and not isinstance(value, bool):
            amount = Decimal(value)
            if amount.is_finite() and amount >= 0:
                return amount
    except InvalidOperation:
        pass
    raise BankSyncConfigError(
        f"tolerance must be an amount of at least 0, as a Decimal, an int or a text, not {value!r}.",
        hint='For example tolerance="0.05".',
    )


class ReconcileTask:
    """One run of a reconciliation.

    :param context: of the task instance.
    """

    def __init__(self, request: ReconcileRequest, context: Context, log: logging.Logger | Any) -> None:
        self._request = request
        self._log = log
        self._zone = context["dag"].timezone
        self._today = due_time(context).astimezone(self._zone).date()
        self._first_day = request.first_day or self._today - timedelta(days=request.days)
        self._last_day = self._today - timedelta(days=request.min_days_open)
        if self._first_day >= self._last_day:
            raise BankSyncConfigError(
                f"from_date {self._first_day} leaves no two days: those after {self._last_day} are open.",
                hint="Pass an earlier from_date, or a smaller min_days_open.",
            )

    def run(self) -> dict[str, Any]:
        """Read, reconcile, write, and return the summary.

        :raises LedgerError: if a table cannot be used.
        :raises AirflowFailException: if there are differences, with ``on_difference="fail"``.
        """
        request = self._request
        results = request.open_results()
        # A row that the table had when a balance was read is in the version that is opened later.
        balances, transactions = (
            request.open("balances", "balances"),
            request.open("transactions", "transactions"),
        )
        found = list(reconcile_tables(*self._read(balances, transactions), self._rules()))
        rows = [
            each.row
            | {
                "transactions_version": transactions.version,
                "balances_version": balances.version,
                "checked_at": datetime.now(timezone.utc),
            }
            for each in found
        ]
        version = results.replace_day(
            pa.Table.from_pylist(rows, RESULT_SCHEMA), self._today, request.workspaces
        )
        return self._report(found, results.name, version, transactions.version, balances.version)

    def _read(self, balances: StoredRows, transactions: StoredRows) -> tuple[pa.Table, pa.Table]:
        workspaces = self._request.workspaces
        of_balances = balances.read_rows(BALANCE_COLUMNS, workspace_ids=workspaces, since=self._first_day)
        rows = transactions.read_rows(
            ROW_COLUMNS,
            workspace_ids=workspaces,
            since=min(self._first_day, self._today - _HISTORY),
            # Rows of earlier days that were in the table at the first balance do not matter. Later ones do.
            seen_since=pc.min(of_balances[CHANGED_AT]).as_py(),
        )
        self._log.info(
            "Reconciling %s since %s with %s.",
            counted(of_balances.num_rows, "balance"),
            self._first_day,
            counted(rows.num_rows, "transaction"),
        )
        return of_balances, rows

    def _rules(self) -> Reconciliation:
        request = self._request
        types: dict[tuple[str, str], str] = {}
        banks: dict[tuple[str, str], BankFacts] = {}
        if request.accounts is not None:
            table = request.open("accounts", "accounts")
            for row in table.read_rows(
                (WORKSPACE_ID, "id", "accountType"), workspace_ids=request.workspaces
            ).to_pylist():
                types[row[WORKSPACE_ID], row["id"]] = row["accountType"]
        if request.banks is not None:
            table = request.open("banks", "banks")
            columns = (WORKSPACE_ID, "id", "source", "createdAt", "connectionStatus")
            for row in table.read_rows(columns, workspace_ids=request.workspaces).to_pylist():
                banks[row[WORKSPACE_ID], row["id"]] = _bank_facts(row)
        return Reconciliation(
            today=self._today,
            last_day=self._last_day,
            zone=self._zone,
            tolerance=request.largest_tolerance,
            owed=request.liabilities == "owed",
            account_types=types,
            banks=banks,
        )

    def _report(
        self, found: list[Reconciled], name: str, version: int | None, *versions: int | None
    ) -> dict[str, Any]:
        counts = Counter(each.row["outcome"] for each in found)
        differences = [each for one in found for each in one.differences]
        listed = "; ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES)
        self._log.info("%s: %s of %s.", name, listed, counted(len(found), "account"))
        for each in differences[:_MAX_SHOWN]:
            self._log.warning("%s", _describe(each))
        for each in [one.row for one in found if one.row["outcome"] == STALE][:_MAX_SHOWN]:
            self._log.warning("%s", _describe_stale(each))
        if differences and self._request.on_difference == "fail":
            lines = [_describe(each) for each in differences]
            raise AirflowFailException(
                f"the transactions of {counted(counts[DIFFERENCE], 'account')} do not explain the balances. The result "
                f"is in {name}.{bullet_list(lines[:_MAX_SHOWN], _MAX_SHOWN, len(lines))}"
            )
        return {
            "table": name,
            "version": version,
            "day": self._today.isoformat(),
            "accounts": len(found),
            **{outcome: counts[outcome] for outcome in OUTCOMES},
            "differences": [_listed(each) for each in differences[:MAX_LISTED]],
            "difference_count": len(differences),
            "transactions_version": versions[0],
            "balances_version": versions[1],
        }


def _bank_facts(row: dict[str, Any]) -> BankFacts:
    status = row["connectionStatus"]
    bank = {"connectionStatus": loads(status) if status else None}
    linked = row["createdAt"]
    return BankFacts(
        bool(bank["connectionStatus"]) and not is_connected(bank) and needs_sign_in(bank),
        linked and linked.date(),
        row["source"],
    )


def _amount(value: Decimal) -> str:
    """Return an amount without zeros at the end."""
    return f"{value.normalize():f}"


def _owner(row: dict[str, Any]) -> str:
    client = f" of {show_name(row['portal_name'])}" if row["portal_name"] else ""
    return f"Account {row[ACCOUNT_ID]}{client}"


def _describe(row: dict[str, Any]) -> str:
    currency = row["currency"] or "(no currency)"
    return (
        f"{_owner(row)}: {_amount(row['difference'])} {currency} of the balance are not explained by transactions, "
        f"from {row['first_day']} to {row['last_day']}."
    )


def _describe_stale(row: dict[str, Any]) -> str:
    if row["needs_sign_in"]:
        return f"{_owner(row)}: bank {row[BANK_ID]} needs a new sign-in."
    return (
        f"{_owner(row)}: the newest transaction is of {row['newest_row']}. Usually, the next one comes within "
        f"{counted(row['usual_gap_days'], 'day')}."
    )


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    """Return a difference for XCom. Amounts are texts, so no digit is lost."""
    texts = {name: _amount(value) for name, value in row.items() if isinstance(value, Decimal)}
    days = {name: value.isoformat() for name, value in row.items() if isinstance(value, date)}
    return row | texts | days
