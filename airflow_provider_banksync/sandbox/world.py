"""The family that a seed grows into: workspaces, banks, accounts, destinations, feeds.

Nothing but the list of workspaces is held: everything below is computed when it is asked for, so that a family of a
thousand clients starts at once. (A small cache keeps what was asked for last.)
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.feeds import enrichments_of, feeds_of, integrations_of
from airflow_provider_banksync.sandbox.model import (
    Account,
    Bank,
    Enrichment,
    Feed,
    Integration,
    Kind,
    Workspace,
)
from airflow_provider_banksync.sandbox.names import (
    AWKWARD_NAMES,
    COUNTRIES,
    FIRMS,
    FIRST_WORDS,
    ICONS,
    LEGAL_FORMS,
    SECOND_WORDS,
    US,
)

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox.seed import Dice, Seed

# createdAt and updatedAt hang on this day and not on the clock: bodies stay the same from one day to the next.
EPOCH = datetime(2023, 1, 1, tzinfo=timezone.utc)

_ACCOUNT_NAMES = {
    Kind.CHECKING: "Business Current",
    Kind.SAVINGS: "Reserve Saver",
    Kind.CREDIT: "Company Card",
    Kind.INVESTMENT: "Brokerage",
    Kind.LOAN: "Equipment Loan",
}
_OTHER_KINDS = (Kind.SAVINGS, Kind.CREDIT, Kind.INVESTMENT, Kind.LOAN)
_EVERY_KIND: tuple[Kind, ...] = (Kind.CHECKING, Kind.SAVINGS, Kind.INVESTMENT, Kind.LOAN)


class World:
    """One firm with its clients. ``broken_banks`` of the portals have a first bank that needs a new sign-in."""

    def __init__(self, seed: Seed, *, portals: int, deleted_portals: int, broken_banks: int) -> None:
        self.seed = seed
        self.parent = self._firm()
        self.portals = tuple(self._portal(index) for index in range(portals))
        self.deleted = tuple(
            self._portal(index, deleted=True) for index in range(portals, portals + deleted_portals)
        )
        self._by_id = {each.id: each for each in (self.parent, *self.portals, *self.deleted)}
        ranked = sorted(self.portals, key=lambda portal: seed.id("broken", portal.id))
        self._broken = frozenset(portal.id for portal in ranked[:broken_banks])
        self.banks = lru_cache(maxsize=2_048)(self._banks)
        self.accounts = lru_cache(maxsize=4_096)(self._accounts)
        self.feeds = lru_cache(maxsize=1_024)(self._feeds)
        self.integrations = lru_cache(maxsize=1_024)(self._integrations)
        self.enrichments = lru_cache(maxsize=1_024)(self._enrichments)
        self.user_id = lru_cache(maxsize=1_024)(self._user_id)
        """The id of the member of a workspace who has this role."""

    def family(self) -> tuple[Workspace, ...]:
        """Give the parent and its live portals."""
        return (self.parent, *self.portals)

    def workspace(self, workspace_id: str) -> Workspace | None:
        """Find a workspace, a deleted one too."""
        return self._by_id.get(workspace_id)

    def delete_portal(self, portal: Workspace) -> None:
        """Delete a live portal: it is no longer listed, and addressing it is a 404."""
        gone = replace(portal, deleted=True)
        self._by_id[portal.id] = gone
        self.portals = tuple(each for each in self.portals if each.id != portal.id)
        self.deleted = (*self.deleted, gone)

    def institution_id(self, name: str) -> str:
        """Give the id of a financial institution."""
        return f"ins_{self.seed.dice('institution', name).between(100, 99_999)}"

    def _user_id(self, workspace: Workspace, role: str) -> str:
        return self.seed.id("user", workspace.id, role)

    def workspace_accounts(self, workspace: Workspace) -> tuple[Account, ...]:
        """Give the accounts of all banks of a workspace."""
        return tuple(account for bank in self.banks(workspace) for account in self.accounts(bank))

    def _firm(self) -> Workspace:
        dice = self.seed.dice("firm")
        return Workspace(
            id=self.seed.id("workspace", "parent"),
            name=dice.pick(FIRMS),
            icon="🏛️",
            parent_id=None,
            deleted=False,
            country=US,
            created_at=_moment(dice, 0, 10),
        )

    def _portal(self, index: int, *, deleted: bool = False) -> Workspace:
        dice = self.seed.dice("portal", index)
        # Countries take turns, so that a handful of portals already has every kind of currency.
        turn = self.seed.dice("countries").below(len(COUNTRIES)) + index
        return Workspace(
            id=self.seed.id("workspace", index),
            name=_client_name(self.seed, index),
            icon=dice.pick(ICONS) if dice.chance(0.6) else None,
            parent_id=self.seed.id("workspace", "parent"),
            deleted=deleted,
            country=COUNTRIES[turn % len(COUNTRIES)],
            created_at=_moment(dice, 10, 60),
        )

    def _banks(self, workspace: Workspace) -> tuple[Bank, ...]:
        dice = self.seed.dice("banks", workspace.id)
        country = workspace.country
        count = 1 if not workspace.is_portal else dice.pick((1, 1, 1, 1, 1, 2, 2, 2, 3, 2))
        first = dice.below(len(country.institutions))
        banks = []
        for order in range(count):
            # Neighbours in the list: no client is at the same bank twice.
            name = country.institutions[(first + order) % len(country.institutions)]
            created = _moment(dice, 60, 180)
            banks.append(
                Bank(
                    id=self.seed.id("bank", workspace.id, order),
                    workspace_id=workspace.id,
                    name=name,
                    source=dice.pick(country.sources),
                    currency=country.currency,
                    institution_id=self.institution_id(name),
                    order=order,
                    broken=order == 0 and workspace.id in self._broken,
                    created_at=created,
                    updated_at=created + timedelta(days=dice.below(90), seconds=dice.below(86_400)),
                )
            )
        return tuple(banks)

    def _accounts(self, bank: Bank) -> tuple[Account, ...]:
        dice = self.seed.dice("accounts", bank.id)
        kinds = _EVERY_KIND  # the firm's own bank shows every kind of data, however small the family is
        if bank.workspace_id != self.parent.id:
            kinds = (Kind.CHECKING, *(dice.pick(_OTHER_KINDS) for _ in range(dice.below(4))))
        return tuple(self._account(bank, place, kind) for place, kind in enumerate(kinds))

    def _account(self, bank: Bank, place: int, kind: Kind) -> Account:
        dice = self.seed.dice("account", bank.id, place)
        cents = dice.between(120_000, 9_500_000)
        owed = kind in {Kind.CREDIT, Kind.LOAN}
        held_back = 0 if owed else dice.below(40_000)
        digits = f"{dice.below(10_000):04d}"
        created = bank.created_at + timedelta(seconds=place + 1)
        return Account(
            id=self.seed.id("account", bank.id, place),
            bank=bank,
            kind=kind,
            name=f"{_ACCOUNT_NAMES[kind]} {digits}",
            number=f"••••{digits}",
            balance=bank.currency.money(-cents if owed else cents),
            available=bank.currency.money(dice.between(0, 500_000) if owed else cents - held_back),
            opened=date(2023, 1, 1) + timedelta(days=dice.below(120)),
            created_at=created,
            updated_at=created + timedelta(days=dice.below(60)),
        )

    def _integrations(self, workspace: Workspace) -> tuple[Integration, ...]:
        return integrations_of(self.seed, workspace)

    def _enrichments(self, workspace: Workspace) -> tuple[Enrichment, ...]:
        return enrichments_of(self.seed, workspace, self.user_id(workspace, "owner"))

    def _feeds(self, workspace: Workspace) -> tuple[Feed, ...]:
        return feeds_of(
            self.seed, workspace, self.integrations(workspace), self.workspace_accounts(workspace)
        )


def _client_name(seed: Seed, index: int) -> str:
    """Name a client. Walking all pairs of words by a step that shares no factor with their number repeats none."""
    pairs = len(FIRST_WORDS) * len(SECOND_WORDS)
    start = seed.dice("names").below(pairs)
    first, second = divmod((start + index * 1_237) % pairs, len(SECOND_WORDS))
    words = f"{FIRST_WORDS[first]} {SECOND_WORDS[second]}"
    lap = index // pairs
    if index % 6 == 2:
        awkward = AWKWARD_NAMES[index // 6 % len(AWKWARD_NAMES)]
        words = awkward if index // 6 < len(AWKWARD_NAMES) else f"{awkward} · {words}"
    else:
        words = f"{words} {LEGAL_FORMS[index % len(LEGAL_FORMS)]}"
    return f"{words} {lap + 1}" if lap else words


def _moment(dice: Dice, first_day: int, last_day: int) -> datetime:
    return EPOCH + timedelta(days=dice.between(first_day, last_day), seconds=dice.below(86_400))
