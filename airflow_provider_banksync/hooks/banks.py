"""The hook's methods for banks, accounts, and what the accounts hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_banksync.api import conversations, endpoints
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.hooks.base import ApiMethods

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.api.messages import Row


class BankMethods(ApiMethods):
    """Banks, accounts, balances, transactions, trades, holdings, loans."""

    def list_banks(self, scope: str = "self", *, workspace_id: str | None = None) -> list[Row]:
        """Return the bank connections.

        :param scope: ``self``: of this workspace. ``family``: of this one and all its portals; each row then has
            ``workspaceId`` and ``portal`` (None for the parent's own).
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
        """Delete a bank connection. Its accounts and their data go with it."""
        self._run(conversations.delete(endpoints.delete_bank(bank_id, workspace_id=workspace_id)))

    def create_bank_link(
        self,
        source: str,
        *,
        institution_id: str | None = None,
        country_codes: list[str] | None = None,
        redirect_uri: str | None = None,
        workspace_id: str | None = None,
    ) -> Row:
        """Ask for a hosted page where a person connects a bank, or signs in again.

        :param source: aggregator: ``plaid`` or ``basiq``.
        :param institution_id: the bank, where it is known.
        :param country_codes: countries to offer banks of, two letters each.
        :param redirect_uri: where the person is sent afterwards.
        :return: ``linkToken``, ``authUrl`` (send it to the client), ``expiresAt`` (about four hours), ``provider``,
            ``instructions``.
        """
        if not isinstance(source, str) or not source:
            raise BankSyncConfigError(f"source must be an aggregator, plaid or basiq, not {source!r}.")
        body = {
            "source": source,
            "institutionId": institution_id,
            "countryCodes": country_codes,
            "redirectUri": redirect_uri,
        }
        given = {name: value for name, value in body.items() if value is not None}
        return self._send(endpoints.create_bank_link(given, workspace_id=workspace_id))

    def get_balance(self, bank_id: str, account_id: str, *, workspace_id: str | None = None) -> Row:
        """Return the account's balance, asked from the bank at this moment.

        Its fields differ: documented are ``accountId``, ``current``, ``available``, ``currency``, ``asOf``; seen have
        been ``amount`` and ``availableBalance``.

        :raises BankSyncReauthRequiredError: the bank wants its owner to sign in again.
        """
        return self._send(endpoints.get_balance(bank_id, account_id, workspace_id=workspace_id))

    def list_holdings(self, bank_id: str, account_id: str, *, workspace_id: str | None = None) -> list[Row]:
        """Return the positions of an investment account."""
        return self._send(endpoints.list_holdings(bank_id, account_id, workspace_id=workspace_id))

    def get_loan(self, bank_id: str, account_id: str, *, workspace_id: str | None = None) -> Row:
        """Return the account's loan.

        :raises BankSyncNotFoundError: the account carries none.
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
        """Return the trades of an investment account, ``YYYY-MM-DD`` inclusive; without dates, of the last 90 days."""
        return self._send(
            endpoints.list_trades(bank_id, account_id, from_date, to_date, workspace_id=workspace_id)
        )

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
        """Yield transactions page by page, holding one page in memory.

        :param from_date: first day, ``YYYY-MM-DD``.
        :param to_date: last day, inclusive.
        :param cursor: go on from here instead, without dates: the last cursor of an earlier read gives what is new.
        :return: pairs of rows and the cursor after them; keep the last cursor to read on another day.
        :raises BankSyncResponseError: the API says that there are more pages but gives no way to them: what was
            yielded so far is not complete.
        """
        call = endpoints.list_transactions(
            bank_id, account_id, from_date, to_date, cursor, workspace_id=workspace_id
        )
        seen: set[int] = set()
        while True:
            page = self._send(call)
            yield page.rows, page.cursor
            following = endpoints.next_page(page, call, seen)
            if following is None:
                return
            call = following

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
        """Return all transactions of the window, whatever the number of pages; arguments as `iter_transactions`."""
        pages = self.iter_transactions(
            bank_id, account_id, from_date, to_date, cursor, workspace_id=workspace_id
        )
        return [row for rows, _ in pages for row in rows]
