"""The account at the end: complete, plain, and no wider than a terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from demo.console import Console
from demo.family import RESOURCES, Family, is_broken
from demo.outcome import Judgement, SyncOutcome
from demo.places import Places
from demo.summary import FEED_LIMIT, Story, tell
from demo.table import fit, width
from demo.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

WIDEST = 100


def outcome_of(family: Family, position: int) -> SyncOutcome:
    feed = family.feeds[position]
    errors = [{"message": "ANZ requires re-authentication"}] if feed.broken_banks else []
    if position == 0:
        errors = [{"message": "Row 3 was not written"}, {"message": "Row 5 was not written"}]
    job = {
        "id": f"job{position}",
        "status": "failed" if feed.broken_banks else "completed",
        "transactionsProcessed": 0 if feed.broken_banks else 1000 + position,
        "transactionsWritten": 0 if feed.broken_banks else 998,
        "errors": errors,
    }
    return SyncOutcome(feed, "failed" if feed.broken_banks else "success", job)


@pytest.fixture
def story(family: Family, export: Path) -> Story:
    outcomes = [outcome_of(family, position) for position in range(len(family.feeds))]
    return Story(
        family=family,
        judgement=Judgement(outcomes, []),
        export=verify(export, family),
        places=Places(export.parent),
        requests_served=1234,
        requests_put_off=7,
        requests_per_minute=500,
        peak_waiting=14,
        worker_slots=2,
    )


def told(story: Story) -> str:
    stream = io.StringIO()
    tell(Console(stream), story)
    return stream.getvalue()


def test_every_client_feed_and_file_is_told(story: Story, family: Family) -> None:
    text = told(story)
    for workspace_id, name in family.names.items():
        assert text.count(name) >= 2, name
        assert workspace_id in text
    for feed in family.feeds:
        assert fit(feed.name, FEED_LIMIT) in text
    for resource in RESOURCES:
        assert resource.upper() in text
    assert "2 rows refused" in text
    assert "1,234 HTTP requests, 7 of them with 429; the plan allows 500 a minute." in text
    assert f"in {len(RESOURCES) * len(family.names)} files" in text
    assert "Up to 14 syncs waited at the same time" in text
    assert str(story.places.export) in text


def test_the_deliberate_failure_is_told_as_such(story: Story, family: Family) -> None:
    text = told(story)
    [(workspace_id, bank)] = [
        (key, bank) for key, banks in family.rows["banks"].items() for bank in banks if is_broken(bank)
    ]
    assert f"This is on purpose: {bank['name']} of {family.names[workspace_id]}" in text
    assert "ANZ requires re-authentication." in text
    failed = [outcome for outcome in story.judgement.syncs if outcome.failed]
    assert text.count("FAILED") == text.count("<- on purpose") == len(failed) > 0
    assert f"{len(failed)} failed on purpose." in text


def test_all_is_well_only_when_it_is(story: Story, family: Family) -> None:
    total = sum(family.count(resource) for resource in RESOURCES)
    assert f"All is well: {total} of {total} rows equal what the sandbox serves." in told(story)
    story.judgement.problems.append("Feed X was forgotten.")
    text = told(story)
    assert "All is well" not in text
    assert "This is not how it should have ended:\n  Feed X was forgotten." in text


def test_no_line_is_too_wide(story: Story) -> None:
    too_wide = [
        line for line in told(story).splitlines() if width(line) > WIDEST and "Look at them" not in line
    ]
    assert too_wide == []


def test_there_is_no_colour_without_a_terminal(story: Story) -> None:
    assert "\033" not in told(story)
