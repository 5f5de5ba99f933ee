"""Rate limits: admitted and refused requests, and what a test can read of them."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from airflow_provider_banksync.sandbox import BankSyncSandbox, RateLimit, SandboxError


def test_without_a_limit_nobody_is_refused(family, client):
    assert {client.get("/v1/whoami").status_code for _ in range(120)} == {200}


def test_a_key_above_its_limit_gets_429_with_retry_after(fresh, client_of, refused):
    sandbox = fresh(rate_limit=RateLimit(3, window=10))
    client = client_of(sandbox)
    for _ in range(3):
        assert client.get("/v1/whoami").status_code == 200
        sandbox.clock.advance(2)
    response = client.get("/v1/whoami")
    assert refused(response) == (429, "Rate limit exceeded")
    assert response.headers["Retry-After"] == "4"
    sandbox.clock.advance(3.999)
    assert client.get("/v1/whoami").headers["Retry-After"] == "1"
    sandbox.clock.advance(0.001)
    assert client.get("/v1/whoami").status_code == 200
    assert client.get("/v1/whoami").headers["Retry-After"] == "2"


def test_the_window_slides(fresh, client_of):
    sandbox = fresh(rate_limit=RateLimit(2, window=10))
    client = client_of(sandbox)
    seen = []
    for seconds in (0, 9, 0.5, 0.5, 0.5, 8.5):
        sandbox.clock.advance(seconds)
        seen.append(client.get("/v1/whoami").status_code)
    assert seen == [200, 200, 429, 200, 429, 200]


def test_a_date_is_by_the_clock_of_the_sandbox(fresh, client_of):
    sandbox = fresh(rate_limit=RateLimit(1, window=7.2, retry_after="date"))
    client = client_of(sandbox)
    client.get("/v1/whoami")
    response = client.get("/v1/whoami")
    told = parsedate_to_datetime(response.headers["Retry-After"])
    assert (told - parsedate_to_datetime(response.headers["Date"])).total_seconds() == 8


def test_retry_after_is_in_real_seconds_if_time_runs_faster(fresh, client_of):
    sandbox = fresh(rate_limit=RateLimit(1, window=600), time_scale=20)
    client = client_of(sandbox)
    client.get("/v1/whoami")
    assert 25 <= int(client.get("/v1/whoami").headers["Retry-After"]) <= 30


def test_a_number_is_a_limit_per_minute(fresh, client_of):
    sandbox = fresh(rate_limit=2)
    client = client_of(sandbox)
    answers = [client.get("/v1/whoami") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].headers["Retry-After"] == "60"


def test_each_key_has_its_own_limit(fresh, client_of):
    sandbox = fresh(rate_limit=2)
    other = sandbox.create_key()
    for _ in range(3):
        assert client_of(sandbox, "bsk_wrong").get("/v1/whoami").status_code == 401
    for key in (sandbox.api_key, other):
        client = client_of(sandbox, key)
        assert [client.get("/v1/whoami").status_code for _ in range(3)] == [200, 200, 429]


def test_what_is_refused_is_not_done(fresh, client_of):
    sandbox = fresh(rate_limit=1)
    client = client_of(sandbox)
    feed = sandbox.world.feeds(sandbox.world.parent)[0].id
    assert [client.post(f"/v1/feeds/{feed}/sync").status_code for _ in range(2)] == [201, 429]
    assert len(sandbox.jobs) == 1


def test_traffic_counts_the_requests_of_each_key(fresh, client_of):
    sandbox = fresh(rate_limit=RateLimit(3, window=10))
    other = sandbox.create_key()
    client_of(sandbox, other).get("/v1/feeds")
    client = client_of(sandbox)
    for seconds in (0, 4, 4, 1, 3):
        sandbox.clock.advance(seconds)
        client.get("/v1/whoami")
    everybody, owner = sandbox.traffic(), sandbox.traffic(sandbox.api_key)
    assert (everybody.requests, owner.requests, sandbox.traffic(other).requests) == (6, 5, 1)
    assert (owner.refused, owner.peak) == (1, 3)
    assert [record.status for record in owner.records] == [200, 200, 200, 429, 200]
    assert {record.path for record in sandbox.traffic(other).records} == {"/v1/feeds"}
    assert owner.records[-1].time == sandbox.clock.now()
    with pytest.raises(SandboxError, match="no such key"):
        sandbox.traffic("bsk_unknown")


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda: RateLimit(0), "rate_limit must be between 1"),
        (lambda: RateLimit(5, window=0), "window"),
        (lambda: RateLimit(5, window=float("nan")), "window"),
        (lambda: RateLimit(5, retry_after="soon"), "retry_after must be"),
        (lambda: BankSyncSandbox(rate_limit=-1), "rate_limit must be between 1"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(wrong, complaint):
    with pytest.raises(SandboxError, match=complaint):
        wrong()
