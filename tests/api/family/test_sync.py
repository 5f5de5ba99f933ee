"""A family sync without a network: its steps, answered by hand."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any
from unittest.mock import Mock

import pytest

from airflow_provider_banksync.api.family.poll_schedule import MAX_PROBES, PollSchedule
from airflow_provider_banksync.api.family.state import FeedState
from airflow_provider_banksync.api.family.sync import FamilySettings, FamilySync, Feed
from airflow_provider_banksync.api.flows.core import Flow, RequestDroppedError, Send, Sleep
from airflow_provider_banksync.api.messages import Reply
from airflow_provider_banksync.exceptions import (
    BankSyncConflictError,
    BankSyncConnectionError,
    BankSyncError,
    BankSyncNotFoundError,
    BankSyncResponseError,
)

NOW = 1_767_225_600.0  # 2026-01-01, midnight UTC


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def answer(step: Flow[None], *answers: Any) -> list[str]:
    """Run a step with these answers or errors, and return what it requested."""
    requests, replies = [], iter(answers)
    try:
        action = next(step)
        while True:
            if isinstance(action, Sleep):
                action = step.send(None)
                continue
            request = action.call.request
            requests.append(f"{request.method} {request.path}")
            reply = next(replies)
            failed = isinstance(reply, BankSyncError)
            action = step.throw(reply) if failed else step.send(Reply(reply, None, 0.0))
    except StopIteration:
        return requests


def job(job_id: str, status: str = "queued", **fields: Any) -> dict[str, Any]:
    return {"id": job_id, "status": status, "createdAt": "2026-01-01T00:00:01Z", "type": "manual", **fields}


def family_sync(*names: str, recorded: Any = None, **settings: Any) -> tuple[FamilySync, Clock]:
    clock = Clock()
    feeds = [Feed(name, None, f"Client {name}", f"Feed {name}") for name in names]
    parsed = FamilySettings(**{"deadline": NOW + 3600, **settings})
    return FamilySync(feeds, parsed, clock=clock, log=logging.getLogger(), **(recorded or {})), clock


def lost() -> BankSyncError:
    return BankSyncConnectionError("the answer was lost", ambiguous=True)


def next_step(sync: FamilySync) -> Flow[None]:
    step = sync.next_step()
    assert step is not None
    return step


def test_the_first_feed_starts_alone_and_each_feed_after_a_look_at_its_jobs() -> None:
    sync, clock = family_sync("a", "b")
    first = next_step(sync)
    assert sync.next_step() is None, "the others wait for the first"
    assert not sync.has_begun
    assert answer(first, [], job("j1")) == ["GET /v1/feeds/a/jobs", "POST /v1/feeds/a/sync"]
    assert sync.has_begun
    assert sync.settings.since == NOW + 1, "by the clock that writes the creation of jobs"
    assert answer(next_step(sync), [], job("j2")) == ["GET /v1/feeds/b/jobs", "POST /v1/feeds/b/sync"]
    assert sync.next_step() is None
    clock.now += sync.idle_seconds()
    ended = {"completedAt": "2026-01-01T00:00:31Z", "transactionsWritten": 7}
    for feed_id, job_id in (("a", "j1"), ("b", "j2")):
        done = job(job_id, "completed", **ended)
        assert answer(next_step(sync), done) == [f"GET /v1/feeds/{feed_id}/jobs/{job_id}"]
    assert sync.is_done
    assert not sync.timed_out
    assert [result.to_json() for result in sync.results()] == [
        {
            "feed_id": feed_id,
            "workspace_id": None,
            "portal": f"Client {feed_id}",
            "name": f"Feed {feed_id}",
            "status": "completed",
            "job_id": job_id,
            "written": 7,
            "error": None,
            "permanent": False,
            "origin": "started",
            "duration_seconds": 30.0,
            "error_count": 0,
        }
        for feed_id, job_id in (("a", "j1"), ("b", "j2"))
    ]


def test_a_run_that_is_resumed_starts_no_sync_twice() -> None:
    sync, _ = family_sync("a", "b", since=NOW + 1)
    assert answer(next_step(sync), [job("j1")]) == ["GET /v1/feeds/a/jobs"]
    assert answer(next_step(sync), [job("j2")]) == ["GET /v1/feeds/b/jobs"]
    assert [(result.job_id, result.origin) for result in sync.results()] == [
        ("j1", "resumed"),
        ("j2", "resumed"),
    ]


def test_the_job_that_this_try_has_started_is_not_resumed() -> None:
    """In deferrable mode, the worker starts the first feed, and the trigger goes on with its job."""
    sync, _ = family_sync(
        "a", "b", recorded={"own_jobs": {"/a": "j1", "/b": "j2"}}, since=NOW, attempt_since=NOW
    )
    log = Mock()
    sync._state.log = log
    answer(next_step(sync), [job("j1")])
    answer(next_step(sync), [job("j2", createdAt="2025-12-31T00:00:00Z")])
    assert [result.origin for result in sync.results()] == ["started", "resumed"]
    assert [call.args[0].split(" %s")[0] for call in log.info.call_args_list] == [
        "Waiting for sync of",
        "Resumed sync of",
    ]


def test_replicas_and_gateways_that_do_not_know_a_job_cost_nothing() -> None:
    sync, clock = family_sync("a")
    answer(next_step(sync), [], job("j1"))
    done = job("j1", "completed", completedAt="2026-01-01T00:00:31Z")
    for reply in (
        BankSyncNotFoundError(),
        BankSyncResponseError(truncated=True),
        BankSyncNotFoundError(),
        done,
    ):
        clock.now += sync.idle_seconds()
        assert answer(next_step(sync), reply) == ["GET /v1/feeds/a/jobs/j1"]
    assert [(result.status, result.error) for result in sync.results()] == [("completed", None)]


def test_an_answer_about_another_job_is_polled_again() -> None:
    sync, clock = family_sync("a")
    answer(next_step(sync), [], job("j1"))
    done = job("j1", "completed", completedAt="2026-01-01T00:00:31Z")
    for reply in (BankSyncResponseError("a row has id 'j2' instead of 'j1'", status=200), done):
        clock.now += sync.idle_seconds()
        assert answer(next_step(sync), reply) == ["GET /v1/feeds/a/jobs/j1"]
    assert [(result.status, result.error) for result in sync.results()] == [("completed", None)]


@pytest.mark.parametrize(
    ("sent", "written"), [(12, 12), ("12", 12), ("twelve", None), (None, None), ([1], None), (True, None)]
)
def test_a_number_of_rows_in_another_form_fails_nothing(sent: Any, written: int | None) -> None:
    sync, _ = family_sync("a")
    answer(next_step(sync), [], job("j1", "completed", transactionsWritten=sent))
    (result,) = sync.results()
    assert (result.status, result.written) == ("completed", written)


def test_a_404_that_lasts_a_minute_is_the_result_of_its_feed() -> None:
    sync, clock = family_sync("a", "b")
    answer(next_step(sync), [], job("j1"))
    answer(next_step(sync), [], job("j2"))
    while sync.results()[0].error is None:
        clock.now += sync.idle_seconds()
        step = next_step(sync)
        action = next(step)
        assert isinstance(action, Send)
        with suppress(StopIteration):
            if "/a/" in action.call.request.path:
                step.throw(BankSyncNotFoundError("404, not found"))
            step.send(Reply(job("j2"), None, 0.0))
        assert clock.now < NOW + 180
    assert clock.now >= NOW + 60
    assert [(result.error, result.permanent) for result in sync.results()] == [
        ("404, not found", True),
        (None, False),
    ]


@pytest.mark.parametrize("lost", ["GET", "POST"])
def test_a_feed_that_a_replica_does_not_have_yet_is_synced(lost: str) -> None:
    """A listing had it a moment ago."""
    sync, clock = family_sync("a")
    missing = BankSyncNotFoundError("404")
    answer(next_step(sync), *([missing] if lost == "GET" else [[], missing]))
    clock.now += sync.idle_seconds()
    answer(next_step(sync), *([missing] if lost == "GET" else [[], missing]))
    clock.now += sync.idle_seconds()
    answer(next_step(sync), [], job("j1", "completed"))
    assert [(result.status, result.error) for result in sync.results()] == [("completed", None)]
    assert clock.now < NOW + 60


def test_a_feed_that_is_not_found_for_a_minute_is_deleted() -> None:
    sync, clock = family_sync("a")
    while not sync.is_done:
        answer(next_step(sync), BankSyncNotFoundError("404, no such feed"))
        clock.now += 0.0 if sync.is_done else sync.idle_seconds()
        assert clock.now < NOW + 180
    assert clock.now >= NOW + 60
    assert [(each.status, each.error, each.permanent) for each in sync.results()] == [
        ("not_started", "404, no such feed", True)
    ]


@pytest.mark.parametrize("cancel", [True, False], ids=["cancelled", "polled"])
def test_a_job_that_a_replica_does_not_have_at_the_deadline(cancel: bool) -> None:
    sync, clock = family_sync("a", cancel_on_timeout=cancel)
    answer(next_step(sync), [], job("j1"))
    clock.now = NOW + 3600
    ended = job("j1", "cancelled" if cancel else "completed", completedAt="2026-01-01T00:00:31Z")
    answer(next_step(sync), BankSyncNotFoundError("404"), BankSyncNotFoundError("404"), ended)
    assert [result.status for result in sync.results()] == [ended["status"]]


def test_max_active_counts_feeds_with_the_same_id_in_two_workspaces() -> None:
    feeds = [
        Feed("a", "one", "One", "Feed"),
        Feed("a", "two", "Two", "Feed"),
        Feed("b", "two", "Two", "Feed"),
    ]
    settings = FamilySettings(NOW + 3600, since=NOW, max_active=2)
    sync = FamilySync(feeds, settings, clock=Clock(), log=logging.getLogger())
    answer(next_step(sync), [], job("j1"))
    answer(next_step(sync), [], job("j2"))
    assert sync.next_step() is None, "two jobs run"


def test_a_run_that_was_ended_before_its_first_job_was_recorded_starts_no_sync_twice() -> None:
    """The list shows the job late, and the job has ended before."""
    old = job("j0", "completed")
    done = job("j1", "completed", completedAt="2026-01-01T00:00:31Z")
    sync, _ = family_sync("a", "b", recorded={"known_job_ids": {"/a": ["j0"]}})
    assert answer(next_step(sync), [old], [old], [old], [done, old]) == ["GET /v1/feeds/a/jobs"] * 4
    assert sync.results()[0].job_id == "j1"
    assert sync.settings.since == NOW + 1


def test_the_ids_of_a_feeds_jobs_are_recorded_before_the_first_start() -> None:
    noted: list[Any] = []
    recorded = {"note_start": lambda feed_id, ids: noted.append((feed_id, ids))}
    sync, _ = family_sync("a", "b", recorded=recorded)
    old = job("j0", "completed")
    answer(next_step(sync), [old], job("j1"))
    answer(next_step(sync), [], job("j2"))
    assert noted == [("/a", ["j0"])]


@pytest.mark.parametrize("job_type", ["manual", "api", None])
def test_a_job_whose_answer_was_lost_is_found_without_a_clock(job_type: str | None) -> None:
    """The list is late, the job's creation looks old, and its type is new to us."""
    old = job("j0", "completed", createdAt="2026-01-01T00:00:00Z")
    ours = job("j1", "completed", createdAt="2025-12-31T23:00:00Z", type=job_type)
    sync, _ = family_sync("a")
    others = [job("s", "completed", type="scheduled"), old]
    requests = answer(next_step(sync), [old], lost(), others, others, [*others, ours])
    assert requests == ["GET /v1/feeds/a/jobs", "POST /v1/feeds/a/sync", *["GET /v1/feeds/a/jobs"] * 3]
    assert sync.is_done
    assert sync.results()[0].job_id == "j1"
    assert sync.own_jobs() == {}, "inferred, and not proved"


def test_a_run_that_stood_still_looks_again_before_it_starts_a_feed() -> None:
    """Another process takes over meanwhile: the start waits for the rate limit, and its listing is minutes old."""
    sync, clock = family_sync("a", "b", since=NOW)
    sync.tick()
    start = next_step(sync)
    assert next(start).call.request.method == "GET"
    post = start.send(Reply([], None, 0.0))
    assert post.call.request.method == "POST"
    for _ in range(60):  # a wait for the rate limit is no pause
        clock.now += 1
        sync.tick()
    assert post.is_current()
    clock.now += 60  # the process is stopped, and wakes up
    assert not post.is_current()
    sync.tick()
    assert not post.is_current()
    listing = start.throw(RequestDroppedError())
    assert listing.call.request.method == "GET"
    with pytest.raises(StopIteration):
        start.send(Reply([job("j1")], None, 0.0))
    assert answer(next_step(sync), [], job("j2")) == ["GET /v1/feeds/b/jobs", "POST /v1/feeds/b/sync"]
    assert [(result.job_id, result.origin) for result in sync.results()] == [
        ("j1", "resumed"),
        ("j2", "started"),
    ]
    assert sync.own_jobs() == {"/b": "j2"}


def test_a_pause_during_the_listing_counts_too() -> None:
    sync, clock = family_sync("a", since=NOW)
    sync.tick()
    start = next_step(sync)
    next(start)
    clock.now += 60
    sync.tick()
    assert not start.send(Reply([], None, 0.0)).is_current()


def test_only_a_job_that_is_certainly_the_runs_own_is_cancelled_at_the_deadline() -> None:
    sync, clock = family_sync("a", "b", "c", "d", recorded={"own_jobs": {"/d": "j4"}}, since=NOW)
    other = job("j0", createdAt="2025-12-31T00:00:00Z")
    answer(next_step(sync), [other])
    answer(next_step(sync), [], job("j2"))
    answer(next_step(sync), [], lost(), [job("j3")])
    answer(next_step(sync), [job("j4")])
    clock.now += 3600
    assert answer(next_step(sync), other) == ["GET /v1/feeds/a/jobs/j0"]
    assert answer(next_step(sync), job("j2", "cancelled")) == ["DELETE /v1/feeds/b/jobs/j2"]
    assert answer(next_step(sync), job("j3")) == ["GET /v1/feeds/c/jobs/j3"]
    assert answer(next_step(sync), job("j4", "cancelled")) == ["DELETE /v1/feeds/d/jobs/j4"]
    assert sync.is_done
    assert sync.timed_out
    a, b, c, d = sync.results()
    assert [(each.origin, each.status) for each in (a, b, c, d)] == [
        ("attached", "queued"),
        ("started", "cancelled"),
        ("started", "queued"),
        ("started", "cancelled"),
    ]
    assert "Job j0 was left running, because this task did not start it." in str(a.error)
    assert "it is not certain that this task started it" in str(c.error)
    assert "BankSyncCancelJobOperator(feed_id='c', job_id='j3')" in str(c.error)
    assert b.display_name == '"Feed b" (client Client b, feed b)'


def test_a_job_that_ended_before_it_could_be_cancelled_is_a_success() -> None:
    sync, clock = family_sync("a")
    answer(next_step(sync), [], job("j1"))
    clock.now += 3600
    conflict = BankSyncConflictError("it has ended")
    requests = answer(next_step(sync), conflict, job("j1", "completed"))
    assert requests == ["DELETE /v1/feeds/a/jobs/j1", "GET /v1/feeds/a/jobs/j1"]
    assert (sync.results()[0].status, sync.results()[0].error) == ("completed", None)


def test_a_kill_cancels_only_what_is_certainly_ours() -> None:
    sync, _ = family_sync("a", "b", "c", since=NOW)
    answer(next_step(sync), [job("j0", createdAt="2025-12-31T00:00:00Z")])
    answer(next_step(sync), [], job("j2"))
    answer(next_step(sync), [], lost(), [job("j3")])
    sync.cancel()
    assert answer(next_step(sync), job("j2", "cancelled")) == ["DELETE /v1/feeds/b/jobs/j2"]
    assert sync.is_done
    text = sync.describe_cancellation(in_time=True)
    assert text.startswith("Cancelled 1 of its jobs. Job j0 was left running")
    assert "BankSyncCancelJobOperator(feed_id='c', job_id='j3')" in text


def test_most_jobs_are_polled_when_jobs_of_their_age_have_ended() -> None:
    clock = Clock()
    schedule: PollSchedule[FeedState] = PollSchedule(5, 60, clock)
    feeds = [FeedState(str(number), None, None, "") for number in range(MAX_PROBES + 1)]
    for feed in feeds:
        schedule.schedule_first_poll(feed)
    assert schedule.next_poll_at() == NOW + 5
    clock.now += 20
    probes = [schedule.pop_due(starts_waiting=False) for _ in range(MAX_PROBES)]
    assert probes == feeds[:-1]
    assert schedule.next_poll_at() == NOW + 60, "nothing is known of the durations"
    for _ in probes:
        schedule.record_duration(job("j", completedAt="2026-01-01T00:00:31Z"))
    assert schedule.next_poll_at() == NOW + 30
    clock.now = NOW + 30
    assert schedule.pop_due(starts_waiting=False) is feeds[-1]
