"""The writing half of the API: feeds, enrichments and bank links, and the removal of banks and destinations.

A change is refused as a whole or made as a whole, in the change logs of the current world.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_banksync.sandbox.clock import SandboxClock, format_timestamp
from airflow_provider_banksync.sandbox.errors import ApiError, SandboxError
from airflow_provider_banksync.sandbox.rules import body_schemas
from airflow_provider_banksync.sandbox.rules.api_call import ApiCall, parse_choice, parse_text
from airflow_provider_banksync.sandbox.rules.backend import Backend
from airflow_provider_banksync.sandbox.rules.enrichments import preview
from airflow_provider_banksync.sandbox.world import api_rows
from airflow_provider_banksync.sandbox.world.model import Account, Bank, Enrichment, Feed, Integration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_banksync.sandbox.world.current import ChangeLog
    from airflow_provider_banksync.sandbox.world.model import Row, Workspace
    from airflow_provider_banksync.sandbox.world.seed import Seed

LINK_LIFETIME = timedelta(hours=4)
_DELETED: Row = {"deleted": True}


@dataclass(frozen=True)
class Link:
    """A link of a workspace. ``source`` connects the bank."""

    token: str
    workspace: Workspace
    source: str
    expires_at: datetime


@dataclass
class Links:
    """The links of a sandbox. A link is open, then completed by a person, then redeemed once."""

    seed: Seed
    clock: SandboxClock
    _count: int = field(default=0, init=False)
    _open: dict[str, Link] = field(default_factory=dict, init=False)
    _completed: dict[str, Link] = field(default_factory=dict, init=False)
    """By public token."""

    def create(self, workspace: Workspace, source: str) -> Link:
        """Create a link."""
        token = f"link-{self.seed.id('link', workspace.id, self._count)}"
        self._count += 1
        self._open[token] = link = Link(token, workspace, source, self.clock.now() + LINK_LIFETIME)
        return link

    def complete_sign_in(self, token: str) -> str:
        """Act as the person who signs in, and return the public token."""
        link = self._open.get(token)
        if link is None:
            raise SandboxError(f"no open link {token!r}; POST /v1/banks/link creates one")
        if self.clock.now() >= link.expires_at:
            raise SandboxError(f"the link {token!r} expired at {format_timestamp(link.expires_at)}")
        del self._open[token]
        public_token = f"public-{self.seed.id('public', token)}"
        self._completed[public_token] = link
        return public_token

    def redeem(self, public_token: str, workspace: Workspace) -> Link:
        """Return the link of a public token, which is valid for one bank of the link's workspace."""
        link = self._completed.get(public_token)
        if link is None or link.workspace.id != workspace.id or self.clock.now() >= link.expires_at:
            raise ApiError(400, "publicToken is unknown, used or expired: sign in at a link to get a new one")
        return self._completed.pop(public_token)


@dataclass(frozen=True)
class WritableBackend(Backend):
    """The whole API: the backend, with the operations that change resources."""

    links: Links

    def create_feed(self, call: ApiCall) -> Row:
        """Create a feed."""
        now, log = self.clock.now(), self.current.feeds
        feed_id = self._next_id("feed", "created", log, call.workspace)
        order = len(log.latest(call.workspace))
        feed = Feed(feed_id, call.workspace.id, "", "", (), None, {}, order, created_at=now, updated_at=now)
        feed = self._with_body(call, feed, body_schemas.FEED_CREATE)
        log.add(feed)
        return api_rows.feed_row(feed)

    def update_feed(self, call: ApiCall) -> Row:
        """Change the fields of a feed that the body has."""
        feed, now = self._feed(call), self.clock.now()
        fixed = sorted({"source", "dataType"} & set(call.body))
        _refuse(f"{name} cannot be changed after creation" for name in fixed)
        changed = self._with_body(call, replace(feed, updated_at=now), body_schemas.FEED_UPDATE)
        self.current.feeds.record(feed, changed, now)
        return api_rows.feed_row(changed)

    def delete_feed(self, call: ApiCall) -> None:
        """Delete a feed and its jobs. An active job is cancelled."""
        feed = self._feed(call)
        self.end_jobs(feed)
        self.current.feeds.record(feed, None, self.clock.now())

    def delete_bank(self, call: ApiCall) -> Row:
        """Delete a bank with its accounts. Feeds that read them fail from now on."""
        self.current.banks.record(self._bank(call), None, self.clock.now())
        self.refresh_jobs()
        return _DELETED

    def delete_integration(self, call: ApiCall) -> Row:
        """Delete a destination. Feeds that write to it fail from now on."""
        self.current.integrations.record(self._integration(call), None, self.clock.now())
        self.refresh_jobs()
        return _DELETED

    def create_enrichment(self, call: ApiCall) -> Row:
        """Create an enrichment. A workspace has at most one memory."""
        self._check_enrichment(call, body_schemas.ENRICHMENT_CREATE)
        log, now, body = self.current.enrichments, self.clock.now(), call.body
        existing = log.latest(call.workspace)
        _check_memory(body, existing)
        defaults = {"enabled": True, "order": len(existing), "feedIds": [], "allFeeds": "feedIds" not in body}
        enrichment = Enrichment(
            id=self._next_id("enrichment", "created", log, call.workspace),
            workspace_id=call.workspace.id,
            settings={**defaults, **body},
            created_by=call.caller.user_id,
            created_at=now,
            updated_at=now,
        )
        log.add(enrichment)
        return api_rows.enrichment_row(enrichment)

    def update_enrichment(self, call: ApiCall) -> Row:
        """Change the fields of an enrichment that the body has."""
        enrichment, log, now = self._enrichment(call), self.current.enrichments, self.clock.now()
        self._check_enrichment(call, body_schemas.ENRICHMENT_UPDATE)
        _check_memory(call.body, (each for each in log.latest(call.workspace) if each.id != enrichment.id))
        changed = replace(enrichment, settings={**enrichment.settings, **call.body}, updated_at=now)
        log.record(enrichment, changed, now)
        return api_rows.enrichment_row(changed)

    def delete_enrichment(self, call: ApiCall) -> None:
        """Delete an enrichment."""
        self.current.enrichments.record(self._enrichment(call), None, self.clock.now())

    def preview_enrichment(self, call: ApiCall) -> Row:
        """Return what the workspace's enrichments would do to records of a feed."""
        feed, records = self._feed(call), call.body["records"]
        for error in body_schemas.find_errors(body_schemas.PREVIEW_RECORDS, records, "records"):
            raise ApiError(400, error)
        return preview(feed, self.current.enrichments.latest(call.workspace), cast("list[Row]", records))

    def create_bank_link(self, call: ApiCall) -> Row:
        """Create a link at which a person can sign in to a bank."""
        for name in ("institutionId", "redirectUri"):
            parse_text(call.body, name)
        codes = call.body.get("countryCodes", [])
        if not (isinstance(codes, list) and all(isinstance(code, str) for code in codes)):
            raise ApiError(400, "countryCodes must be a list of strings")
        source = parse_choice(call.body, "source", ("plaid", "basiq"))
        link = self.links.create(call.workspace, source)
        return {
            "linkToken": link.token,
            "authUrl": f"https://link.banksync.example/{link.token}",
            "expiresAt": format_timestamp(link.expires_at),
            "provider": link.source,
            "instructions": "Open authUrl in a browser and sign in to the bank.",
        }

    def connect_bank(self, call: ApiCall) -> Row:
        """Connect the bank that a person has signed in to."""
        token, institution = parse_text(call.body, "publicToken"), parse_text(call.body, "institutionId")
        name = parse_text(call.body, "institutionName") or call.workspace.country.institutions[-1]
        link = self.links.redeem(token or "", call.workspace)
        now, log = self.clock.now(), self.current.banks
        bank = Bank(
            id=self._next_id("bank", "connected", log, call.workspace),
            workspace_id=call.workspace.id,
            name=name,
            source=link.source,
            currency=call.workspace.country.currency,
            institution_id=institution or self.current.world.institution_id(name),
            order=len(log.latest(call.workspace)),
            broken=False,
            created_at=now,
            updated_at=now,
        )
        log.add(bank)
        return self.drift.bank_row(bank)

    def _next_id(self, name: str, origin: str, log: ChangeLog[Any], workspace: Workspace) -> str:
        return self.current.world.seed.id(name, workspace.id, origin, log.added(workspace.id))

    def _with_body(self, call: ApiCall, feed: Feed, schema: body_schemas.Schema) -> Feed:
        """Check the body, and return the feed with the fields of the body."""
        _refuse(body_schemas.find_errors(schema, call.body))
        errors: list[str] = []
        settings: dict[str, Any] = {**feed.settings, **call.body}
        order = settings.pop("order", feed.order)
        accounts: Iterable[Account] = self.current.accounts(call.workspace)
        integrations: Iterable[Integration] = self.current.integrations.latest(call.workspace)
        # Settings that a change leaves out stay valid, even if their bank or destination was deleted.
        if "sourceConfig" not in call.body:
            accounts = feed.accounts
        if feed.integration is not None and "destinationConfig" not in call.body:
            integrations = (feed.integration,)
        found = tuple(_find_accounts(settings, accounts, errors))
        integration = _find_destination(settings, integrations, errors)
        data_type, options = settings["dataType"], settings.get("dataTypeOptions")
        if options is not None and options["dataType"] != data_type:
            errors.append(f"dataTypeOptions.dataType must be {data_type}, the feed's own")
        _refuse(errors, _find_warnings(settings))
        changes = {"accounts": found, "integration": integration, "settings": settings, "order": order}
        return replace(feed, data_type=data_type, source=settings["source"], **changes)

    def _check_enrichment(self, call: ApiCall, schema: body_schemas.Schema) -> None:
        _refuse(body_schemas.find_errors(schema, call.body))
        known = {feed.id for feed in self.current.feeds.latest(call.workspace)}
        feed_ids = enumerate(cast("list[str]", call.body.get("feedIds", [])))
        _refuse(
            f"feedIds[{index}] is not a feed of this workspace"
            for index, each in feed_ids
            if each not in known
        )


def _refuse(errors: Iterable[str], warnings: Iterable[str] = ()) -> None:
    """Raise ApiError if there is an error. Warnings alone do not prevent saving."""
    if found := list(errors):
        raise ApiError(422, "Validation failed", errors=found, warnings=list(warnings))


def _find_accounts(settings: dict[str, Any], accounts: Iterable[Account], errors: list[str]) -> list[Account]:
    config = settings.get("sourceConfig", {})
    if config and config["type"] != settings["source"]:
        errors.append(f"sourceConfig.type must be {settings['source']}, the feed's own source")
        return []
    known = {(account.bank.id, account.id): account for account in accounts}
    keys = [(each["bankId"], each["accountId"]) for each in config.get("accounts", ())]
    errors += [
        f"sourceConfig.accounts[{index}] is not an account of this workspace"
        for index, key in enumerate(keys)
        if key not in known
    ]
    return [known[key] for key in keys if key in known]


def _find_destination(
    settings: dict[str, Any], integrations: Iterable[Integration], errors: list[str]
) -> Integration | None:
    config = settings.get("destinationConfig")
    if config is None:
        return None
    integration = next((each for each in integrations if each.id == config["integrationId"]), None)
    if integration is None:
        errors.append("destinationConfig.integrationId is not an integration of this workspace")
    elif integration.type != config["type"]:
        errors.append(f"destinationConfig.type must be {integration.type}, the integration's own")
    return integration


def _find_warnings(settings: dict[str, Any]) -> Iterator[str]:
    if "sourceConfig" not in settings:
        yield "sourceConfig is missing: there is nothing to read"
    if "destinationConfig" not in settings:
        yield "destinationConfig is missing: there is nowhere to write"
    schedule = settings.get("schedule", {})
    for frequency, name in (("weekly", "dayOfWeek"), ("monthly", "dayOfMonth")):
        if schedule.get("frequency") == frequency and name not in schedule:
            yield f"schedule.{name} is missing: a {frequency} feed runs on the first"


def _check_memory(body: Row, others: Iterable[Enrichment]) -> None:
    if body.get("type") == "memory" and any(each.settings["type"] == "memory" for each in others):
        raise ApiError(409, "This workspace already has a memory enrichment")
