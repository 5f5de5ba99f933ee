"""What the settings of feeds and enrichments mean in their workspace, once they have the right shape."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_banksync.sandbox.model import Schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_banksync.sandbox.model import Account, Feed, Integration, Row


@dataclass
class Reading:
    """A feed's settings, understood; ``errors`` stand in the way of it, ``warnings`` merely look odd."""

    accounts: tuple[Account, ...] = ()
    integration: Integration | None = None
    schedule: Schedule | None = None
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_feed(settings: Row, accounts: Iterable[Account], integrations: Iterable[Integration]) -> Reading:
    """Understand the settings of a feed. They have the right shape already."""
    known = cast("dict[str, Any]", settings)
    reading = Reading()
    _read_source(known, accounts, reading)
    _read_destination(known, integrations, reading)
    _read_schedule(known, reading)
    options = known.get("dataTypeOptions")
    if options is not None and options["dataType"] != known["dataType"]:
        reading.errors.append(f"dataTypeOptions.dataType must be {known['dataType']}, the feed's own")
    return reading


def what_is_wrong_with(enrichment: Row, feeds: Sequence[Feed]) -> list[str]:
    """Say what an enrichment names that its workspace does not have."""
    here = {feed.id for feed in feeds}
    wanted = cast("list[str]", enrichment.get("feedIds", []))
    return [
        f"feedIds[{index}] is not a feed of this workspace"
        for index, each in enumerate(wanted)
        if each not in here
    ]


def _read_source(settings: dict[str, Any], accounts: Iterable[Account], reading: Reading) -> None:
    config = settings.get("sourceConfig")
    if config is None:
        reading.warnings.append("sourceConfig is missing: there is nothing to read")
        return
    if config["type"] != settings["source"]:
        reading.errors.append(f"sourceConfig.type must be {settings['source']}, the feed's own source")
        return
    here = {(account.bank.id, account.id): account for account in accounts}
    found: list[Account] = []
    for index, each in enumerate(config.get("accounts", ())):
        account = here.get((each["bankId"], each["accountId"]))
        if account is None:
            reading.errors.append(f"sourceConfig.accounts[{index}] is not an account of this workspace")
        else:
            found.append(account)
    reading.accounts = tuple(found)


def _read_destination(
    settings: dict[str, Any], integrations: Iterable[Integration], reading: Reading
) -> None:
    config = settings.get("destinationConfig")
    if config is None:
        reading.warnings.append("destinationConfig is missing: there is nowhere to write")
        return
    named = (each for each in integrations if each.id == config["integrationId"])
    reading.integration = next(named, None)
    if reading.integration is None:
        reading.errors.append("destinationConfig.integrationId is not an integration of this workspace")
    elif reading.integration.type != config["type"]:
        reading.errors.append(
            f"destinationConfig.type must be {reading.integration.type}, the integration's own"
        )


def _read_schedule(settings: dict[str, Any], reading: Reading) -> None:
    config = settings.get("schedule")
    if config is None:
        return
    for frequency, name in (("weekly", "dayOfWeek"), ("monthly", "dayOfMonth")):
        if config["frequency"] == frequency and name not in config:
            reading.warnings.append(f"schedule.{name} is missing: a {frequency} feed runs on the first")
    hour, _, minute = config["timeOfDay"].partition(":")
    weekday, day = config.get("dayOfWeek"), config.get("dayOfMonth")
    reading.schedule = Schedule(
        enabled=config["enabled"],
        frequency=config["frequency"],
        hour=int(hour),
        minute=int(minute),
        day_of_week=None if weekday is None else int(weekday),
        day_of_month=None if day is None else int(day),
    )
