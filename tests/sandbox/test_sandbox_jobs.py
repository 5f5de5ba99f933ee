"""The states of a sync job. The tests move the clock and never sleep."""

from __future__ import annotations

from datetime import datetime

import pytest

DATES = {"startDate": "2026-02-01", "endDate": "2026-02-28"}


@pytest.fixture
def start(fresh, client_of):
    """Start a sandbox. Returns it with a client of its owner and the parent's first feed of a type."""

    def begin(data_type="transactions", **settings):
        sandbox = fresh(**settings)
        client = client_of(sandbox)
        feed = next(row for row in client.data("/v1/feeds") if row["dataType"] == data_type)
        return sandbox, client, f"/v1/feeds/{feed['id']}"

    return begin


def test_a_job_is_queued_then_in_progress_then_completed(start):
    sandbox, client, feed = start(job_seconds=(40, 40))
    created = client.post(f"{feed}/sync")
    assert created.status_code == 201
    job = created.json()["data"]
    assert (job["status"], job["type"], job["transactionsProcessed"], job["errors"]) == (
        "queued",
        "manual",
        0,
        [],
    )
    assert (job["feedId"], job["workspaceId"]) == (feed.rpartition("/")[2], sandbox.workspace_id)
    assert job["createdAt"] == job["updatedAt"] == "2026-03-04T12:00:00.000Z"
    assert not {"startedAt", "completedAt", "startDate", "endDate", "errorCategory"} & set(job)

    sandbox.clock.advance(20)
    running = client.data(f"{feed}/jobs/{job['id']}")
    assert running["status"] == "in_progress"
    assert job["createdAt"] < running["startedAt"] < running["updatedAt"] == "2026-03-04T12:00:20.000Z"

    sandbox.clock.advance(20)
    done = client.data(f"{feed}/jobs/{job['id']}")
    assert (done["status"], done["completedAt"], done["errors"]) == (
        "completed",
        "2026-03-04T12:00:40.000Z",
        [],
    )
    assert done["transactionsProcessed"] == done["transactionsWritten"] > 0
    sandbox.clock.advance(86_400)
    assert client.data(f"{feed}/jobs/{job['id']}") == done


def test_counts_grow_while_a_job_runs_and_never_shrink(start):
    sandbox, client, feed = start(job_seconds=(40, 40))
    job = client.post(f"{feed}/sync", json=DATES).json()["data"]["id"]
    seen = []
    for _ in range(41):
        row = client.data(f"{feed}/jobs/{job}")
        seen.append((row["transactionsProcessed"], row["transactionsWritten"]))
        sandbox.clock.advance(1)
    assert seen == sorted(seen)
    assert len(set(seen)) > 20


def test_reading_a_job_does_not_change_it(start):
    sandbox, client, feed = start()
    job = client.post(f"{feed}/sync").json()["data"]["id"]
    sandbox.clock.advance(10)
    bodies = {client.get(f"{feed}/jobs/{job}").content for _ in range(5)}
    assert len(bodies) == 1


def test_one_job_at_a_time_per_feed(start, refused):
    sandbox, client, feed = start(job_seconds=(40, 40))
    other = f"/v1/feeds/{client.data('/v1/feeds')[1]['id']}"
    assert client.post(f"{feed}/sync").status_code == 201
    for seconds in (0, 1, 38.999):
        sandbox.clock.advance(seconds)
        assert refused(client.post(f"{feed}/sync"))[0] == 409
    assert client.post(f"{other}/sync").status_code == 201
    assert len(sandbox.jobs) == 2
    sandbox.clock.advance(0.001)
    assert client.post(f"{feed}/sync").status_code == 201


@pytest.mark.parametrize("seconds", [0, 20], ids=["queued", "in_progress"])
def test_a_running_job_can_be_cancelled_and_frees_its_feed(start, refused, seconds):
    sandbox, client, feed = start(job_seconds=(40, 40))
    job = client.post(f"{feed}/sync").json()["data"]["id"]
    sandbox.clock.advance(seconds)
    cancelled = client.delete(f"{feed}/jobs/{job}")
    assert cancelled.status_code == 200
    row = cancelled.json()["data"]
    assert (row["id"], row["status"]) == (job, "cancelled")
    assert ("startedAt" in row) == (seconds == 20)
    assert client.post(f"{feed}/sync").status_code == 201
    sandbox.clock.advance(3_600)
    assert client.data(f"{feed}/jobs/{job}") == row
    assert refused(client.delete(f"{feed}/jobs/{job}")) == (409, "Job has already ended: it is cancelled")


def test_a_job_that_has_ended_cannot_be_cancelled(start, refused):
    sandbox, client, feed = start(job_seconds=(40, 40))
    job = client.post(f"{feed}/sync").json()["data"]["id"]
    sandbox.clock.advance(40)
    assert refused(client.delete(f"{feed}/jobs/{job}"))[0] == 409
    assert client.data(f"{feed}/jobs/{job}")["status"] == "completed"


def test_a_job_of_zero_seconds_ends_at_once(start):
    _, client, feed = start(job_seconds=(0, 0))
    assert client.post(f"{feed}/sync").json()["data"]["status"] == "completed"


def test_jobs_take_the_configured_time(start):
    sandbox, client, feed = start(job_seconds=(10, 12))
    lengths = []
    for _ in range(10):
        job = client.post(f"{feed}/sync").json()["data"]["id"]
        sandbox.clock.advance(60)
        row = client.data(f"{feed}/jobs/{job}")
        created, ended = (datetime.fromisoformat(row[name][:-1]) for name in ("createdAt", "completedAt"))
        lengths.append((ended - created).total_seconds())
    assert all(10 <= length <= 12 for length in lengths)
    assert len(set(lengths)) > 5


def test_time_can_run_faster(start):
    sandbox, client, feed = start(job_seconds=(40, 40))
    job = client.post(f"{feed}/sync").json()["data"]["id"]
    sandbox.clock.set_scale(100_000)
    for _ in range(1_000):
        if client.data(f"{feed}/jobs/{job}")["status"] == "completed":
            return
    pytest.fail("40 sandbox seconds are over in less than a real millisecond at this pace")


@pytest.mark.parametrize(
    "body",
    [
        {"startDate": "2026-2-1"},
        {"startDate": "20260201"},
        {"startDate": "2026-02-30"},
        {"endDate": "2026-W09-1"},
        {"startDate": "2026-02-01T00:00:00Z"},
        {"startDate": 20260201},
        {"startDate": None},
        {"startDate": "2026-03-02", "endDate": "2026-03-01"},
        {"from": "2026-02-01"},
        {"startDate": "2026-02-01", "\ud800": 1},
        [],
        "2026-02-01",
    ],
    ids=str,
)
def test_a_bad_body_is_400_and_starts_nothing(start, refused, body):
    sandbox, client, feed = start()
    assert refused(client.post(f"{feed}/sync", json=body))[0] == 400
    assert sandbox.jobs == []


@pytest.mark.parametrize(
    "body", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"startDate": NaN}'], ids=["cut", "bytes", "deep", "NaN"]
)
def test_a_body_that_is_not_json_is_400(start, refused, body):
    sandbox, client, feed = start()
    response = client.post(f"{feed}/sync", data=body, headers={"Content-Type": "application/json"})
    assert refused(response) == (400, "Request body is not valid JSON")
    assert sandbox.jobs == []


def test_a_body_of_another_type_is_400(start, refused):
    _, client, feed = start()
    assert refused(client.post(f"{feed}/sync", data=DATES)) == (400, "Content-Type must be application/json")


def test_a_job_has_the_requested_dates(start):
    _, client, feed = start()
    job = client.post(f"{feed}/sync", json=DATES).json()["data"]
    assert {name: job[name] for name in DATES} == DATES


@pytest.mark.parametrize("body", [None, {}, {"startDate": "2026-02-01"}, {"endDate": "2026-02-28"}], ids=str)
def test_trades_are_only_synced_for_given_days(start, refused, body):
    _, client, feed = start("trades")
    assert refused(client.post(f"{feed}/sync", json=body)) == (
        400,
        "startDate and endDate are required for trades feeds",
    )
    assert client.post(f"{feed}/sync", json=DATES).status_code == 201


def test_learn_takes_no_fields(start, refused):
    _, client, feed = start()
    assert refused(client.post(f"{feed}/learn", json={"rows": 3}))[0] == 400
    assert client.post(f"{feed}/learn", json={}).status_code == 200


def test_a_feed_of_a_broken_bank_fails_by_its_name(fresh, client_of):
    sandbox = fresh(portals=4, broken_banks=2)
    client = client_of(sandbox)
    feeds = client.data("/v1/feeds", params={"scope": "family"})
    banks = {bank["id"]: bank for bank in client.data("/v1/banks", params={"scope": "family"})}
    for feed in feeds:
        body = DATES if feed["dataType"] == "trades" else None
        assert (
            client.post(f"/v1/feeds/{feed['id']}/sync", json=body, workspace=feed["workspaceId"]).status_code
            == 201
        )
    sandbox.clock.advance(3_600)
    outcomes = set()
    for feed, job in zip(feeds, sandbox.jobs, strict=True):
        read = {
            banks[account["bankId"]]["name"]: banks[account["bankId"]]
            for account in feed["sourceConfig"]["accounts"]
        }
        broken = [name for name, bank in read.items() if bank["connectionStatus"]["status"] != "connected"]
        outcomes.add(job["status"])
        assert job["status"] == ("failed" if broken else "completed")
        if broken:
            assert (job["errorCategory"], job["transactionsWritten"]) == ("authentication", 0)
            assert broken[0] in job["errors"][-1]["message"]
            assert job["errors"][-1]["timestamp"] == job["completedAt"]
    assert outcomes == {"failed", "completed"}


def test_a_destination_that_rejects_rows_fails_the_job(start):
    sandbox, client, feed = start(failure_share=1)
    client.post(f"{feed}/sync")
    sandbox.clock.advance(60)
    (job,) = sandbox.jobs
    assert (job["status"], job["errorCategory"], job["transactionsWritten"]) == ("failed", "destination", 0)
    assert job["transactionsProcessed"] > 0


def test_a_completed_job_may_carry_rows_that_were_not_written(start):
    sandbox, client, feed = start(row_error_share=1)
    client.post(f"{feed}/sync", json=DATES)
    sandbox.clock.advance(60)
    (job,) = sandbox.jobs
    assert job["status"] == "completed"
    assert job["transactionsProcessed"] - job["transactionsWritten"] == len(job["errors"]) > 0
    assert all(job["startedAt"] <= error["timestamp"] <= job["completedAt"] for error in job["errors"])


def test_a_list_returns_the_newest_twenty_first(start):
    sandbox, client, feed = start()
    started = []
    for _ in range(25):
        started.append(client.post(f"{feed}/sync").json()["data"]["id"])
        sandbox.clock.advance(60)
    listed = client.data(f"{feed}/jobs")
    assert [job["id"] for job in listed] == started[:-21:-1]
    assert [job["id"] for job in client.data(f"{feed}/jobs?limit=3")] == started[:-4:-1]
    everything = client.data(f"{feed}/jobs?limit=999999999")
    assert [job["createdAt"] for job in everything] == sorted(
        (job["createdAt"] for job in everything), reverse=True
    )
    assert {job["type"] for job in everything} == {"manual", "scheduled"}


def test_a_list_can_be_narrowed_to_a_status(start):
    _, client, feed = start()
    job = client.post(f"{feed}/sync").json()["data"]["id"]
    assert [row["id"] for row in client.data(f"{feed}/jobs?status=queued")] == [job]
    assert {row["status"] for row in client.data(f"{feed}/jobs?status=completed&limit=50")} == {"completed"}
    assert client.data(f"{feed}/jobs?status=cancelled") == []


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=x", "limit=1.5", "limit=", "limit=%D9%A3", "status=done", "status="],
)
@pytest.mark.parametrize("path", ["{feed}/jobs", "/api/jobs"])
def test_bad_limits_and_statuses_are_400(start, refused, path, query):
    _, client, feed = start()
    assert refused(client.get(f"{path.format(feed=feed)}?{query}"))[0] == 400


def test_past_scheduled_jobs_can_be_read(start):
    _, client, feed = start()
    history = client.data(f"{feed}/jobs?limit=50")
    assert len(history) > 20
    for job in history:
        assert (job["type"], job["status"]) == ("scheduled", "completed")
        assert job["completedAt"] < "2026-03-04T12:00:00.000Z"
    assert client.data(f"{feed}/jobs/{history[-1]['id']}") == history[-1]


def test_the_internal_surface_lists_the_jobs_of_all_feeds(fresh, client_of):
    sandbox = fresh()
    client = client_of(sandbox)
    feeds = client.data("/v1/feeds", params={"scope": "family"})
    started = {}
    for feed in feeds:
        if feed["dataType"] != "trades":
            path = f"/v1/feeds/{feed['id']}/sync"
            started[client.post(path, workspace=feed["workspaceId"]).json()["data"]["id"]] = feed
            sandbox.clock.advance(0.5)
    listed = client.data("/api/jobs", params={"scope": "family", "limit": len(started)})
    assert [job["id"] for job in listed] == list(reversed(started))
    for job in listed:
        feed = started[job["id"]]
        assert (job["feedId"], job["workspaceId"], job["portal"]) == (
            feed["id"],
            feed["workspaceId"],
            feed["portal"],
        )
    assert len(client.data("/api/jobs", params={"scope": "family"})) == 20
    own = client.data("/api/jobs", params={"limit": 500})
    assert {job["workspaceId"] for job in own} == {sandbox.workspace_id}
    assert not any("portal" in job for job in own)
