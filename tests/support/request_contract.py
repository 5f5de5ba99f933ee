"""Checks every request that our clients send in this process against the contract."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.api.http.async_client import AsyncClient
from airflow_provider_banksync.api.http.client import Client
from tests.support.contract import Contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema_rs import Draft202012Validator

    from airflow_provider_banksync.api.config import ClientConfig
    from airflow_provider_banksync.api.messages import Request


@cache
def contract() -> Contract:
    return Contract.load()


@cache
def operations() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Method, path and query parameters of every operation, by its id."""
    found = {}
    for path, item in contract().document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
                query = [parameter for parameter in map(resolved, parameters) if parameter["in"] == "query"]
                found[operation["operationId"]] = (
                    method.upper(),
                    path,
                    {parameter["name"]: resolved(parameter["schema"]) for parameter in query},
                )
    return found


def resolved(thing: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in thing:
        found: Any = contract().document
        for step in thing["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        thing = found
    return thing


def complaint(request: Request, path: str, *, body: bool = True) -> str | None:
    """Say what the contract has against a request of ours, None where it has nothing."""
    if request.operation not in operations():
        return f"{request.operation} is not an operation of the contract"
    method, template, query = operations()[request.operation]
    if template.startswith("/v1/"):  # which the internal surface calls /api
        path = re.sub("^/api/", "/v1/", path)
    pattern = re.sub(r"\\\{\w+\\\}", "[^/?#]+", re.escape(template))
    if request.method != method or not re.fullmatch(pattern, path):
        return f"{request.operation} is {method} {template}, and not {request.method} {path}"
    for name, value in request.query:
        if name not in query:
            return f"{request.operation} has no parameter {name}"
        if wrong := _value(request.operation, name, value):
            return f"{request.operation}: {name}={value}: {wrong}"
    return contract().check_request(method, template, request.body or b"") if body else None


def _value(operation: str, name: str, text: str) -> str | None:
    schema = operations()[operation][2][name]
    value: Any = json.loads(text) if schema.get("type") == "integer" else text
    return next((error.message for error in _validator(operation, name).iter_errors(value)), None)


@cache
def _validator(operation: str, name: str) -> Draft202012Validator:
    """The validator of a query parameter: making one takes milliseconds."""
    from jsonschema_rs import Draft202012Validator

    return Draft202012Validator(
        {**operations()[operation][2][name], "components": contract().document["components"]}
    )


@pytest.fixture(autouse=True)
def our_requests_keep_the_contract(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test during which a client sent what the contract does not know.

    A body that a caller got wrong is the server's to refuse: it is held to the contract where the server took it.
    """
    breaches: list[str | None] = []
    blocking, on_loop = Client._send_http, AsyncClient._send_http

    def exchange(self: Client, config: ClientConfig, request: Request, path: str) -> Any:
        breaches.append(complaint(request, path, body=False))
        response = blocking(self, config, request, path)
        breaches.append(complaint(request, path, body=response.status // 100 == 2))
        return response

    async def exchange_on_loop(self: AsyncClient, config: ClientConfig, request: Request, path: str) -> Any:
        breaches.append(complaint(request, path, body=False))
        response = await on_loop(self, config, request, path)
        breaches.append(complaint(request, path, body=response.status // 100 == 2))
        return response

    monkeypatch.setattr(Client, "_send_http", exchange)
    monkeypatch.setattr(AsyncClient, "_send_http", exchange_on_loop)
    yield
    assert [breach for breach in breaches if breach] == []
