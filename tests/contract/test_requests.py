"""The requests of our clients cover every operation of the contract and follow it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.config import ClientConfig
from tests.support.calls import CALLS
from tests.support.request_contract import complaint, operations

if TYPE_CHECKING:
    from airflow_provider_banksync.api.messages import Call

#: It finishes what only a person in a browser can begin.
NOT_OURS = {"connectBank"}


def sent_path(call: Call[Any]) -> str:
    internal = call.request.operation == "listAllJobs"
    return ClientConfig(secret="s", internal=internal).path(call.request.path)


@pytest.mark.parametrize(
    "call", CALLS, ids=lambda call: f"{call.request.operation}{dict(call.request.query)}"
)
def test_a_request_is_what_the_contract_says(call: Call[Any]) -> None:
    assert complaint(call.request, sent_path(call)) is None


def test_every_operation_of_the_contract_has_an_endpoint() -> None:
    assert {call.request.operation for call in CALLS} == set(operations()) - NOT_OURS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"operation": "listAll"}, "not an operation of the contract"),
        ({"method": "POST"}, "not POST"),
        ({"path": "/v1/feeds/f/jobs/extra"}, "listJobs is GET"),
        ({"query": (("state", "failed"),)}, "no parameter state"),
        ({"query": (("status", "JobStatus.FAILED"),)}, "status=JobStatus.FAILED"),
        ({"query": (("limit", "0"),)}, "limit=0"),
        ({"body": b"{}"}, "no body is expected"),
    ],
)
def test_a_request_that_violates_the_contract_is_detected(change: dict[str, Any], words: str) -> None:
    request = replace(endpoints.list_jobs("f").request, **change)
    assert words in str(complaint(request, request.path))


def with_body(call: Call[Any], body: bytes) -> Call[Any]:
    return replace(call, request=replace(call.request, body=body))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (endpoints.create_feed({"name": "n"}), "source"),
        (endpoints.update_feed("f", {"dataType": "trades"}), "dataType"),
        (with_body(endpoints.trigger_sync("f"), b'{"startDate": "2026-02-30"}'), "startDate"),
    ],
)
def test_a_body_that_violates_the_contract_is_detected(call: Call[Any], words: str) -> None:
    assert words in str(complaint(call.request, call.request.path))
