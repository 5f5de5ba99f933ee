"""Polling a job until it ends."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api.config import ClientConfig
from airflow_provider_banksync.api.flows import polling, syncs
from airflow_provider_banksync.api.flows.conditions import JobEnded
from airflow_provider_banksync.api.http.client import Client
from tests.support.jobs import job
from tests.support.scripted_server import FAILED, KEY, ScriptedServer, ok, reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.client_driver import ClientDriver


log = logging.getLogger(__name__)


def poll_policy(clock: Callable[[], float], deadline: float) -> polling.PollPolicy:
    return polling.PollPolicy(
        initial_interval=5, max_interval=20, deadline=deadline, clock=clock, rng=lambda: 0.5
    )


def test_the_intervals_grow_to_the_longest() -> None:
    intervals = poll_policy(lambda: 0.0, 1.0).intervals()
    assert [round(next(intervals), 2) for _ in range(6)] == [5.0, 7.5, 11.25, 16.88, 20.0, 20.0]


def test_a_wait_outlives_an_outage_and_an_unknown_status(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, caplog: pytest.LogCaptureFixture
) -> None:
    outage = [reply(502, b"")] * 8
    unknown = ok(job(0, status="paused"))
    server.script = [ok(job(0)), *outage, unknown, unknown, ok(job(0, status="completed"))]
    seen: list[str] = []
    flow = syncs.wait_for_job(
        "f", "ours", poll_policy(lambda: 0.0, 1e9), on_progress=lambda job: seen.append(job["status"])
    )
    assert driver.run(config, flow)["status"] == "completed"
    assert seen == ["queued", "paused", "paused", "completed"]
    assert sum("unknown status" in record.getMessage() for record in caplog.records) == 1


def test_a_job_with_an_unknown_status_has_ended_once_it_says_when(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [ok(job(0, status="archived", completedAt="2026-01-01T00:00:00Z"))]
    done = driver.run(config, syncs.wait_for_job("f", "ours", poll_policy(lambda: 0.0, 1e9)))
    assert done["status"] == "archived"


def test_the_last_poll_starts_at_the_deadline(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [ok(job(0, status="completed"))]
    assert driver.run(config, syncs.wait_for_job("f", "ours", poll_policy(lambda: 9.0, 1.0)))["id"] == "ours"


def test_a_last_poll_that_fails_is_repeated_once(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    failed = [reply(502, b"")] * (config.max_retries + 1)
    server.script = [*failed, ok(job(0, status="completed"))]
    done = driver.run(config, syncs.wait_for_job("f", "ours", poll_policy(lambda: 9.0, 1.0)))
    assert done["status"] == "completed"
    server.script = [*failed, *failed]
    with pytest.raises(x.BankSyncJobTimeoutError, match="The last poll failed"):
        driver.run(config, syncs.wait_for_job("f", "ours", poll_policy(lambda: 9.0, 1.0)))
    assert server.script == []


def test_a_timeout_carries_the_jobs_last_state(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [ok(job(0, status="in_progress"))]
    with pytest.raises(x.BankSyncJobTimeoutError) as caught:
        driver.run(config, syncs.wait_for_job("f", "ours", poll_policy(lambda: 9.0, 1.0)))
    assert caught.value.job["status"] == "in_progress"


PAGE = b"<html><body>The site is down for maintenance</body></html>"
MISSING = reply(404, FAILED)


def test_a_wait_outlives_replicas_that_do_not_have_the_job_yet(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [MISSING, MISSING, ok(job(0)), MISSING, ok(job(0, status="completed"))]
    policy = poll_policy(lambda: sum(driver.sleeps), 1e9)
    assert driver.run(config, syncs.wait_for_job("f", "ours", policy))["status"] == "completed"


def test_a_404_that_lasts_a_minute_ends_the_wait(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [ok(job(0)), *[MISSING] * 20]
    policy = poll_policy(lambda: sum(driver.sleeps), 1e9)
    with pytest.raises(x.BankSyncNotFoundError):
        driver.run(config, syncs.wait_for_job("f", "ours", policy))
    assert 60 <= sum(driver.sleeps) - 5 < 85


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_wait_outlives_a_gateway_that_answers_for_banksync(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, status: int
) -> None:
    server.script = [*[reply(status, PAGE)] * 40, ok(job(0, status="completed"))]
    policy = poll_policy(lambda: sum(driver.sleeps), 1e9)
    assert driver.run(config, syncs.wait_for_job("f", "ours", policy))["status"] == "completed"


def test_a_timeout_shows_what_the_gateway_sent(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [reply(403, PAGE)] * 9
    with pytest.raises(x.BankSyncJobTimeoutError, match="sent: The site is down for maintenance"):
        driver.run(config, syncs.wait_for_job("f", "ours", poll_policy(lambda: 9.0, 1.0)))


@pytest.mark.parametrize(("status", "kind"), [(401, x.BankSyncAuthError), (403, x.BankSyncPermissionError)])
def test_a_permanent_error_ends_the_wait(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, status: int, kind: type[Exception]
) -> None:
    server.script = [ok(job(0)), reply(status, FAILED)]
    with pytest.raises(kind):
        driver.run(config, syncs.wait_for_job("f", "ours", poll_policy(lambda: 0.0, 1e9)))
    assert len(server.seen) == 2


def test_a_poll_does_not_wait_for_the_rate_limit_past_the_deadline(
    server: ScriptedServer, mocker: Any
) -> None:
    mocker.patch.object(polling, "FINAL_POLL_GRACE", 0.5)
    config = ClientConfig(secret=KEY, base_url=server.url, rate_limit=2, rate_window=60.0)
    server.script = [ok(job(0)), ok(job(0))]
    began = time.monotonic()
    policy = replace(poll_policy(time.monotonic, began + 1.0), initial_interval=0.2)
    with (
        Client(config) as client,
        pytest.raises(x.BankSyncJobTimeoutError, match="rate limit of the key is used up") as caught,
    ):
        client.run(syncs.wait_for_job("f", "ours", policy))
    assert time.monotonic() - began < 30
    assert caught.value.job["status"] == "queued"


def test_a_wait_outlives_an_answer_about_another_job(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    """A cache that mixes answers up must not end the wait, and must not end it with the other job."""
    another, done = job(0, status="failed") | {"id": "theirs"}, job(0, status="completed")
    for flow in (
        syncs.wait_for_job("f", "ours", poll_policy(lambda: 0.0, 1e9)),
        polling.poll_until(JobEnded("f", "ours", log=log), poll_policy(lambda: 0.0, 1e9)),
    ):
        server.script = [ok(another), ok({"feedId": "f"}), ok(done)]
        assert driver.run(config, flow) == done
