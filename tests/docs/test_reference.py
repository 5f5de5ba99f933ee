"""Tests of docs/README.md, which lists every page, and of docs/reference.md, which says what the docstrings say."""

from __future__ import annotations

from scripts import reference
from tests.support.paths import ROOT

INDEX = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")


def test_the_reference_is_current() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.render(), "run: make reference"


def test_every_parameter_is_described() -> None:
    rows = {each.__name__: reference.parameters(each) for each in reference.classes()}
    assert {"BankSyncTriggerSyncOperator", "BankSyncToObjectStorageOperator", "BankSyncJobSensor"} <= set(
        rows
    )
    names = [name for name, _, _ in rows["BankSyncJobSensor"]]
    assert {"feed_id", "job_id", "workspace_id", "start_from_trigger"} <= set(names), "also those of the base"
    assert all(text for described in rows.values() for _, _, text in described)


def test_every_page_is_in_the_index() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert [page for page in sorted(pages) if f"]({page})" not in INDEX] == []


def test_a_search_finds_an_answer() -> None:
    words = (
        "Celery Kubernetes Postgres dbt Athena Slack notifier on_failure_callback pool Event-driven Webhooks"
    )
    assert [word for word in words.split() if word not in INDEX] == []
