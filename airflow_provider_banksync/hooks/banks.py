"""The hook's methods for banks, accounts and their data."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.page_check import (
    CountCheck,
    Progress,
    day_of,
    id_of,
    is_outside,
    without_rows_of,
)
from airflow_provider_banksync.api.validation import validate_days
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.hooks.workspaces import HookMethods

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.api.messages import Call, Page, Row
    from airflow_provider_banksync.api.validation import Scope


class BankMethods(HookMethods):
    """Banks, accounts, balances, transactions, trades, holdings, loans."""

    def list_banks(self, scope: Scope = "self", *, workspace_id: str | None = None) -> list[Row]:
        """Return the bank connections.

        :param scope: ``self`` for this workspace. ``family`` for this one and all its portals: each row then has
            ``workspaceId`` and ``portal`` (None for the parent's own rows).
        """
        return self._send(endpoints.list_banks(scope, workspace_id=workspace_id))

    def get_bank(self, bank_id: str, *, workspace_id: str | None = None) -> Row:
        """Return one bank connection."""
        return self._send(endpoints.get_bank(bank_id, workspace_id=workspace_id))

    def list_accounts(self, bank_id: str, *, workspace_id: str | None = None) -> list[Row]:
        """Return the accounts of one bank connection."""
        return self._send(endpoints.list_accounts(bank_id, workspace_id=workspace_id))

    def get_account(self, bank_id: str, account_id: str, *, workspace_id: str | None = None) -> Row:
        """Return one account."""
        return self._send(endpoints.get_account(bank_id, account_id, workspace_id=workspace_id))

    def delete_bank(self, bank_id: str, *, workspace_id: str | None = None) -> None:
        """Delete a bank connection with its accounts and their data."""
        self._delete(endpoints.delete_bank(bank_id, workspace_id=workspace_id))

    def create_bank_link(
        self,
        source: str,
        *,
        institution_id: str | None = None,
        country_codes: list[str] | None = None,
        redirect_uri: str | None = None,
        workspace_id: str | None = None,
    ) -> Row:
        """Create a link to a hosted page where a person connects a bank or signs in again.

        If a person links a bank anew instead of signing in again, its accounts and their whole history get new ids. See
        docs/ledger.md for what a ledger does then.

        :param source: the aggregator: ``plaid`` or ``basiq``.
        :param institution_id: the bank, if you know it.
        :param country_codes: two-letter codes of the countries whose banks the page offers.
        :param redirect_uri: where the page sends the person afterwards.
        :return: ``linkToken``, ``authUrl`` (send it to the client), ``expiresAt`` (about four hours), ``provider``,
            ``instructions``.
        """
        if not isinstance(source, str) or not source:
            raise BankSyncConfigError(f"source must be plaid or basiq, not {source!r}.")
        body = {
            "source": source,
            "institutionId": institution_id,
            "countryCodes": country_codes,
            "redirectUri": redirect_uri,
        }
        given = {name: value for name, value in body.items() if value is not None}
        return self._send(endpoints.create_bank_link(given, workspace_id=workspace_id))

    def get_balance(self, bank_id: str, account_id: str, *, workspace_id: str | None = None) -> Row:
        """Return the account's balance, which BankSync requests from the bank now.

        Documented fields are ``accountId``, ``current``, ``available``, ``currency`` and ``asOf``. Some banks have
        ``amount`` and ``availableBalance``.

        :raises BankSyncReauthRequiredError: the client must sign in to the bank again.
        """
        return self._send(endpoints.get_balance(bank_id, account_id, workspace_id=workspace_id))

    def list_holdings(self, bank_id: str, account_id: str, *, workspace_id: str | None = None) -> list[Row]:
        """Return the positions of an investment account, each ``id`` once."""
        return _last_versions(
            self._send(endpoints.list_holdings(bank_id, account_id, workspace_id=workspace_id))
        )

    def get_loan(self, bank_id: str, account_id: str, *, workspace_id: str | None = None) -> Row:
        """Return the account's loan.

        :raises BankSyncNotFoundError: the account has no loan.
        """
        return self._send(endpoints.get_loan(bank_id, account_id, workspace_id=workspace_id))

    def list_trades(
        self,
        bank_id: str,
        account_id: str,
        from_date: str | None = None,
        to_date: str | None = None,
        *,
        workspace_id: str | None = None,
    ) -> list[Row]:
        """Return the trades of an investment account, both days inclusive. Without dates: of the last 90 days.

        Each ``id`` comes once, in its last version. Rows outside of the days are left out.
        """
        rows = self._send(
            endpoints.list_trades(bank_id, account_id, from_date, to_date, workspace_id=workspace_id)
        )
        days = validate_days(from_date, to_date)
        return [row for row in _last_versions(rows) if not is_outside(day_of(row), days)]

    def iter_transactions(
        self,
        bank_id: str,
        account_id: str,
        from_date: str | None = None,
        to_date: str | None = None,
        cursor: str | None = None,
        *,
        workspace_id: str | None = None,
    ) -> Iterator[tuple[list[Row], str | None]]:
        """Yield transactions page by page. Only two pages are in memory.

        Rows that the page before had, unchanged, are left out. If the API sends a later version of a row, that is
        yielded too: the last version of an ``id`` is right. `list_transactions` returns only the last one. Rows
        outside of the days are left out.

        :param from_date: first day, ``YYYY-MM-DD``.
        :param to_date: last day, inclusive.
        :param cursor: continue from here, without dates. The last cursor of an earlier read returns what is new.
        :return: pairs of rows and the cursor after them.
        :raises BankSyncResponseError: a row belongs to another account; or the API announces more pages but gives no
            cursor, or sends nothing new. The rows so far are not complete.
        """
        call: Call[Page] | None = endpoints.list_transactions(
            bank_id, account_id, from_date, to_date, cursor, workspace_id=workspace_id
        )
        seen: set[int] = set()
        days = validate_days(from_date, to_date)
        before: list[Row] = []
        counts = CountCheck()
        with closing(Progress()) as progress:
            while call is not None:
                page = self._send(call)
                rows, before = without_rows_of(before, page.rows), page.rows
                hashes = {hash(one) for row in rows if (one := id_of(row)) is not None}
                is_new = progress.add(
                    hashes,
                    progress.seen.known(hashes),
                    has_others=any(id_of(row) is None for row in rows),
                    has_more=page.has_more,
                )
                counts.add(len(page.rows), page.count)
                yield [row for row in rows if not is_outside(day_of(row), days)], page.cursor
                # If the API does not say whether more follows, a page without a new row is the last.
                is_last = page.has_more is None and not is_new
                call = None if is_last else endpoints.next_page(page, call, seen)
        counts.finish()

    def list_transactions(
        self,
        bank_id: str,
        account_id: str,
        from_date: str | None = None,
        to_date: str | None = None,
        cursor: str | None = None,
        *,
        workspace_id: str | None = None,
    ) -> list[Row]:
        """Return all transactions of all pages, each ``id`` once. The arguments are those of `iter_transactions`."""
        pages = self.iter_transactions(
            bank_id, account_id, from_date, to_date, cursor, workspace_id=workspace_id
        )
        return _last_versions([row for rows, _ in pages for row in rows])


def _last_versions(rows: list[Row]) -> list[Row]:
    """Return the last row of each id, and all rows without an id."""
    last = {one: place for place, row in enumerate(rows) if (one := id_of(row)) is not None}
    return [row for place, row in enumerate(rows) if last.get(id_of(row) or "", place) == place]
