"""The contract is complete and used, and its checks detect violations."""

from __future__ import annotations

import json

import pytest
import requests

from airflow_provider_banksync.sandbox import BankSyncSandbox
from airflow_provider_banksync.sandbox.http.operations import OPERATIONS
from tests.support.contract import Contract
from tests.support.response_contract import BREACHES, take_breaches


@pytest.fixture(scope="module")
def contract():
    return Contract.load()


def test_the_contract_and_the_sandbox_have_the_same_operations(contract):
    assert contract.operations() == {(operation.method, operation.path) for operation in OPERATIONS}


def test_every_operation_has_the_success_that_the_sandbox_gives(contract):
    for operation in OPERATIONS:
        responses = contract.document["paths"][operation.path][operation.method.lower()]["responses"]
        assert [status for status in responses if status < "300"] == [str(operation.status)]


def test_every_part_of_the_contract_is_used(contract):
    text = json.dumps(contract.document)
    for kind, parts in contract.document["components"].items():
        if kind != "securitySchemes":
            unused = [name for name in parts if f'"#/components/{kind}/{name}"' not in text]
            assert unused == []


OK = {"success": True, "data": {"workspaceId": "w", "workspaceName": "n"}}


@pytest.mark.parametrize(
    ("status", "media_type", "body", "complaint"),
    [
        (200, "application/json", OK, None),
        (200, "application/json; charset=utf-8", OK, None),
        (200, "application/json", {**OK, "new": 1}, None),
        (200, "application/json", {"success": True}, "data"),
        (200, "application/json", {**OK, "success": "yes"}, "success"),
        (200, "application/json", {"success": True, "data": {"workspaceId": ""}}, "data"),
        (200, "text/html", OK, "came as text/html"),
        (200, None, OK, "came as nothing"),
        (204, "application/json", OK, "204 is not among"),
        (404, "application/json", OK, "error"),
        (404, "application/json", {"success": False, "error": "Not found"}, None),
        (429, "application/json", {"success": False, "error": "Slowly"}, "lacks the header Retry-After"),
    ],
)
def test_a_response_that_violates_the_contract_is_detected(contract, status, media_type, body, complaint):
    found = contract.check_response("GET", "/v1/whoami", status, media_type, {}, json.dumps(body).encode())
    assert (found is None) if complaint is None else (complaint in str(found))


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b'{"startDate": "2026-02-01"}', None),
        (b"", None),
        (b'{"startDate": "2026-02-30"}', "startDate"),
        (b'{"startdate": "2026-02-01"}', "startdate"),
    ],
)
def test_a_request_is_held_to_the_contract_too(contract, body, complaint):
    found = contract.check_request("POST", "/v1/feeds/{fid}/sync", body)
    assert (found is None) if complaint is None else (complaint in str(found))
    assert contract.check_request("GET", "/v1/feeds", b"") is None
    assert "no body" in str(contract.check_request("GET", "/v1/feeds", b"{}"))
    assert "required" in str(contract.check_request("POST", "/v1/feeds", b""))


def test_a_sandbox_that_violates_the_contract_fails_the_test():
    with BankSyncSandbox(portals=1) as sandbox:
        sandbox.world.parent.__dict__["name"] = 7  # a workspace whose name is not a string
        headers = {"X-API-Key": sandbox.api_key, "User-Agent": "tests/1.0"}
        response = requests.get(f"{sandbox.url}/v1/whoami", headers=headers, timeout=300)
    assert response.status_code == 500
    assert "broke its contract" in response.json()["error"]
    (line,) = take_breaches()
    assert line.startswith("GET /v1/whoami: data/workspaceName")
    assert not BREACHES.exists()


def test_without_the_variable_no_response_is_checked(monkeypatch):
    monkeypatch.delenv("SANDBOX_RESPONSE_CHECK")
    with BankSyncSandbox(portals=1) as sandbox:
        sandbox.world.parent.__dict__["name"] = 7
        headers = {"X-API-Key": sandbox.api_key, "User-Agent": "tests/1.0"}
        response = requests.get(f"{sandbox.url}/v1/whoami", headers=headers, timeout=300)
    assert response.json()["data"]["workspaceName"] == 7
    assert take_breaches() == []
