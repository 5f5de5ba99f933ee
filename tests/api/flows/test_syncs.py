"""Starting a sync, and finding the one whose answer was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api.flows import syncs, writes
from airflow_provider_banksync.api.jobs import Ownership
from tests.support.scripted_server import FAILED, RESET, SILENCE, ScriptedServer, ok, reply

if TYPE_CHECKING:
    from airflow_provider_banksync.api.config import ClientConfig
    from tests.support.client_driver import ClientDriver


LOST = pytest.mark.parametrize("lost", [RESET, SILENCE, reply(502, b""), reply(201, b'{"succ')])
#: Clocks say nothing: this job was created long before any request.
OLD = {"createdAt": "2020-01-01T00:00:00Z"}


def job(job_id: str = "ours", **fields: Any) -> dict[str, Any]:
    return {"id": job_id, "feedId": "f", "status": "queued", "type": "manual", **OLD, **fields}


def methods(server: ScriptedServer) -> list[str]:
    return [seen.method for seen in server.seen]


@LOST
def test_a_sync_whose_answer_was_lost_is_found_again(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, lost: Any
) -> None:
    older = job("older")
    server.script = [ok([older]), lost, ok([job(), older])]
    assert driver.run(config, syncs.trigger_sync("f"))["id"] == "ours"
    assert methods(server) == ["GET", "POST", "GET"]


@pytest.mark.parametrize("job_type", ["manual", "api", "user", None, ["odd"]])
def test_a_type_of_job_that_is_new_to_us_may_be_ours(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, job_type: Any
) -> None:
    server.script = [ok([]), RESET, ok([job(type=job_type)])]
    assert driver.run(config, syncs.trigger_sync("f"))["id"] == "ours"


def test_a_list_that_is_late_is_polled_for_fifteen_seconds(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [ok([]), RESET, *[ok([])] * 4, ok([job(status="completed")])]
    assert driver.run(config, syncs.trigger_sync("f"))["id"] == "ours"
    assert driver.sleeps == [1, 2, 4, 8]
    assert methods(server).count("POST") == 1


def test_a_sync_that_never_arrived_is_sent_again(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    others = [
        job("older"),
        job("scheduled", type="scheduled"),
        job("webhook", type="Webhook"),
        job("other days", startDate="2020-01-01"),
        job("no days"),
    ]
    server.script = [ok(others[:1]), RESET, *[ok(others)] * 5, ok(job(), 201)]
    assert driver.run(config, syncs.trigger_sync("f", "2026-01-01"))["id"] == "ours"
    assert methods(server) == ["GET", "POST", *["GET"] * 5, "POST"]
    assert sum(driver.sleeps) == 15


def test_only_an_answer_proves_that_the_job_is_ours(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [ok(job(), 201), RESET, ok([job("another"), job()])]
    ownership = []
    for known in ([], ["ours"]):
        found, how = driver.run(config, syncs.start_sync("f", None, None, known_job_ids=known))
        ownership.append((found["id"], how))
    assert ownership == [("ours", Ownership.PROVED), ("another", Ownership.INFERRED)]


def test_an_answer_with_a_job_that_was_there_before_proves_nothing(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    """BankSync may answer with the job that is running, and not with 409."""
    running = job("running", status="in_progress")
    server.script = [ok([running]), ok(running, 201), *[ok([running])] * 5]
    with pytest.raises(x.BankSyncConflictError, match="job running, which was there before the request"):
        driver.run(config, syncs.trigger_sync("f"))
    assert methods(server).count("POST") == 1
    server.script = [ok(running, 200), ok([running]), ok([job(), running])]
    flow = syncs.start_sync("f", None, None, known_job_ids=["running"])
    assert driver.run(config, flow) == (job(), Ownership.INFERRED), "the answer was of a cache"


@pytest.mark.parametrize("job_type", ["scheduled", "Webhook"])
def test_an_answer_with_a_job_of_banksync_itself_proves_nothing(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, job_type: str
) -> None:
    server.script = [ok(job(type=job_type), 201)]
    flow = syncs.start_sync("f", None, None, known_job_ids=[])
    assert driver.run(config, flow)[1] is Ownership.ATTACHED


def test_a_sync_with_days_is_not_ours_when_we_asked_for_none(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    other = ok([job("january", startDate="2026-01-01", endDate="2026-01-31")])
    server.script = [ok([]), RESET, *[other] * 5, reply(409, FAILED), *[other] * 5]
    with pytest.raises(x.BankSyncConflictError):
        driver.run(config, syncs.trigger_sync("f"))


def test_days_of_ours_are_found_again(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    ours = job(startDate="2026-01-01T00:00:00.000Z", endDate="2026-01-31")
    server.script = [ok([]), RESET, ok([ours])]
    assert driver.run(config, syncs.trigger_sync("f", "2026-01-01", "2026-01-31"))["id"] == "ours"


@pytest.mark.parametrize("listing", [reply(403, FAILED), reply(500, FAILED)], ids=["403", "500"])
def test_a_listing_that_fails_does_not_hide_that_the_outcome_is_unknown(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, listing: bytes
) -> None:
    server.script = [ok([]), RESET, *[listing] * 9]
    with pytest.raises(x.BankSyncConnectionError) as caught:
        driver.run(config, syncs.trigger_sync("f"))
    assert (caught.value.method, caught.value.ambiguous, caught.value.permanent) == ("POST", True, False)
    assert isinstance(caught.value.__cause__, x.BankSyncError)


def test_without_the_list_of_jobs_nothing_is_started(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [reply(403, FAILED)]
    with pytest.raises(x.BankSyncPermissionError):
        driver.run(config, syncs.trigger_sync("f"))
    assert methods(server) == ["GET"]


def test_a_refusal_of_the_second_request_does_not_hide_that_the_first_may_have_worked(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [ok([]), RESET, *[ok([])] * 5, reply(404, FAILED)]
    with pytest.raises(x.BankSyncNotFoundError) as caught:
        driver.run(config, syncs.trigger_sync("f"))
    assert caught.value.ambiguous


def test_a_second_request_that_meets_our_own_job_finds_it(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [ok([]), RESET, *[ok([])] * 5, reply(409, FAILED), ok([]), ok([job()])]
    found, how = driver.run(config, syncs.start_sync("f", None, None, known_job_ids=["x"]))
    assert (found["id"], how) == ("ours", Ownership.INFERRED)
    assert methods(server).count("POST") == 2


def test_a_conflict_at_once_is_somebody_elses_job(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [ok([]), reply(409, FAILED)]
    with pytest.raises(x.BankSyncConflictError) as caught:
        driver.run(config, syncs.trigger_sync("f"))
    assert methods(server) == ["GET", "POST"]
    assert not caught.value.ambiguous


def test_an_outcome_that_stays_unknown_is_an_error_in_bounded_tries(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [ok([]), *[RESET, *[ok([])] * 5] * writes.MAX_WRITE_ATTEMPTS]
    with pytest.raises(x.BankSyncConnectionError):
        driver.run(config, syncs.trigger_sync("f"))
    assert methods(server).count("POST") == writes.MAX_WRITE_ATTEMPTS
    assert server.script == []


MISSING = reply(404, FAILED)
READ_OR_CANCEL = pytest.mark.parametrize(
    ("flow", "method"), [(syncs.get_known_job, "GET"), (syncs.end_job, "DELETE")], ids=["read", "cancel"]
)


@READ_OR_CANCEL
def test_a_job_that_a_replica_does_not_have_yet(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, flow: Any, method: str
) -> None:
    server.script = [MISSING, MISSING, ok(job())]
    assert driver.run(config, flow("f", "ours"))["id"] == "ours"
    assert methods(server) == [method] * 3
    assert driver.sleeps == [1, 2]


@READ_OR_CANCEL
def test_a_job_that_is_not_found_for_a_minute(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, flow: Any, method: str
) -> None:
    server.script = [MISSING] * 20
    with pytest.raises(x.BankSyncNotFoundError):
        driver.run(config, flow("f", "ours"))
    assert sum(driver.sleeps) == 60
    assert len(server.seen) <= 12


def test_a_job_that_has_ended_and_is_then_not_found(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [reply(409, FAILED), MISSING, reply(409, FAILED), ok(job(status="completed"))]
    assert driver.run(config, syncs.end_job("f", "ours"))["status"] == "completed"
    assert methods(server) == ["DELETE", "GET"] * 2
