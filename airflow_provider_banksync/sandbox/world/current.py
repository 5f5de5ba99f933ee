"""The current world: the generated one, and what tests and clients changed in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from airflow_provider_banksync.sandbox.errors import SandboxError
from airflow_provider_banksync.sandbox.world.model import Bank, Enrichment, Feed, Integration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_banksync.sandbox.clock import SandboxClock
    from airflow_provider_banksync.sandbox.world.model import Account, Workspace
    from airflow_provider_banksync.sandbox.world.world import World

T = TypeVar("T", Bank, Enrichment, Feed, Integration)

BROKEN_FOR = timedelta(days=3)
"""A bank that is broken at the start broke this long before. Its older scheduled jobs completed."""


class ChangeLog(Generic[T]):
    """The objects of one class: the generated ones, and the versions of those that were added, changed or removed."""

    def __init__(self, generated: Callable[[Workspace], tuple[T, ...]]) -> None:
        self._generated: Callable[[Workspace], tuple[T, ...]] = generated
        self._versions: dict[str, list[tuple[datetime | None, T | None]]] = {}
        self._added: dict[str, list[str]] = {}
        self.changes = 0

    def add(self, new: T) -> None:
        """Add a new object to its workspace."""
        self._versions[new.id] = [(new.created_at, new)]
        self._added.setdefault(new.workspace_id, []).append(new.id)

    def record(self, old: T, new: T | None, now: datetime) -> None:
        """Replace an object from now on. None removes it."""
        self.changes += 1
        self._versions.setdefault(old.id, [(None, old)]).append((now, new))

    def added(self, workspace_id: str) -> int:
        """Count the objects that were ever added to a workspace."""
        return len(self._added.get(workspace_id, ()))

    def latest(self, workspace: Workspace) -> tuple[T, ...]:
        """Return the current objects of a workspace: the generated ones, then the added ones."""
        generated, versions = self._generated(workspace), self._versions
        if not versions:
            return generated
        latest = [versions[each.id][-1][1] if each.id in versions else each for each in generated]
        latest += [versions[each][-1][1] for each in self._added.get(workspace.id, ())]
        return tuple(each for each in latest if each is not None)

    def history(self, each: T) -> Iterable[tuple[datetime | None, T | None]]:
        """Return the versions of an object, oldest first, each with its start. A start of None is "always"."""
        return self._versions.get(each.id, [(None, each)])

    def version_at(self, each: T, time: datetime) -> T | None:
        """Return the version of an object at a time; None if it did not exist then."""
        found: T | None = None
        for since, version in self.history(each):
            if since is None or since <= time:
                found = version
        return found


class CurrentWorld:
    """The world with its changes. Lists are in order, new objects last."""

    def __init__(self, world: World, clock: SandboxClock) -> None:
        self.world = world
        self._clock = clock
        self.banks = ChangeLog(world.banks)
        self.feeds = ChangeLog(world.feeds)
        self.enrichments = ChangeLog(world.enrichments)
        self.integrations = ChangeLog(world.integrations)

    def accounts(self, workspace: Workspace) -> tuple[Account, ...]:
        """Return the accounts of all banks of a workspace."""
        return tuple(
            account for bank in self.banks.latest(workspace) for account in self.world.accounts(bank)
        )

    def is_broken(self, bank: Bank, time: datetime) -> bool:
        """Return whether the bank needed a new sign-in at a time."""
        version = self.banks.version_at(bank, time)
        return version is not None and version.broken and time > self._clock.start - BROKEN_FOR

    @property
    def revision(self) -> int:
        """The number of changes so far that can affect a job."""
        return self.banks.changes + self.integrations.changes

    def change_times(self, feed: Feed, first: datetime, last: datetime) -> list[datetime]:
        """Return the times, in order, at which a bank of the feed or its destination changed between two times."""
        if not self.revision:
            return []
        banks = {account.bank.id: account.bank for account in feed.accounts}.values()
        times = {since for bank in banks for since, _ in self.banks.history(bank)}
        if feed.integration is not None:
            times |= {since for since, _ in self.integrations.history(feed.integration)}
        return sorted(time for time in times if time is not None and first < time < last)

    def source_problem(self, feed: Feed, time: datetime) -> str | None:
        """Return why the feed cannot read its accounts at a time; None if it can."""
        for account in feed.accounts:
            if self.banks.version_at(account.bank, time) is None:
                return f"{account.bank.name} is no longer connected: its connection was deleted"
            if self.is_broken(account.bank, time):
                return account.bank.reauth_message
        return None

    def destination_problem(self, feed: Feed, time: datetime) -> str | None:
        """Return why the feed cannot write at a time; None if it can."""
        target = feed.integration
        if target is not None and self.integrations.version_at(target, time) is None:
            return f"{target.name} is no longer connected: the integration was deleted"
        return None

    def set_broken(self, bank_id: str, broken: bool) -> None:
        """Break or repair a bank, from now on."""
        _, bank = self.find_bank(bank_id)
        now = self._clock.now()
        self.banks.record(bank, replace(bank, broken=broken, updated_at=now), now)

    def find_bank(self, bank_id: str) -> tuple[Workspace, Bank]:
        """Return a bank and its workspace; SandboxError if there is none."""
        for workspace in self.world.family():
            for bank in self.banks.latest(workspace):
                if bank.id == bank_id:
                    return workspace, bank
        raise SandboxError(f"there is no bank {bank_id!r}; GET /v1/banks?scope=family lists them")

    def find_account(self, account_id: str) -> Account:
        """Return an account of any workspace; SandboxError if there is none."""
        for workspace in self.world.family():
            for account in self.accounts(workspace):
                if account.id == account_id:
                    return account
        raise SandboxError(f"there is no account {account_id!r}; GET /v1/banks/…/accounts lists them")
