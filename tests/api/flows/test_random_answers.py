"""Whatever a server answers to a flow, through both clients: a result, or one of our errors."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from airflow_provider_banksync.api import endpoints, jobs
from airflow_provider_banksync.api.config import ClientConfig
from airflow_provider_banksync.api.flows import listings, polling, syncs, writes
from airflow_provider_banksync.api.rate_limit.limiter import RateLimiter
from airflow_provider_banksync.exceptions import BankSyncError
from tests.support.calls import FEED
from tests.support.client_driver import ClientDriver
from tests.support.listings import list_resource
from tests.support.scripted_server import KEY, RESET, ScriptedServer, reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CASES = 40
FIELDS = (
    *("portal", "type", "startedAt", "startDate", "endDate", "completedAt"),
    *("errorCategory", "parentWorkspaceId", "transactionsProcessed", "transactionsWritten"),
)


def ended(job: Any) -> Any:
    return jobs.raise_unless_succeeded(job, fail_on_job_errors=True)


def waiting() -> Any:
    policy = polling.PollPolicy(5, 20, 0.0, lambda: 1.0, lambda: 0.5)
    return ended((yield from syncs.wait_for_job("f", "j", policy)))


FLOWS: dict[str, Callable[[], Any]] = {
    "sync": lambda: syncs.trigger_sync("f"),
    "sync of days": lambda: syncs.trigger_sync("f", "2026-01-01", "2026-01-31"),
    "create": lambda: writes.create_resource(
        endpoints.create_feed({**FEED, "name": "a"}), endpoints.list_feeds(), name="a"
    ),
    "create single": lambda: writes.create_unique_feed({**FEED, "name": "a"}),
    "delete": lambda: writes.delete_resource(endpoints.delete_feed("f")),
    "cancel": lambda: syncs.cancel_job("f", "j"),
    "wait": waiting,
    "portals": listings.list_portals,
    "accounts": lambda: list_resource("accounts", "family"),
    "jobs": lambda: listings.list_family_jobs(internal=False),
    "all jobs": lambda: listings.list_family_jobs(internal=True),
}

words = st.sampled_from(
    [
        "",
        "a",
        "w",
        "queued",
        "completed",
        "cancelled",
        "manual",
        "2026-01-01",
        "2026-01-01T00:00:00Z",
        "é🥐",
        ".",
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(words, inner, max_size=3),
    max_leaves=40,
)
odd = st.sampled_from([[], {}, ["x"], 5, None])
rows = st.fixed_dictionaries(
    {
        "id": st.just("1") | words,
        "workspaceId": st.just("w") | words,
        **dict.fromkeys(("status", "createdAt", "name", "errors"), words | odd),
    },
    optional=dict.fromkeys(FIELDS, words | values)
    | {"portal": st.none() | st.just({"id": "w", "name": "n"}) | values},
)
dates = st.sampled_from([{}, {"Date": "Thu, 01 Jan 2026 00:00:00 GMT"}, {"Date": "soon"}])
answers = st.one_of(
    st.just(RESET),
    st.builds(lambda row, date: reply(200, {"success": True, "data": row}, **date), rows, dates),
    st.builds(
        lambda status, error, errors: reply(status, {"success": False, "error": error, "errors": errors}),
        st.sampled_from([400, 401, 403, 404, 409, 409, 422, 429, 500, 502, 503]),
        words | values,
        values,
    ),
    st.builds(
        lambda data, date: reply(201, {"success": True, "data": data}, **date),
        st.lists(rows, max_size=30) | values,
        dates,
    ),
    st.just(reply(200, b'{"success": true, "data": [{"id": "caf\\ud83d"}]}')),
)


@pytest.fixture(scope="module")
def hostile() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture(scope="module", autouse=True)
def _no_waiting() -> Iterator[None]:
    async def nap(_: float) -> None:
        pass

    with pytest.MonkeyPatch.context() as patch:
        for client, pause in (("client", lambda _: None), ("async_client", nap)):
            patch.setattr(
                f"airflow_provider_banksync.api.http.{client}.limiter_for", lambda _: RateLimiter(10)
            )
            patch.setattr(f"airflow_provider_banksync.api.http.{client}.sleep", pause)
        yield


@pytest.mark.parametrize("flow", FLOWS)
@settings(
    max_examples=CASES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(script=st.lists(answers, min_size=1, max_size=6))
def test_a_flow_ends_in_a_result_or_one_of_our_errors(
    hostile: ScriptedServer, flow: str, script: list[Any]
) -> None:
    # Both clients get each case: to make one up takes longer than to run it.
    for kind in ("requests", "aiohttp"):
        note(kind)
        check_case(kind, hostile, flow, script)


def check_case(kind: str, hostile: ScriptedServer, flow: str, script: list[Any]) -> None:
    """Drive a flow to its end, and look at how it ended."""
    config = ClientConfig(
        secret=KEY, base_url=hostile.url, timeout=1.0, max_retries=0, internal=flow == "all jobs"
    )
    hostile.script, hostile.seen = list(script), []
    began = time.monotonic()
    value: Any = None
    error: BankSyncError | None = None
    try:
        value = ClientDriver(kind, [], RateLimiter(10)).run(config, FLOWS[flow]())
    except BankSyncError as caught:
        error = caught
    assert time.monotonic() - began < 60
    counted = [seen.method for seen in hostile.seen if seen.method != "GET"]
    if flow == "create single":  # a feed whose name came back changed is deleted again
        assert counted.count("DELETE") <= writes.MAX_WRITE_ATTEMPTS
        counted = [method for method in counted if method != "DELETE"]
    assert len(counted) <= writes.MAX_WRITE_ATTEMPTS
    if error is None:
        if flow == "create single":
            value, created = value
            assert isinstance(created, bool)
        assert value is None or isinstance(value, (dict, list))
        return
    assert KEY not in str(error)
    assert len(str(error)) < 12_000
    assert not (error.permanent and error.transient)
