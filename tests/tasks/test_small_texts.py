"""Small texts: numbers and nouns that fit, what is missing, and what the log says while nothing happens."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.api.family.state import FamilySettings, Feed
from airflow_provider_banksync.api.family.sync import FamilySync
from airflow_provider_banksync.api.redaction import counted
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator
from airflow_provider_banksync.sensors.bank import BankSyncBankConnectedSensor
from airflow_provider_banksync.tasks.destination import open_destination
from tests.support.task_runs import run_task, sync_operator

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.sandbox import BankSyncSandbox


def test_a_timeout_that_is_too_long_shows_the_limit_in_digits() -> None:
    words = re.escape("timeout must be a number of seconds from 0 to 2592000 (30 days), not 1e+300.")
    with pytest.raises(BankSyncConfigError, match=words):
        BankSyncTriggerSyncOperator(task_id="t", feed_id="f", timeout=1e300)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "neither feed_id nor feed_name is given. Pass one of them."),
        ({"feed_id": "f", "feed_name": "n"}, "feed_id and feed_name are both given. Pass only one of them."),
    ],
)
def test_id_and_name(given: dict[str, str], words: str) -> None:
    with pytest.raises(BankSyncConfigError, match=re.escape(words)):
        BankSyncTriggerSyncOperator(task_id="t", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "words"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows")])
def test_one_is_not_many(count: int, words: str) -> None:
    assert counted(count, "row") == words


def test_a_family_of_one_feed(logged: Callable[[], str]) -> None:
    from airflow_provider_banksync.api.family.state import FeedResult
    from airflow_provider_banksync.tasks.family_report import describe_failures, log_results

    lines: list[str] = []
    log = SimpleNamespace(info=lambda text, *values: lines.append(text % values))
    log_results(log, [FeedResult("f", "w", None, "Daily", "completed", written=1, error_count=1)])
    assert lines == [
        '"Daily" (own workspace, feed f): completed, 1 row, 1 error',
        "1 feed: 1 completed; 1 row written.",
    ]
    failed = FeedResult("f", "w", None, "Daily", "failed", error="no")
    assert describe_failures([failed], 1, 0).startswith("1 of 1 feed failed")


@pytest.mark.parametrize(
    ("url", "package"),
    [
        ("gs://bucket/lake", "apache-airflow-providers-google"),
        ("abfs://box/lake", "apache-airflow-providers-microsoft-azure"),
    ],
)
def test_a_store_whose_provider_is_not_installed(url: str, package: str) -> None:
    with pytest.raises(BankSyncConfigError, match=re.escape(f"on every worker: pip install '{package}'.")):
        open_destination(url, None, "banks")


def test_a_destination_that_no_provider_serves_names_none() -> None:
    with pytest.raises(BankSyncConfigError) as caught:
        open_destination("nosuchscheme://bucket/x", None, "banks")
    assert "pip install" not in str(caught.value)


@pytest.mark.banksync_sandbox(portals=1, job_seconds=(0.2, 0.4), broken_banks=0)
def test_the_log_before_a_deferral_says_what_to_check(
    banksync_sandbox: BankSyncSandbox, logged: Callable[[], str]
) -> None:
    from airflow_provider_banksync.hooks.banksync import BankSyncHook

    hook = BankSyncHook()
    feed = next(feed for feed in hook.list_feeds() if feed["dataType"] != "trades")
    job = run_task(sync_operator(feed_id=feed["id"], deferrable=True)).result
    sensor = BankSyncBankConnectedSensor(task_id="t", bank_id=hook.list_banks()[0]["id"], deferrable=True)
    run_task(sensor)
    words = logged()
    for what in (f"job {job['id']}", "what this sensor waits for"):
        assert f"the triggerer waits for {what}. If this log does not go on, check that a triggerer" in words


def test_a_family_sync_speaks_soon() -> None:
    now, lines = [0.0], []

    def info(text: str, *values: Any) -> None:
        lines.append((now[0], text % values))

    log = SimpleNamespace(info=info, warning=info, debug=info)
    feeds = [Feed(f"f{number}", None, None, "n") for number in range(3)]
    sync = FamilySync(feeds, FamilySettings(deadline=1e9), clock=lambda: now[0], log=log)
    for second in range(0, 80, 5):
        now[0] = float(second)
        sync.log_progress()
    assert [at for at, _ in lines] == [10.0, 70.0]
    assert lines[0][1].startswith("Done: 0 of 3 feeds")
