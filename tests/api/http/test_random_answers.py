"""Random answers to every endpoint, through both clients: the outcome is a result or a BankSyncError, in time."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from airflow_provider_banksync.api.config import ClientConfig
from airflow_provider_banksync.api.http.async_client import AsyncClient
from airflow_provider_banksync.api.http.client import Client
from airflow_provider_banksync.api.rate_limit.limiter import RateLimiter
from airflow_provider_banksync.exceptions import BankSyncError
from tests.support.calls import CALLS
from tests.support.scripted_server import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.api.messages import Call

pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")  # large examples
KEY = "bsk_" + "h" * 44
CASES = 1500

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=40,
)
envelopes = st.fixed_dictionaries(
    {"success": st.sampled_from([True, True, False, "true", None])},
    optional={
        "data": values | st.lists(st.dictionaries(st.sampled_from(["id", "workspaceId", "portal"]), scalars)),
        "error": values,
        "errors": values,
        "warnings": values,
        "meta": values | st.fixed_dictionaries({"hasMore": st.booleans(), "cursor": scalars}),
    },
)
bodies = st.one_of(
    envelopes.map(lambda envelope: json.dumps(envelope).encode()),
    envelopes.map(lambda envelope: json.dumps(envelope).encode()[:-3]),
    envelopes.map(lambda envelope: json.dumps(envelope, ensure_ascii=False).encode("utf-16")),
    st.binary(max_size=200),
    envelopes.map(lambda envelope: json.dumps(envelope).replace("a", "\\ud83d").encode()),
    st.just(
        json.dumps({"success": False, "error": "1" * 12_000 + "a", "errors": ["2" * 999] * 999}).encode()
    ),
    st.just(b"<html>" + b"x" * 900 + b"</html>"),
    st.just(b'{"success": true, "data": ' + b"[" * 3_000),
    st.just(b'{"success": true, "data": {"n": 1e999999, "m": -0.0, "k": 1' + b"0" * 400 + b"}}"),
)
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30)
headers = st.dictionaries(
    st.sampled_from(
        ["Retry-After", "Date", "Content-Type", "Location", "Set-Cookie", "X-Odd", "Content-Language"]
    ),
    header_values
    | st.sampled_from(["0", "-1", "1e9", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 32 Foo 99999 99:99:99"]),
    max_size=4,
)
#: What is done to the answer on its way: nothing, mostly; or a wrong length, a packing that it has not, half of it.
mangles = st.sampled_from(
    ["", "", "", "long", "short", "gzip", "not gzip", "deflate", "half", "no head", "bad chunks"]
)
statuses = st.sampled_from([200, 201, 204, 206, 301, 304, 307]) | st.integers(200, 599)


def answer(status: int, head: dict[str, str], body: bytes, mangle: str) -> bytes:
    head = {**head, "Connection": "close"}
    if mangle == "gzip":
        body = gzip.compress(body)
    if mangle in ("gzip", "not gzip"):
        head["Content-Encoding"] = "gzip"
    if mangle == "deflate":
        head["Content-Encoding"] = "deflate"
    if mangle == "bad chunks":
        head["Transfer-Encoding"] = "chunked"
    elif mangle == "long":
        head["Content-Length"] = str(len(body) + 7)
    elif mangle == "short":
        head["Content-Length"] = str(len(body) // 2)
    elif mangle != "half":
        head["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    whole = f"HTTP/1.1 {status} Odd\r\n{lines}\r\n".encode("latin-1") + body
    if mangle == "half":
        return whole[: len(whole) // 2]
    return body if mangle == "no head" else whole


@pytest.fixture(scope="module")
def hostile() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture(scope="module", autouse=True)
def _a_budget_for_each_request() -> Iterator[None]:
    """A 429 pauses all who use the key; here, each request is on its own."""
    with pytest.MonkeyPatch.context() as patch:
        for client in ("client", "async_client"):
            patch.setattr(
                f"airflow_provider_banksync.api.http.{client}.limiter_for", lambda _: RateLimiter(10)
            )
        yield


def run_blocking(config: ClientConfig, call: Call[Any]) -> Any:
    with Client(config) as client:
        return client.send(call).value


def run_on_a_loop(config: ClientConfig, call: Call[Any]) -> Any:
    async def main() -> Any:
        async with AsyncClient(config) as client:
            return (await client.send(call)).value

    return asyncio.run(main())


@settings(
    max_examples=CASES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(call=st.sampled_from(CALLS), status=statuses, head=headers, body=bodies, mangle=mangles)
def test_a_result_or_one_of_our_errors(
    hostile: ScriptedServer, call: Any, status: int, head: dict[str, str], body: bytes, mangle: str
) -> None:
    # Both clients get each case: to make one up takes longer than to run it.
    for run in (run_blocking, run_on_a_loop):
        note(run.__name__)
        check_case(run, hostile, call, status, body, answer(status, head, body, mangle), mangle)


def check_case(
    run: Any, hostile: ScriptedServer, call: Any, status: int, body: bytes, sent: bytes, mangle: str
) -> None:
    """Send a call, and hold what comes of it against the answer that the server sends."""
    config = ClientConfig(
        secret=KEY,
        base_url=hostile.url,
        timeout=1.0,
        max_retries=0,
        internal=call.request.operation == "listAllJobs",
    )
    hostile.script = [sent]
    began = time.monotonic()
    value: Any = None
    error: BankSyncError | None = None
    try:
        value = run(config, call)
    except BankSyncError as caught:
        error = caught
    assert time.monotonic() - began < 60
    if error is None:
        check_result(call, status, body if mangle != "short" else body[: len(body) // 2], value)
        return
    assert KEY not in str(error)
    assert "<html" not in str(error)
    assert len(str(error)) < 8000
    assert error.method == call.request.method
    assert not (error.permanent and error.transient)


def check_result(call: Call[Any], status: int, body: bytes, value: Any) -> None:
    """Hold a result against what the server sent."""
    assert status // 100 == 2
    assert json.loads(body)["success"] is True
    assert value is None or isinstance(value, (dict, list)) or hasattr(value, "rows")
    if ("scope", "family") in call.request.query:
        assert all(isinstance(row["workspaceId"], str) and row["workspaceId"] for row in value)
