"""The family as it is now: what grew from the seed, with everything that was changed since."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.errors import SandboxError
from airflow_provider_banksync.sandbox.shelf import Shelf

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_banksync.sandbox.clock import SandboxClock
    from airflow_provider_banksync.sandbox.model import (
        Account,
        Bank,
        Enrichment,
        Feed,
        Integration,
        Workspace,
    )
    from airflow_provider_banksync.sandbox.world import World

BROKEN_FOR = timedelta(days=3)
"""A bank that is broken when the sandbox starts was fine before that: its older scheduled jobs completed."""


class LiveWorld:
    """The world with its changes. Reading is by workspace; every list is in order, new things last."""

    def __init__(self, world: World, clock: SandboxClock) -> None:
        self.world = world
        self._clock = clock
        self.bank_changes: Shelf[Bank] = Shelf()
        self.feed_changes: Shelf[Feed] = Shelf()
        self.enrichment_changes: Shelf[Enrichment] = Shelf()
        self.integration_changes: Shelf[Integration] = Shelf()

    def banks(self, workspace: Workspace) -> tuple[Bank, ...]:
        """Give the banks of a workspace."""
        return self.bank_changes.current(workspace.id, self.world.banks(workspace))

    def accounts(self, workspace: Workspace) -> tuple[Account, ...]:
        """Give the accounts of all banks of a workspace."""
        return tuple(account for bank in self.banks(workspace) for account in self.world.accounts(bank))

    def feeds(self, workspace: Workspace) -> tuple[Feed, ...]:
        """Give the feeds of a workspace."""
        return self.feed_changes.current(workspace.id, self.world.feeds(workspace))

    def integrations(self, workspace: Workspace) -> tuple[Integration, ...]:
        """Give the destinations of a workspace."""
        return self.integration_changes.current(workspace.id, self.world.integrations(workspace))

    def enrichments(self, workspace: Workspace) -> tuple[Enrichment, ...]:
        """Give the enrichments of a workspace."""
        return self.enrichment_changes.current(workspace.id, self.world.enrichments(workspace))

    def is_broken(self, bank: Bank, moment: datetime) -> bool:
        """Say whether the bank wanted a new sign-in at this moment."""
        version = self.bank_changes.at(bank, moment)
        return version is not None and version.broken and moment > self._clock.start - BROKEN_FOR

    @property
    def age(self) -> int:
        """Count the changes so far that can disturb a job."""
        return self.bank_changes.changes + self.integration_changes.changes

    def changes(self, feed: Feed, first: datetime, last: datetime) -> list[datetime]:
        """Give the moments between these two at which a bank of the feed or its destination changed, in order."""
        if not self.age:
            return []
        moments = {
            since
            for bank in {a.bank.id: a.bank for a in feed.accounts}.values()
            for since, _ in self.bank_changes.history(bank)
        }
        if feed.integration is not None:
            moments |= {since for since, _ in self.integration_changes.history(feed.integration)}
        return sorted(each for each in moments if each is not None and first < each < last)

    def trouble_with_sources(self, feed: Feed, moment: datetime) -> str | None:
        """Say what kept the feed from reading its accounts at this moment; None where nothing did."""
        for account in feed.accounts:
            if self.bank_changes.at(account.bank, moment) is None:
                return f"{account.bank.name} is no longer connected: its connection was deleted"
            if self.is_broken(account.bank, moment):
                return account.bank.reauth_message
        return None

    def trouble_with_destination(self, feed: Feed, moment: datetime) -> str | None:
        """Say what kept the feed from writing at this moment; None where nothing did."""
        target = feed.integration
        if target is not None and self.integration_changes.at(target, moment) is None:
            return f"{target.name} is no longer connected: the integration was deleted"
        return None

    def set_broken(self, bank_id: str, broken: bool) -> None:
        """Let a bank want a new sign-in from now on, or no longer."""
        now = self._clock.now()
        bank = self._find_bank(bank_id)
        self.bank_changes.change(bank, replace(bank, broken=broken, updated_at=now), now)

    def find_account(self, account_id: str) -> Account:
        """Find an account of the family, wherever it is; SandboxError where there is none."""
        for workspace in self.world.family():
            for account in self.accounts(workspace):
                if account.id == account_id:
                    return account
        raise SandboxError(f"there is no account {account_id!r}; GET /v1/banks/…/accounts lists them")

    def _find_bank(self, bank_id: str) -> Bank:
        for workspace in self.world.family():
            for bank in self.banks(workspace):
                if bank.id == bank_id:
                    return bank
        raise SandboxError(f"there is no bank {bank_id!r}; GET /v1/banks?scope=family lists them")
