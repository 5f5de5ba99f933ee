"""The account at the end: complete, plain, and no wider than a terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from demo.console import Console
from demo.family import RESOURCES, Family, is_broken
from demo.folders import RunFolders
from demo.outcome import SyncCheck, SyncOutcome
from demo.summary import FEED_LIMIT, Summary, print_summary
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
def summary(family: Family, export: Path) -> Summary:
    outcomes = [outcome_of(family, position) for position in range(len(family.feeds))]
    return Summary(
        family=family,
        sync_check=SyncCheck(outcomes, []),
        export=verify(export, family),
        folders=RunFolders(export.parent),
        requests_served=1234,
        requests_rate_limited=7,
        requests_per_minute=500,
        peak_waiting=14,
        worker_slots=2,
    )


def printed(summary: Summary) -> str:
    stream = io.StringIO()
    print_summary(Console(stream), summary)
    return stream.getvalue()


def test_every_client_feed_and_file_is_told(summary: Summary, family: Family) -> None:
    text = printed(summary)
    for workspace_id, name in family.names.items():
        assert text.count(name) >= 2, name
        assert workspace_id in text
    for feed in family.feeds:
        assert fit(feed.name, FEED_LIMIT) in text
    for resource in RESOURCES:
        assert resource.upper() in text
    assert "2 rows refused" in text
    assert "1,234 HTTP requests, 7 of them with 429. The plan allows 500 a minute." in text
    assert f"in {len(RESOURCES) * len(family.names)} files" in text
    assert "Up to 14 syncs waited at the same time" in text
    assert str(summary.folders.export) in text


def test_the_deliberate_failure_is_told_as_such(summary: Summary, family: Family) -> None:
    text = printed(summary)
    [(workspace_id, bank)] = [
        (key, bank) for key, banks in family.rows["banks"].items() for bank in banks if is_broken(bank)
    ]
    assert f"This is on purpose: {bank['name']} of {family.names[workspace_id]}" in text
    assert "ANZ requires re-authentication." in text
    failed = [outcome for outcome in summary.sync_check.syncs if outcome.failed]
    assert text.count("FAILED") == text.count("<- on purpose") == len(failed) > 0
    assert f"{len(failed)} failed on purpose." in text


def test_all_is_well_only_when_it_is(summary: Summary, family: Family) -> None:
    total = sum(family.count(resource) for resource in RESOURCES)
    assert f"Everything is correct: {total} of {total} rows equal the sandbox's rows." in printed(summary)
    summary.sync_check.problems.append("Feed X was forgotten.")
    text = printed(summary)
    assert "Everything is correct" not in text
    assert "The demo found problems:\n  Feed X was forgotten." in text


def test_no_line_is_too_wide(summary: Summary) -> None:
    too_wide = [
        line
        for line in printed(summary).splitlines()
        if width(line) > WIDEST and not line.startswith("Files: ")
    ]
    assert too_wide == []


def test_there_is_no_colour_without_a_terminal(summary: Summary) -> None:
    assert "\033" not in printed(summary)
