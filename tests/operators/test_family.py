"""BankSyncFamilySyncOperator in both modes, against the sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections import Counter, UserList
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferred,
)

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api import retry_policy
from airflow_provider_banksync.api.family.runner import MAX_IN_FLIGHT
from airflow_provider_banksync.api.jobs import conflict_action
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.operators.family import BankSyncFamilySyncOperator
from airflow_provider_banksync.sandbox import Fault
from airflow_provider_banksync.sandbox.clock import format_timestamp
from airflow_provider_banksync.tasks import trigger_client
from airflow_provider_banksync.tasks.base import DEFERRAL_GRACE
from airflow_provider_banksync.tasks.family_state import KEY, VERSION
from airflow_provider_banksync.tasks.trigger_events import results_from_event
from airflow_provider_banksync.triggers.family import BankSyncFamilyJobsTrigger
from tests.support.sandbox_data import truth
from tests.support.task_runs import (
    BOTH,
    HELD,
    Run,
    ending,
    rendered,
    restored,
    run_task,
    run_trigger,
    time_is_up,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.sandbox import BankSyncSandbox

# The sandbox's clock runs at its own pace: whose a job is, is told by when it was born.
QUICK = {"portals": 4, "job_seconds": (0.2, 0.6), "row_error_share": 0}
LONG = {**QUICK, "job_seconds": (3600, 3600)}
#: So few that each is looked at again and again: of many, most are looked at when they should have ended, by the
#: server's clock, which the test moves.
FEW_HELD = {**HELD, "portals": 1}
pytestmark = pytest.mark.banksync_sandbox(**QUICK)
#: Everything but trades, which need dates.
DATELESS = ["transactions", "balances", "holdings", "loans"]


@pytest.fixture
def clocks_in_step() -> None:
    """Leave both clocks alone: the test counts the start of the DAG run, by ours, in seconds of the server's."""


@pytest.fixture(autouse=True)
def _a_wait_moves_the_servers_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run waits up to a second for the server's next one: it comes at once. The polls take their real time."""
    if "banksync_sandbox" not in request.fixturenames or "clocks_in_step" in request.fixturenames:
        return
    clock = request.getfixturevalue("banksync_sandbox").clock

    async def pause(seconds: float) -> None:
        clock.advance(seconds)
        await asyncio.sleep(0.001)

    monkeypatch.setattr("airflow_provider_banksync.api.http.async_client.sleep", pause)


def operator(**arguments: Any) -> BankSyncFamilySyncOperator:
    given = {"task_id": "sync", "poll_interval": 0.1, "max_poll_interval": 0.3, "data_types": DATELESS}
    return BankSyncFamilySyncOperator(**{**given, **arguments})


def feeds_of(sandbox: BankSyncSandbox, kinds: list[str] = DATELESS) -> dict[str, dict[str, Any]]:
    rows = truth(sandbox, "/v1/feeds?scope=family")
    return {row["id"]: row for row in rows if row["dataType"] in kinds}


def mend_destinations(sandbox: BankSyncSandbox) -> None:
    """Let the destinations take everything, from now on."""
    object.__setattr__(sandbox._jobs, "planner", replace(sandbox._jobs.planner, failure_share=0))


def started(sandbox: BankSyncSandbox) -> Counter[str]:
    return Counter(job["feedId"] for job in sandbox.jobs)


def asked(sandbox: BankSyncSandbox) -> Counter[str]:
    """How many requests of each kind were made by our clients."""
    kinds: Counter[str] = Counter()
    for request in sandbox.requests:
        parts = request.path.split("/")[2:]
        kinds[
            f"{request.method} {'/'.join(part if at % 2 == 0 else '*' for at, part in enumerate(parts))}"
        ] += 1
    return kinds


def wait_until(true: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


# --- every feed, once, with its outcome ---


@BOTH
def test_every_feed_of_every_client(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    feeds = feeds_of(banksync_sandbox)
    banksync_sandbox.clear_requests()
    run = run_task(operator(deferrable=deferrable))
    requests = asked(banksync_sandbox)
    jobs = {job["feedId"]: job for job in banksync_sandbox.jobs}
    assert len(banksync_sandbox.jobs) == len(feeds) == len(run.result)
    assert run.result == {
        feed_id: {
            "feed_name": feed["name"],
            "workspace_id": feed["workspaceId"],
            "portal": (feed["portal"] or {}).get("name"),
            "job_id": jobs[feed_id]["id"],
            "status": "completed",
            "written": jobs[feed_id]["transactionsWritten"],
            "not_written": 0,
            "error": None,
        }
        for feed_id, feed in feeds.items()
    }
    assert len(run.deferrals) == int(deferrable)
    assert requests["GET feeds"] == 1
    assert requests["POST feeds/*/sync"] == len(feeds)
    looks = len(feeds) + deferrable
    assert requests["GET feeds/*/jobs"] == looks, "before each start, and where the trigger resumes the first"
    assert len(feeds) <= requests["GET feeds/*/jobs/*"] <= 5 * len(feeds)


@BOTH
def test_one_workspace(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    portal = banksync_sandbox.portals[0][0]
    own = {row["id"] for row in truth(banksync_sandbox, "/v1/feeds", portal) if row["dataType"] in DATELESS}
    run = run_task(operator(scope="self", workspace_id=portal, deferrable=deferrable))
    assert set(run.result) == set(started(banksync_sandbox)) == own
    assert {row["workspace_id"] for row in run.result.values()} == {portal}


def test_with_dates_trades_are_synced_too(banksync_sandbox: BankSyncSandbox) -> None:
    run = run_task(operator(data_types=None, from_date="2026-01-01", to_date="2026-01-31"))
    assert set(run.result) == set(truth_ids(banksync_sandbox))
    assert {(job["startDate"], job["endDate"]) for job in banksync_sandbox.jobs} == {
        ("2026-01-01", "2026-01-31")
    }


def truth_ids(sandbox: BankSyncSandbox) -> list[str]:
    return [row["id"] for row in truth(sandbox, "/v1/feeds?scope=family")]


@BOTH
def test_a_trades_feed_without_dates_costs_the_others_nothing(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    trades, others = feeds_of(banksync_sandbox, ["trades"]), feeds_of(banksync_sandbox)
    assert trades
    run = Run()
    with pytest.raises(AirflowFailException, match="from_date and to_date"):
        run_task(operator(data_types=None, deferrable=deferrable), run)
    assert set(started(banksync_sandbox)) == set(others)
    result = run.xcom["return_value"]
    assert {feed_id for feed_id, row in result.items() if row["status"] == "not_started"} == set(trades)


# --- which feeds ---


def test_filters(banksync_sandbox: BankSyncSandbox) -> None:
    feeds = feeds_of(banksync_sandbox)
    (first, _), (second, _) = banksync_sandbox.portals[:2]
    run = run_task(operator(workspace_ids=[first, second], data_types=["transactions"]))
    assert set(run.result) == {
        feed_id
        for feed_id, feed in feeds.items()
        if feed["workspaceId"] in (first, second) and feed["dataType"] == "transactions"
    }
    some = sorted(feeds)[:3]
    assert set(run_task(operator(feed_ids=some, data_types=None)).result) == set(some)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"workspace_ids": ["no-such"]}, "workspace_ids contains unknown ids: no-such"),
        ({"feed_ids": ["no-such", "nor-this"]}, "feed_ids contains unknown ids: no-such, nor-this"),
        ({"feed_ids": "one"}, "feed_ids must be a list"),
        ({"feed_ids": 7}, "feed_ids must be a list"),
        ({"workspace_ids": {"a": "b"}}, "workspace_ids must be a list"),
        ({"feed_ids": ["None"]}, "feed_ids contains 'None'"),
        ({"workspace_ids": ["w"], "scope": "self"}, "workspace_ids needs scope='family'"),
    ],
)
def test_what_there_is_not_is_an_error(
    banksync_sandbox: BankSyncSandbox, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(AirflowFailException, match=words):
        run_task(rendered(operator, **arguments))
    assert banksync_sandbox.jobs == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"data_types": ["transaction"]}, "data_types contains 'transaction', which is not a type"),
        ({"scope": "all"}, "scope must be"),
        ({"from_date": "yesterday"}, "from_date must be a day"),
        ({"from_date": "2026-02-01", "to_date": "2026-01-01"}, "is after to_date"),
    ],
)
def test_what_cannot_be_right_is_an_error_of_the_dag_file(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(x.BankSyncConfigError, match=words):
        operator(**arguments)


def test_nothing_to_sync_is_skipped(banksync_sandbox: BankSyncSandbox) -> None:
    with pytest.raises(AirflowSkipException, match="No feed matches"):
        run_task(operator(data_types=["receipts"]))
    portal = banksync_sandbox.portals[0][0]
    for feed in truth(banksync_sandbox, "/v1/feeds", portal):
        BankSyncHook(workspace_id=portal).delete_feed(feed["id"])
    with pytest.raises(AirflowSkipException, match="No feed matches"):
        run_task(operator(workspace_ids=[portal]))
    assert banksync_sandbox.jobs == []


@pytest.mark.parametrize("name", ["feed_ids", "workspace_ids"])
@pytest.mark.parametrize("empty", [[], (), set(), UserList()], ids=repr)
def test_an_empty_list_matches_nothing(banksync_sandbox: BankSyncSandbox, name: str, empty: Any) -> None:
    with pytest.raises(AirflowSkipException, match="No feed matches"):
        run_task(operator(**{name: empty}))
    assert banksync_sandbox.jobs == []


@pytest.mark.parametrize("kind", [UserList, set, frozenset, tuple])
def test_a_list_may_be_any_sequence_or_set(
    banksync_sandbox: BankSyncSandbox, kind: Callable[[list[str]], Any]
) -> None:
    some = list(feeds_of(banksync_sandbox))[
        :2
    ]  # what a mapped task returns is a Sequence, and no list, as a UserList
    assert set(run_task(operator(feed_ids=kind(some))).result) == set(some)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"if_running": "maybe"}, "if_running must be one of"),
        ({"max_active": 0}, "max_active must be"),
        ({"max_active": True}, "max_active must be"),
        ({"max_failures": -1}, "max_failures must be"),
        ({"timeout": "60"}, "timeout must be"),
        ({"poll_interval": 0}, "poll_interval must be"),
    ],
)
def test_a_dag_with_bad_arguments_does_not_parse(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        operator(**arguments)


# --- what goes wrong with one client ---


@pytest.mark.banksync_sandbox(**{**QUICK, "failure_share": 0.2})
@BOTH
def test_a_clients_failed_job_fails_the_task_after_all_have_ended(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    run = Run()
    with pytest.raises(x.BankSyncJobFailedError) as caught:
        run_task(operator(deferrable=deferrable), run)
    jobs = {job["feedId"]: job for job in banksync_sandbox.jobs}
    doomed = {feed_id for feed_id, job in jobs.items() if job["status"] == "failed"}
    assert doomed
    assert {job["status"] for job in jobs.values()} == {"failed", "completed"}
    result = run.xcom["return_value"]
    assert set(result) == set(jobs)
    for feed_id, row in result.items():
        assert (row["job_id"], row["status"]) == (jobs[feed_id]["id"], jobs[feed_id]["status"])
        assert (row["error"] is not None) == (feed_id in doomed)
    for feed_id in doomed:
        assert jobs[feed_id]["errors"][0]["message"] in str(caught.value)
        assert (result[feed_id]["portal"] or "own workspace") in str(caught.value)
    fine = run_task(operator(deferrable=deferrable, max_failures=len(doomed)))
    assert {feed_id for feed_id, row in fine.result.items() if row["error"]} == doomed


@pytest.mark.banksync_sandbox(**{**QUICK, "row_error_share": 1})
def test_rows_that_did_not_write(banksync_sandbox: BankSyncSandbox) -> None:
    result = run_task(operator()).result
    assert {row["error"] for row in result.values()} == {None}
    refused = {job["feedId"]: len(job["errors"]) for job in banksync_sandbox.jobs}
    assert sum(refused.values()) > 0
    assert {feed_id: row["not_written"] for feed_id, row in result.items()} == refused
    names = {feed_id: feed["name"] for feed_id, feed in feeds_of(banksync_sandbox).items()}
    assert {feed_id: row["feed_name"] for feed_id, row in result.items()} == names
    with pytest.raises(x.BankSyncJobFailedError, match="was not written"):
        run_task(operator(fail_on_job_errors=True))


REFUSALS = {
    "404": Fault.answer(
        404, '{"success": false, "error": "Workspace not found"}', media_type="application/json"
    ),
    "403": Fault.answer(403, '{"success": false, "error": "Missing scope"}', media_type="application/json"),
    "400": Fault.answer(400, '{"success": false, "error": "Nothing to sync"}', media_type="application/json"),
    "500": Fault.status(500),
}


@pytest.mark.slow
@pytest.mark.usefixtures("quick_searches", "short_404s")
@BOTH
@pytest.mark.parametrize("which", [0, 3], ids=["the-first", "another"])
@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_what_the_api_says_to_one_client_stops_no_other(
    banksync_sandbox: BankSyncSandbox,
    monkeypatch: pytest.MonkeyPatch,
    deferrable: bool,
    refusal: str,
    which: int,
) -> None:
    connection = {"conn_type": "banksync", "host": banksync_sandbox.url, "password": banksync_sandbox.api_key}
    extra = {"max_retries": 0, "rate_limit_per_minute": 100_000}
    monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", json.dumps({**connection, "extra": extra}))
    feeds = feeds_of(banksync_sandbox)
    victim = list(feeds)[which]
    banksync_sandbox.faults.add(REFUSALS[refusal], method="POST", path=f"/v1/feeds/{victim}/sync")

    def only_the_victim_is_left() -> bool:
        ended = [job["completedAt"] for job in banksync_sandbox.jobs if job["status"] == "completed"]
        if len(ended) < len(feeds) - 1:
            return False
        asked_last = [
            request for request in banksync_sandbox.requests if format_timestamp(request.time) > max(ended)
        ]
        return sum(request.path == f"/v1/feeds/{victim}/sync" for request in asked_last) > 3

    run = Run()
    with (
        time_is_up(only_the_victim_is_left),  # which is tried again until then
        pytest.raises((AirflowFailException, x.BankSyncJobFailedError)) as caught,
    ):
        run_task(operator(deferrable=deferrable, timeout=600), run)
    assert started(banksync_sandbox) == dict.fromkeys(set(feeds) - {victim}, 1)
    result = run.xcom["return_value"]
    assert {feed_id for feed_id, row in result.items() if row["error"]} == {victim}
    assert (result[victim]["status"], result[victim]["job_id"]) == ("not_started", None)
    assert victim in str(caught.value)
    assert isinstance(caught.value, AirflowFailException) == (refusal != "500"), "no retry cures a refusal"


@BOTH
def test_a_wrong_key_stops_all(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    feeds = feeds_of(banksync_sandbox)
    banksync_sandbox.faults.add(
        Fault.answer(401, '{"success": false, "error": "Invalid API key"}', media_type="application/json"),
        method="POST",
        path="/v1/feeds/*/sync",
        nth=4,
    )
    with pytest.raises(AirflowFailException, match="BankSyncAuthError"):
        run_task(operator(deferrable=deferrable))
    assert len(banksync_sandbox.jobs) < len(feeds)


@pytest.mark.slow
@pytest.mark.banksync_sandbox(**{**QUICK, "portals": 2})
@pytest.mark.usefixtures("quick_searches")
@BOTH
def test_answers_that_are_lost_start_no_second_job(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    monkeypatch.setattr("airflow_provider_banksync.api.retry_policy.INITIAL_BACKOFF", 0.05)
    feeds = feeds_of(banksync_sandbox)
    lost = banksync_sandbox.faults.add(
        Fault.reset(), method="POST", path="/v1/feeds/*/sync", when="after", probability=0.5, seed=3
    )
    looks = banksync_sandbox.faults.add(
        Fault.status(502, body="html"), method="GET", path="/v1/feeds/*/jobs/*", probability=0.3, seed=5
    )
    run = run_task(operator(deferrable=deferrable))
    assert lost.hits
    assert looks.hits
    assert started(banksync_sandbox) == dict.fromkeys(feeds, 1)
    assert {row["status"] for row in run.result.values()} == {"completed"}


# --- a job that runs already ---


@pytest.mark.banksync_sandbox(**FEW_HELD)
@BOTH
@pytest.mark.parametrize("which", [0, 3], ids=["the-first", "another"])
@pytest.mark.parametrize("rule", ["attach", "other-dates", "wait", "skip", "fail"])
def test_a_job_that_runs_already(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, rule: str, which: int
) -> None:
    feeds = feeds_of(banksync_sandbox)
    busy = list(feeds)[which]
    foreign = BankSyncHook(workspace_id=feeds[busy]["workspaceId"]).trigger_sync(busy)
    arguments = {"if_running": rule}
    if rule == "other-dates":
        arguments = {"if_running": "attach", "from_date": "2026-01-01", "to_date": "2026-01-31"}
    run = Run()
    task = operator(deferrable=deferrable, **arguments)
    banksync_sandbox.clear_requests()

    def all_were_asked() -> bool:
        met = any(busy in request.path for request in banksync_sandbox.requests)
        return met and len(banksync_sandbox.jobs) >= len(feeds)

    with ending(banksync_sandbox, all_were_asked):
        if rule == "fail":
            with pytest.raises(x.BankSyncJobFailedError, match=f"job {foreign['id']} was already running"):
                run_task(task, run)
            result = run.xcom["return_value"]
        else:
            result = run_task(task, run).result
    again = rule in ("wait", "other-dates")
    assert started(banksync_sandbox) == {**dict.fromkeys(feeds, 1), busy: 1 + again}
    row = result[busy]
    assert (row["job_id"] == foreign["id"]) != again
    assert row["status"] == {"skip": "skipped", "fail": "not_started"}.get(rule, "completed")
    others = [row for feed_id, row in result.items() if feed_id != busy]
    assert {row["status"] for row in others} == {"completed"}


def test_attach_joins_no_job_that_is_open_where_the_task_is_not() -> None:
    def joins(first: str | None, last: str | None, *days: str | None) -> bool:
        job = {"startDate": days[0], "endDate": days[1]}
        action = conflict_action("attach", job, first, last)
        assert action in ("attach", "wait")
        return action == "attach"

    whole = ("2026-01-01T00:00:00Z", "2026-01-31T00:00:00Z")
    assert joins("2026-01-01", "2026-01-31", *whole)
    assert joins(None, None, *whole)
    assert joins("2026-01-01", None, whole[0], None)
    assert not joins("2026-01-01", None, *whole)
    assert not joins(None, "2026-01-31", *whole)
    assert not joins("2026-01-01", "2026-01-31", whole[0], None)
    assert not joins("2026-01-01", "2026-01-31", None, None)


@pytest.mark.parametrize("newest", [True, False], ids=["the-newest", "an-old-one"])
@pytest.mark.parametrize("rule", ["attach", "skip"])
def test_a_status_that_nobody_knows(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch, rule: str, newest: bool
) -> None:
    monkeypatch.setattr(retry_policy, "NOT_FOUND_GRACE", 0.2)
    feeds = feeds_of(banksync_sandbox)
    first = next(iter(feeds))
    expired = {"id": "j0", "feedId": first, "status": "expired", "createdAt": "2026-01-01T00:00:00Z"}
    done = {"id": "j1", "feedId": first, "status": "completed", "createdAt": "2026-01-02T00:00:00Z"}
    rows = [expired] if newest else [done, expired]
    body = json.dumps({"success": True, "data": rows})
    banksync_sandbox.faults.add(
        Fault.answer(200, body, media_type="application/json"), method="GET", path=f"/v1/feeds/{first}/jobs"
    )
    run = Run()
    task = operator(feed_ids=[first], if_running=rule, timeout=600, cancel_on_timeout=False)
    banksync_sandbox.clear_requests()

    def it_was_polled() -> bool:
        return asked(banksync_sandbox)["GET feeds/*/jobs"] > 3

    if newest:
        with (
            time_is_up(it_was_polled),
            pytest.raises((AirflowSkipException, AirflowFailException, x.BankSyncJobFailedError)),
        ):
            run_task(task, run)
        assert banksync_sandbox.jobs == []
    else:
        assert run_task(task, run).result[first]["status"] == "completed"
        assert len(banksync_sandbox.jobs) == 1


@pytest.mark.banksync_sandbox(**LONG)
def test_where_all_are_running_skip_skips_the_task(banksync_sandbox: BankSyncSandbox) -> None:
    feeds = feeds_of(banksync_sandbox)
    for feed_id, feed in feeds.items():
        BankSyncHook(workspace_id=feed["workspaceId"]).trigger_sync(feed_id)
    with pytest.raises(AirflowSkipException, match="already had a running job"):
        run_task(operator(if_running="skip"))
    assert started(banksync_sandbox) == dict.fromkeys(feeds, 1)


@pytest.mark.slow
@pytest.mark.banksync_sandbox(**{**QUICK, "portals": 6})
@BOTH
def test_no_more_than_max_active_run_at_a_time(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    run = run_task(operator(deferrable=deferrable, max_active=3))
    assert len(run.result) == len(banksync_sandbox.jobs) > 9
    moments = []
    for job in banksync_sandbox.jobs:
        moments += [(job["createdAt"], 1), (job["completedAt"], -1)]
    running, most = 0, 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    assert most == 3


# --- the time is up; the task is killed ---


@pytest.mark.slow
@pytest.mark.banksync_sandbox(**LONG)
@BOTH
@pytest.mark.parametrize("cancel", [True, False])
def test_when_the_time_is_up(banksync_sandbox: BankSyncSandbox, deferrable: bool, cancel: bool) -> None:
    feeds = feeds_of(banksync_sandbox)
    joined = list(feeds)[2]
    BankSyncHook(workspace_id=feeds[joined]["workspaceId"]).trigger_sync(joined)
    run = Run()
    with (
        time_is_up(lambda: len(banksync_sandbox.jobs) == len(feeds)),
        pytest.raises(x.BankSyncJobFailedError, match="timed out while the job was running"),
    ):
        run_task(operator(deferrable=deferrable, timeout=600, cancel_on_timeout=cancel), run)
    jobs = {job["feedId"]: job["status"] for job in banksync_sandbox.jobs}
    assert len(banksync_sandbox.jobs) == len(feeds)
    assert jobs.pop(joined) != "cancelled", "a job that was joined goes on"
    statuses = set(jobs.values())
    assert statuses == {"cancelled"} if cancel else not statuses & {"cancelled"}
    result = run.xcom["return_value"]
    assert {row["status"] for feed_id, row in result.items() if feed_id != joined} == statuses
    assert all("the task timed out" in row["error"] for row in result.values())


@pytest.mark.slow
@pytest.mark.banksync_sandbox(**LONG)
@pytest.mark.parametrize("cancel", [True, False])
def test_a_deferred_task_has_an_execution_timeout(banksync_sandbox: BankSyncSandbox, cancel: bool) -> None:
    feeds = feeds_of(banksync_sandbox)
    task = operator(
        deferrable=True,
        execution_timeout=timedelta(seconds=500),
        cancel_on_timeout=cancel,
        max_failures=len(feeds),
    )
    run = Run()
    with (
        time_is_up(lambda: len(banksync_sandbox.jobs) == len(feeds)),
        pytest.raises(AirflowTaskTimeout, match=r"execution_timeout of the task has passed.*feeds failed"),
    ):
        run_task(task, run)
    assert run.deferrals[0].timeout.total_seconds() < 505 + DEFERRAL_GRACE + 60
    statuses = {job["status"] for job in banksync_sandbox.jobs}
    assert statuses == {"cancelled"} if cancel else "cancelled" not in statuses
    assert run.xcom["return_value"].keys() == feeds.keys()
    task.on_kill()


@pytest.mark.banksync_sandbox(**LONG)
@pytest.mark.parametrize("cancel", [True, False])
def test_an_execution_timeout_in_a_worker_is_no_kill(banksync_sandbox: BankSyncSandbox, cancel: bool) -> None:
    feeds = feeds_of(banksync_sandbox)
    task = operator(cancel_on_timeout=cancel, cancel_on_kill=not cancel)

    def ring(*_: Any) -> None:
        raise AirflowTaskTimeout("the alarm")

    def polled() -> set[str]:
        return {r.path.rpartition("/")[2] for r in banksync_sandbox.requests if "/jobs/" in r.path}

    def wait_and_ring() -> None:
        # A job whose start was not answered yet is not known to be ours, and stays. So each was polled once.
        wait_until(lambda: len(banksync_sandbox.jobs) == len(feeds) == len(polled()))
        os.kill(os.getpid(), signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, ring)
    timer = threading.Thread(target=wait_and_ring)
    timer.start()
    try:
        # As Airflow does it: the alarm raises in execute(), and on_kill is called for a task that ends so.
        with pytest.raises(AirflowTaskTimeout, match="the alarm"):
            run_task(task)
        task.on_kill()
    finally:
        timer.join()
        signal.signal(signal.SIGALRM, before)
    statuses = {job["status"] for job in banksync_sandbox.jobs}
    assert statuses == {"cancelled"} if cancel else "cancelled" not in statuses


@pytest.mark.banksync_sandbox(**LONG)
def test_a_feed_that_was_not_started_in_time(banksync_sandbox: BankSyncSandbox) -> None:
    run = Run()
    with time_is_up(lambda: len(banksync_sandbox.jobs) == 2), pytest.raises(x.BankSyncJobFailedError):
        run_task(operator(timeout=600, max_active=2), run)
    counts = Counter(row["status"] for row in run.xcom["return_value"].values())
    assert counts == {"cancelled": 2, "not_started": len(feeds_of(banksync_sandbox)) - 2}
    assert len(banksync_sandbox.jobs) == 2


def test_a_deferral_outlives_the_triggers_deadline(banksync_sandbox: BankSyncSandbox) -> None:
    run = run_task(operator(deferrable=True, timeout=100))
    assert run.deferrals[0].timeout.total_seconds() > 90 + DEFERRAL_GRACE


@pytest.mark.slow
@pytest.mark.banksync_sandbox(**{**LONG, "portals": 40})
@pytest.mark.parametrize("cancel", [True, False])
def test_a_killed_task_cancels_what_it_started(banksync_sandbox: BankSyncSandbox, cancel: bool) -> None:
    feeds = feeds_of(banksync_sandbox)
    joined = list(feeds)[5]
    BankSyncHook(workspace_id=feeds[joined]["workspaceId"]).trigger_sync(joined)
    task = operator(cancel_on_kill=cancel)
    took: list[float] = []

    def terminate(*_: Any) -> None:
        began = time.monotonic()
        task.on_kill()
        took.append(time.monotonic() - began)

    def kill() -> None:
        wait_until(lambda: len(banksync_sandbox.jobs) > 60)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, terminate)
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        # Airflow 3 calls on_kill from the signal's handler, and lets execute() go on.
        with pytest.raises(x.BankSyncError, match="the task was killed"):
            run_task(task)
    finally:
        killer.join()
        signal.signal(signal.SIGTERM, before)
    jobs = {job["feedId"]: job["status"] for job in banksync_sandbox.jobs}
    assert jobs.pop(joined) != "cancelled"
    if cancel:
        in_flight = [status for status in jobs.values() if status != "cancelled"]
        assert len(in_flight) <= MAX_IN_FLIGHT, (
            "their answers had not arrived, so nothing proves whose they are"
        )
    else:
        assert "cancelled" not in jobs.values()
    assert took[0] < 5, "Airflow waits for 5 seconds"


def test_a_kill_before_anything(banksync_sandbox: BankSyncSandbox) -> None:
    task = operator()
    task.on_kill()
    assert banksync_sandbox.requests == []
    with pytest.raises(x.BankSyncError, match="killed"):
        run_task(task)
    assert banksync_sandbox.jobs == []


# --- triggers that are stopped, moved and killed ---


def deferred(**arguments: Any) -> tuple[BankSyncFamilySyncOperator, BankSyncFamilyJobsTrigger, TaskDeferred]:
    task, run = operator(deferrable=True, **arguments), Run()
    with pytest.raises(TaskDeferred) as caught:
        task.execute({"ti": run})
    return task, restored(caught.value.trigger), caught.value


def stop_when(trigger: BankSyncFamilyJobsTrigger, true: Callable[[], bool], *, kill: bool = False) -> bool:
    """Run the trigger until this is true, and stop it the way the triggerer does; False where it ended before."""

    async def life() -> bool:
        events: list[Any] = []

        async def run() -> None:
            events.extend([event async for event in trigger.run()])

        task = asyncio.ensure_future(run())
        while not true() and not task.done():  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # what it waits for happens in other threads
        if task.done():
            await task
            return False
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if kill:
            await trigger.on_kill()
        await trigger.cleanup()
        return True

    return asyncio.run(life())


def finish(trigger: BankSyncFamilyJobsTrigger) -> dict[str, dict[str, Any]]:
    async def run() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    (payload,) = asyncio.run(run())
    return {row.feed_id: row.to_json() for row in results_from_event(json.loads(json.dumps(payload)))}


@pytest.mark.slow
@pytest.mark.banksync_sandbox(**{**QUICK, "portals": 8})
@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.5, 1.0])
def test_a_restarted_trigger_starts_no_feed_twice(banksync_sandbox: BankSyncSandbox, share: float) -> None:
    feeds = feeds_of(banksync_sandbox)
    _, trigger, _ = deferred(max_active=6)
    at = share * (len(feeds) - 1)
    assert stop_when(trigger, lambda: len(banksync_sandbox.jobs) > at)
    before = len(banksync_sandbox.jobs)
    assert before
    assert "cancelled" not in {job["status"] for job in banksync_sandbox.jobs}, (
        "a mere restart cancels nothing"
    )
    rows = finish(restored(trigger))
    assert started(banksync_sandbox) == dict.fromkeys(feeds, 1)
    assert {row["status"] for row in rows.values()} == {"completed"}
    assert {row["job_id"] for row in rows.values()} == {job["id"] for job in banksync_sandbox.jobs}


@pytest.mark.slow
@pytest.mark.banksync_sandbox(**{**QUICK, "portals": 8})
def test_a_trigger_that_is_restarted_again_and_again(banksync_sandbox: BankSyncSandbox) -> None:
    feeds = feeds_of(banksync_sandbox)
    _, trigger, _ = deferred()
    for at in range(1, len(feeds), 3):
        banksync_sandbox.clear_requests()
        trigger = restored(trigger)
        if not stop_when(
            trigger, lambda at=at: len(banksync_sandbox.jobs) > at or len(banksync_sandbox.requests) > 30
        ):
            break
    assert finish(restored(trigger)).keys() == feeds.keys()
    assert started(banksync_sandbox) == dict.fromkeys(feeds, 1)


@pytest.mark.slow
@pytest.mark.banksync_sandbox(**FEW_HELD)
@pytest.mark.parametrize("rule", ["wait", "skip"])
def test_a_restart_where_another_job_was_in_the_way_of_the_first(
    banksync_sandbox: BankSyncSandbox, rule: str
) -> None:
    feeds = feeds_of(banksync_sandbox)
    first = next(iter(feeds))
    BankSyncHook(workspace_id=feeds[first]["workspaceId"]).trigger_sync(first)
    _, trigger, _ = deferred(if_running=rule, poll_interval=2, max_poll_interval=2)
    # While that job runs, a life of the trigger starts the others, and ends.
    assert stop_when(trigger, lambda: len(banksync_sandbox.jobs) >= len(feeds))
    banksync_sandbox.clock.advance(601)
    assert {job["status"] for job in banksync_sandbox.jobs} == {"completed"}
    with ending(banksync_sandbox, lambda: rule == "skip" or len(banksync_sandbox.jobs) > len(feeds)):
        finish(restored(trigger))
    # The worker has skipped the first feed.
    assert started(banksync_sandbox) == {**dict.fromkeys(feeds, 1), first: 1 + (rule == "wait")}


@pytest.mark.slow
@pytest.mark.banksync_sandbox(**{**LONG, "portals": 8})
@pytest.mark.parametrize("moved", [False, True], ids=["at-once", "after-a-restart"])
@pytest.mark.parametrize("cancel", [True, False])
def test_a_killed_trigger_cancels_what_its_run_certainly_started(
    banksync_sandbox: BankSyncSandbox, cancel: bool, moved: bool
) -> None:
    """Without XComs, as before Airflow 3.3: after a restart, only the task's own record proves whose a job is."""
    feeds = feeds_of(banksync_sandbox)
    joined = list(feeds)[4]
    BankSyncHook(workspace_id=feeds[joined]["workspaceId"]).trigger_sync(joined)
    _, trigger, _ = deferred(cancel_on_kill=cancel)
    assert stop_when(trigger, lambda: len(banksync_sandbox.jobs) > 12, kill=not moved)
    if moved:
        asyncio.run(restored(trigger).on_kill())
    jobs = {job["feedId"]: job["status"] for job in banksync_sandbox.jobs}
    assert jobs.pop(joined) != "cancelled"
    cancelled = {feed_id for feed_id, status in jobs.items() if status == "cancelled"}
    assert len(json.loads(trigger.own_jobs)) == 1
    if not cancel:
        assert cancelled == set()
    elif moved:
        assert cancelled == {key.split("/")[1] for key in json.loads(trigger.own_jobs)}
    else:
        assert len(jobs) - len(cancelled) <= MAX_IN_FLIGHT, "the answers of the others had not arrived"


def test_the_trigger_survives_its_stored_form() -> None:
    arguments = {
        "feeds": '[["f", "w", "Client", "Feed"]]',
        "known": '[{"feed_id": "g"}]',
        "own_jobs": '{"f": "j"}',
        "limit": "execution_timeout",
        "deadline": 12.5,
        "since": 1.5,
        "attempt_since": 2.5,
        "banksync_conn_id": "c",
        "workspace_id": "w",
        "from_date": "2026-01-01",
        "to_date": "2026-01-02",
        "if_running": "wait",
        "max_active": 3,
        "poll_interval": 1.5,
        "max_poll_interval": 9,
        "cancel_on_timeout": False,
        "fail_on_job_errors": True,
        "cancel_on_kill": True,
        "scope": "self",
    }
    path, kwargs = BankSyncFamilyJobsTrigger(**arguments).serialize()
    assert path == "airflow_provider_banksync.triggers.family.BankSyncFamilyJobsTrigger"
    assert kwargs == arguments
    assert restored(BankSyncFamilyJobsTrigger(**arguments)).serialize() == (path, kwargs)


def test_the_trigger_comes_by_its_client_as_the_others_do(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    open_client = trigger_client.open_client

    async def listening(*arguments: Any) -> Any:
        opened.append(arguments)
        return await open_client(*arguments)

    monkeypatch.setattr(trigger_client, "open_client", listening)
    _, trigger, _ = deferred()
    finish(trigger)
    asyncio.run(restored(trigger).on_kill())
    assert opened == [("banksync_default", None)] * 2


def test_a_trigger_without_its_connection_tells_so(banksync_sandbox: BankSyncSandbox) -> None:
    task, trigger, _ = deferred()
    trigger.banksync_conn_id = "no_such_connection"
    event = run_trigger(trigger)
    assert event["status"] == "error"
    assert len(results_from_event(event)) == len(feeds_of(banksync_sandbox))
    with pytest.raises(AirflowFailException, match="no_such_connection"):
        task.execute_complete({"ti": Run()}, event)
    asyncio.run(trigger.on_kill())
    assert len(banksync_sandbox.jobs) == 1, "the one that the worker started"


@pytest.mark.parametrize("event", [None, "ended", {}, {"status": "success"}, {"status": "ended"}])
def test_an_event_that_nobody_knows_is_an_error(event: Any) -> None:
    with pytest.raises(x.BankSyncError, match="the trigger sent"):
        results_from_event(event)


# --- retries ---


@dataclass
class Store:
    """Airflow 3.3's task state store, as far as we use it: JSON in, JSON out."""

    values: dict[str, str] = field(default_factory=dict)

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.values[key]) if key in self.values else default

    def set(self, key: str, value: Any) -> None:
        self.values[key] = json.dumps(value)


class Try(Run):
    """One try of a task, as Airflow counts them."""

    def __init__(self, number: int, *, max_tries: int = 2) -> None:
        super().__init__()
        self.try_number, self.max_tries = number, max_tries


def attempt(task: BankSyncFamilySyncOperator, number: int, *, max_tries: int = 2, **context: Any) -> Try:
    """Run a try as Airflow does, with what it has in its context."""
    run = Try(number, max_tries=max_tries)
    task.retries = 2
    try:
        run.result = task.execute({"ti": run, **context})
    except TaskDeferred as caught:
        trigger = restored(caught.trigger)

        async def events() -> list[Any]:
            return [event.payload async for event in trigger.run()]

        (payload,) = asyncio.run(events())
        run.result = task.execute_complete({"ti": run, **context}, payload)
    return run


@pytest.mark.usefixtures("clocks_in_step")
@pytest.mark.banksync_sandbox(**{**QUICK, "failure_share": 0.2})
@BOTH
@pytest.mark.parametrize("newest", [True, False], ids=["with-a-store", "by-the-api"])
def test_a_retry_syncs_only_what_failed(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, newest: bool
) -> None:
    feeds = feeds_of(banksync_sandbox)
    context: dict[str, Any] = {"dag_run": SimpleNamespace(start_date=datetime.now(timezone.utc))}
    if newest:
        context["task_state_store"] = Store()
    with pytest.raises(x.BankSyncJobFailedError):
        attempt(operator(deferrable=deferrable), 1, **context)
    doomed = {job["feedId"] for job in banksync_sandbox.jobs if job["status"] == "failed"}
    mend_destinations(banksync_sandbox)
    time.sleep(1.1)  # the server tells whole seconds: what failed in this one would be this try's
    banksync_sandbox.clear_requests()
    result = attempt(operator(deferrable=deferrable), 2, **context).result
    assert started(banksync_sandbox) == {feed_id: 1 + (feed_id in doomed) for feed_id in feeds}
    newest_job = {job["feedId"]: job for job in banksync_sandbox.jobs}
    assert {feed_id: row["job_id"] for feed_id, row in result.items()} == {
        feed_id: job["id"] for feed_id, job in newest_job.items()
    }
    assert {feed_id: row["written"] for feed_id, row in result.items()} == {
        feed_id: job["transactionsWritten"] for feed_id, job in newest_job.items()
    }
    requests = asked(banksync_sandbox)
    assert requests["POST feeds/*/sync"] == len(doomed)
    assert requests["GET feeds/*/jobs"] <= (3 * len(doomed) if newest else len(feeds) + 3)
    # Cleared on purpose, it is another run, and everything is synced anew.
    attempt(operator(deferrable=deferrable), 3, max_tries=4, **context)
    assert started(banksync_sandbox) == {feed_id: 2 + (feed_id in doomed) for feed_id in feeds}


@pytest.mark.slow
@pytest.mark.banksync_sandbox(**FEW_HELD)
@BOTH
@pytest.mark.parametrize("newest", [True, False], ids=["with-a-store", "by-the-api"])
def test_a_retry_takes_up_the_jobs_that_run(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, newest: bool
) -> None:
    feeds = feeds_of(banksync_sandbox)
    context: dict[str, Any] = {"dag_run": SimpleNamespace(start_date=banksync_sandbox.clock.now())}
    if newest:
        context["task_state_store"] = Store()
    task = operator(deferrable=deferrable, timeout=600, cancel_on_timeout=False, max_active=5)
    with time_is_up(lambda: len(banksync_sandbox.jobs) == 5), pytest.raises(x.BankSyncJobFailedError):
        attempt(task, 1, **context)
    first = {job["feedId"]: job["id"] for job in banksync_sandbox.jobs}
    assert len(first) == 5
    banksync_sandbox.clear_requests()

    def they_were_found() -> bool:
        paths = [request.path for request in banksync_sandbox.requests]
        return all(any(f"/{feed_id}/jobs" in path for path in paths) for feed_id in first)

    with ending(banksync_sandbox, they_were_found):
        result = attempt(operator(deferrable=deferrable, max_active=5), 2, **context).result
    assert started(banksync_sandbox) == dict.fromkeys(feeds, 1)
    assert {row["status"] for row in result.values()} == {"completed"}


@pytest.mark.banksync_sandbox(**FEW_HELD)
@BOTH
def test_dates_may_be_dates(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    feeds = feeds_of(banksync_sandbox)
    first = next(iter(feeds))
    hook = BankSyncHook(workspace_id=feeds[first]["workspaceId"])
    context: dict[str, Any] = {"dag_run": SimpleNamespace(start_date=banksync_sandbox.clock.now())}
    joined = hook.trigger_sync(first, "2026-01-01", "2026-01-31")
    days: dict[str, Any] = {
        "from_date": date(2026, 1, 1),
        "to_date": datetime(2026, 1, 31, 5, tzinfo=timezone.utc),
    }
    with ending(banksync_sandbox, lambda: len(banksync_sandbox.jobs) == len(feeds)):
        result = attempt(operator(deferrable=deferrable, **days), 1, **context).result
    assert result[first]["job_id"] == joined["id"]
    assert attempt(operator(deferrable=deferrable, **days), 2, **context).result == result
    assert started(banksync_sandbox) == dict.fromkeys(feeds, 1)
    assert {(job["startDate"], job["endDate"]) for job in banksync_sandbox.jobs} == {
        ("2026-01-01", "2026-01-31")
    }


def test_what_is_not_durable_begins_anew(banksync_sandbox: BankSyncSandbox) -> None:
    store = Store()
    for number in (1, 2):
        attempt(operator(durable=False), number, task_state_store=store)
    assert store.values == {}
    assert set(started(banksync_sandbox).values()) == {2}


def test_the_store_is_written_before_the_first_start(banksync_sandbox: BankSyncSandbox) -> None:
    store = Store()
    jobs: list[int] = []
    store.set = lambda key, value: jobs.append(len(banksync_sandbox.jobs))  # type: ignore[method-assign]
    attempt(operator(), 1, task_state_store=store)
    assert jobs[:3] == [0, 0, 1], "before the first start, the ids of that feed's jobs before it, and its job"
    assert KEY == "banksync_family"


def test_a_record_in_another_format_is_ignored(banksync_sandbox: BankSyncSandbox) -> None:
    store = Store()
    store.set(KEY, {"first_try": 1, "wanted": {}, "since": 1.0, "kept": 1})
    result = attempt(operator(), 2, task_state_store=store).result
    assert started(banksync_sandbox) == dict.fromkeys(result, 1)
    assert store.get(KEY)["version"] == VERSION


@BOTH
@pytest.mark.usefixtures("short_404s")
@pytest.mark.banksync_sandbox(**{**QUICK, "row_error_share": 1})
@pytest.mark.parametrize(
    "other",
    [{"from_date": "2026-02-01", "to_date": "2026-02-28"}, {"fail_on_job_errors": True}],
    ids=["dates", "fail_on_job_errors"],
)
def test_a_retry_that_asks_for_something_else_takes_over_nothing(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, other: dict[str, Any]
) -> None:
    feeds = feeds_of(banksync_sandbox)
    victim = list(feeds)[-1]
    refused = banksync_sandbox.faults.add(REFUSALS["404"], method="POST", path=f"/v1/feeds/{victim}/sync")
    store, asked_first = Store(), {"from_date": "2026-01-01", "to_date": "2026-01-31"}
    with pytest.raises(AirflowFailException):
        attempt(operator(deferrable=deferrable, **asked_first), 1, task_state_store=store)
    assert len(banksync_sandbox.jobs) == len(feeds) - 1
    assert refused.hits
    banksync_sandbox.faults.clear()
    banksync_sandbox.clock.advance(1.1)  # what was started in this second is not the new run's
    again = operator(deferrable=deferrable, max_failures=len(feeds), **{**asked_first, **other})
    result = attempt(again, 2, task_state_store=store).result
    assert started(banksync_sandbox) == {**dict.fromkeys(feeds, 2), victim: 1}
    latest = {job["feedId"]: job["id"] for job in banksync_sandbox.jobs}
    assert {feed_id: row["job_id"] for feed_id, row in result.items()} == latest


class Broken(Store):
    """A store whose backend is gone after so many calls."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def get(self, key: str, default: Any = None) -> Any:
        self._count()
        return super().get(key, default)

    def set(self, key: str, value: Any) -> None:
        self._count()
        super().set(key, value)

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise ConnectionError("the backend is gone")


@pytest.mark.usefixtures("clocks_in_step")
@pytest.mark.banksync_sandbox(**{**QUICK, "failure_share": 0.2})
@pytest.mark.parametrize("left", [0, 1, 2, 3, 4])
def test_a_store_that_fails_fails_no_task(
    banksync_sandbox: BankSyncSandbox, logged: Callable[[], str], left: int
) -> None:
    feeds = feeds_of(banksync_sandbox)
    context: dict[str, Any] = {"dag_run": SimpleNamespace(start_date=datetime.now(timezone.utc))}
    run = Try(1)
    with pytest.raises(x.BankSyncJobFailedError, match="feeds failed, more than max_failures=0"):
        operator().execute({"ti": run, "task_state_store": Broken(left), **context})
    assert run.xcom["return_value"].keys() == feeds.keys()
    assert "task state store failed (ConnectionError)" in logged()
    # The retry finds what there is by asking BankSync.
    doomed = {job["feedId"] for job in banksync_sandbox.jobs if job["status"] == "failed"}
    mend_destinations(banksync_sandbox)
    time.sleep(1.1)
    result = attempt(operator(), 2, task_state_store=Broken(0), **context).result
    assert result.keys() == feeds.keys()
    assert started(banksync_sandbox) == {feed_id: 1 + (feed_id in doomed) for feed_id in feeds}


# --- many ---


@pytest.mark.slow
@pytest.mark.banksync_sandbox(portals=400, job_seconds=(2, 6), row_error_share=0)
def test_a_thousand_feeds_in_one_trigger(banksync_sandbox: BankSyncSandbox) -> None:
    feeds = feeds_of(banksync_sandbox)
    assert 900 < len(feeds) < 1100
    banksync_sandbox.clear_requests()
    _, trigger, _ = deferred(poll_interval=1, max_poll_interval=60)
    assert len(json.dumps(trigger.serialize())) < 200_000
    rows = finish(trigger)
    assert len(rows) == len(feeds)
    assert {row["status"] for row in rows.values()} == {"completed"}
    assert started(banksync_sandbox) == dict.fromkeys(feeds, 1)
    assert sum(asked(banksync_sandbox).values()) < 3.4 * len(feeds), (
        "3 are the least: a look, a start, a look"
    )
