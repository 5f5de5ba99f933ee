"""What the API lets its users change: feeds, enrichments, and the removal of banks and destinations.

A change is refused as a whole or made as a whole. Nothing is written anywhere but into the live world's shelves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox import rows
from airflow_provider_banksync.sandbox.clock import iso
from airflow_provider_banksync.sandbox.errors import (
    BadRequestError,
    ConflictError,
    InvalidError,
)
from airflow_provider_banksync.sandbox.meaning import Reading, read_feed, what_is_wrong_with
from airflow_provider_banksync.sandbox.model import Bank, Enrichment, Feed
from airflow_provider_banksync.sandbox.preview import preview
from airflow_provider_banksync.sandbox.writable import (
    enrichment_create,
    enrichment_update,
    feed_create,
    feed_update,
    preview_records,
)

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox.auth import Caller
    from airflow_provider_banksync.sandbox.backend import Backend
    from airflow_provider_banksync.sandbox.clock import SandboxClock
    from airflow_provider_banksync.sandbox.links import Links
    from airflow_provider_banksync.sandbox.live import LiveWorld
    from airflow_provider_banksync.sandbox.model import Row
    from airflow_provider_banksync.sandbox.shapes import Shape

_DELETED: Row = {"deleted": True}


class Editor:
    """The writing half of the API. ``backend`` finds things; the rules about their content are in ``meaning``."""

    def __init__(self, live: LiveWorld, clock: SandboxClock, backend: Backend, links: Links) -> None:
        self._live = live
        self._clock = clock
        self._backend = backend
        self._seed = live.world.seed
        self._links = links

    def create_feed(self, caller: Caller, body: Row) -> Row:
        """Make a feed."""
        reading = self._read(caller, feed_create, body)
        now = self._clock.now()
        place = len(self._live.feeds(caller.workspace))
        feed = Feed(
            id=self._seed.id(
                "feed", caller.workspace.id, "created", self._live.feed_changes.added(caller.workspace.id)
            ),
            workspace_id=caller.workspace.id,
            data_type=str(body["dataType"]),
            source=str(body["source"]),
            accounts=reading.accounts,
            integration=reading.integration,
            schedule=reading.schedule,
            settings={name: value for name, value in body.items() if name != "order"},
            order=body.get("order", place),
            created_at=now,
            updated_at=now,
        )
        self._live.feed_changes.add(caller.workspace.id, feed, now)
        return rows.feed_row(feed)

    def update_feed(self, caller: Caller, feed_id: str, body: Row) -> Row:
        """Change what the body names of a feed, and leave the rest."""
        feed = self._backend.feed(caller, feed_id)
        fixed = sorted({"source", "dataType"} & set(body))
        if fixed:
            raise InvalidError([f"{name} cannot be changed after creation" for name in fixed], [])
        settings = {**feed.settings, **{name: value for name, value in body.items() if name != "order"}}
        reading = self._read(caller, feed_update, body, settings, feed)
        now = self._clock.now()
        changed = replace(
            feed,
            accounts=reading.accounts,
            integration=reading.integration,
            schedule=reading.schedule,
            settings=settings,
            order=body.get("order", feed.order),
            updated_at=now,
        )
        self._live.feed_changes.change(feed, changed, now)
        return rows.feed_row(changed)

    def delete_feed(self, caller: Caller, feed_id: str) -> None:
        """Remove a feed, and its jobs with it; what is under way is cancelled."""
        feed = self._backend.feed(caller, feed_id)
        self._backend.end_jobs(feed)
        self._live.feed_changes.change(feed, None, self._clock.now())

    def delete_bank(self, caller: Caller, bank_id: str) -> Row:
        """Remove a bank with its accounts; feeds that read them fail from now on."""
        self._live.bank_changes.change(self._backend.bank(caller, bank_id), None, self._clock.now())
        self._backend.look_again()
        return _DELETED

    def delete_integration(self, caller: Caller, integration_id: str) -> Row:
        """Remove a destination; feeds that write to it fail from now on."""
        integration = self._backend.integration(caller, integration_id)
        self._live.integration_changes.change(integration, None, self._clock.now())
        self._backend.look_again()
        return _DELETED

    def create_enrichment(self, caller: Caller, body: Row) -> Row:
        """Make an enrichment; of memories a workspace has one."""
        self._check_enrichment(caller, enrichment_create, body)
        existing = self._live.enrichments(caller.workspace)
        if body["type"] == "memory":
            _refuse_second_memory(existing)
        now, shelf = self._clock.now(), self._live.enrichment_changes
        defaults: Row = {
            "enabled": True,
            "order": len(existing),
            "feedIds": [],
            "allFeeds": "feedIds" not in body,
        }
        enrichment = Enrichment(
            id=self._seed.id("enrichment", caller.workspace.id, "created", shelf.added(caller.workspace.id)),
            workspace_id=caller.workspace.id,
            settings={**defaults, **body},
            created_by=caller.user_id,
            created_at=now,
            updated_at=now,
        )
        shelf.add(caller.workspace.id, enrichment, now)
        return rows.enrichment_row(enrichment)

    def update_enrichment(self, caller: Caller, enrichment_id: str, body: Row) -> Row:
        """Change what the body names of an enrichment, and leave the rest."""
        enrichment = self._backend.enrichment(caller, enrichment_id)
        self._check_enrichment(caller, enrichment_update, body)
        if body.get("type") == "memory":
            others = (each for each in self._live.enrichments(caller.workspace) if each.id != enrichment.id)
            _refuse_second_memory(tuple(others))
        now = self._clock.now()
        changed = replace(enrichment, settings={**enrichment.settings, **body}, updated_at=now)
        self._live.enrichment_changes.change(enrichment, changed, now)
        return rows.enrichment_row(changed)

    def delete_enrichment(self, caller: Caller, enrichment_id: str) -> None:
        """Remove an enrichment."""
        enrichment = self._backend.enrichment(caller, enrichment_id)
        self._live.enrichment_changes.change(enrichment, None, self._clock.now())

    def preview_enrichment(self, caller: Caller, feed_id: str, records: object) -> Row:
        """Show what the workspace's enrichments would do to records of a feed."""
        feed = self._backend.feed(caller, feed_id)
        errors = list(preview_records(records, "records"))
        if errors or not isinstance(records, list):
            raise BadRequestError(errors[0])
        return preview(feed, self._live.enrichments(caller.workspace), records)

    def create_bank_link(self, caller: Caller, source: str) -> Row:
        """Make a link at which a person can sign in to a bank; valid for about four hours."""
        link = self._links.make(caller.workspace, source)
        return {
            "linkToken": link.token,
            "authUrl": f"https://link.banksync.example/{link.token}",
            "expiresAt": iso(link.expires_at),
            "provider": link.source,
            "instructions": "Open authUrl in a browser and sign in to the bank.",
        }

    def connect_bank(
        self, caller: Caller, public_token: str, name: str | None, institution: str | None
    ) -> Row:
        """Take a bank on that a person has signed in to."""
        link = self._links.use(public_token, caller.workspace)
        now, shelf, country = self._clock.now(), self._live.bank_changes, caller.workspace.country
        nth = shelf.added(caller.workspace.id)
        name = name or country.institutions[-1]
        bank = Bank(
            id=self._seed.id("bank", caller.workspace.id, "connected", nth),
            workspace_id=caller.workspace.id,
            name=name,
            source=link.source,
            currency=country.currency,
            institution_id=institution or self._live.world.institution_id(name),
            order=len(self._live.banks(caller.workspace)),
            broken=False,
            created_at=now,
            updated_at=now,
        )
        shelf.add(caller.workspace.id, bank, now)
        return self._backend.get_bank(caller, bank.id)

    def _read(
        self, caller: Caller, shape: Shape, body: Row, settings: Row | None = None, before: Feed | None = None
    ) -> Reading:
        errors = list(shape(body, ""))
        if errors:
            raise InvalidError(errors, [])
        accounts, integrations = (
            self._live.accounts(caller.workspace),
            self._live.integrations(caller.workspace),
        )
        # What a change does not name stays as it is, though its bank or its destination may be gone.
        if before is not None and "sourceConfig" not in body:
            accounts = before.accounts
        if before is not None and before.integration is not None and "destinationConfig" not in body:
            integrations = (before.integration,)
        reading = read_feed(settings or body, accounts, integrations)
        if reading.errors:
            raise InvalidError(reading.errors, reading.warnings)
        return reading

    def _check_enrichment(self, caller: Caller, shape: Shape, body: Row) -> None:
        errors = list(shape(body, ""))
        errors = errors or what_is_wrong_with(body, self._live.feeds(caller.workspace))
        if errors:
            raise InvalidError(errors, [])


def _refuse_second_memory(enrichments: tuple[Enrichment, ...]) -> None:
    if any(each.settings["type"] == "memory" for each in enrichments):
        raise ConflictError("This workspace already has a memory enrichment")
