"""The fields of a connection become a client's settings, or an error that names the field."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from airflow_provider_banksync.api.config import USER_AGENT, ClientConfig
from airflow_provider_banksync.exceptions import BankSyncConfigError

KEY = "bsk_" + "k" * 44


def config(**fields: Any) -> ClientConfig:
    given: dict[str, Any] = {
        "conn_id": "c",
        "host": None,
        "port": None,
        "schema": None,
        "password": KEY,
        "extra": None,
    }
    given.update(fields)
    if isinstance(given["extra"], dict):
        given["extra"] = json.dumps(given["extra"])
    return ClientConfig.from_connection(**given)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "https://api.banksync.io"),
        ({"host": ""}, "https://api.banksync.io"),
        ({"host": "api.banksync.io"}, "https://api.banksync.io"),
        ({"host": "api.banksync.io", "schema": "https"}, "https://api.banksync.io"),
        ({"host": "https://api.banksync.io/"}, "https://api.banksync.io"),
        ({"host": "https://api.banksync.io/v1"}, "https://api.banksync.io"),
        ({"host": "api.banksync.io/v1/"}, "https://api.banksync.io"),
        ({"host": "api.banksync.io", "schema": "v1"}, "https://api.banksync.io"),
        ({"host": "eu.banksync.io", "port": 8443}, "https://eu.banksync.io:8443"),
        ({"host": "https://eu.banksync.io:9443", "port": 1}, "https://eu.banksync.io:9443"),
        ({"host": "gateway.example/banksync/v1"}, "https://gateway.example/banksync"),
        ({"host": "http://127.0.0.1:8765"}, "http://127.0.0.1:8765"),
        ({"host": "127.0.0.1", "port": 8765, "schema": "http"}, "http://127.0.0.1:8765"),
        ({"host": "http://localhost:8765/v1"}, "http://localhost:8765"),
        ({"host": "http://[::1]:8765"}, "http://[::1]:8765"),
        ({"host": "  api.banksync.io  "}, "https://api.banksync.io"),
        ({"host": "api.banksync.io/V1"}, "https://api.banksync.io"),
        ({"host": "https://api.banksync.io:443"}, "https://api.banksync.io"),
        ({"host": "api.banksync.io", "port": 443}, "https://api.banksync.io"),
        ({"host": "http://127.0.0.1:80"}, "http://127.0.0.1"),
        ({"host": "::1", "schema": "http", "port": 8765}, "http://[::1]:8765"),
        ({"host": "2001:db8::1"}, "https://[2001:db8::1]"),
        ({"host": "gateway.example/api/v1"}, "https://gateway.example/api"),
    ],
)
def test_base_url_forms(fields: dict[str, Any], expected: str) -> None:
    assert config(**fields).base_url == expected


@pytest.mark.parametrize(
    ("host", "base", "path"),
    [
        ("https://internal-api.banksync.io/api", "https://internal-api.banksync.io", "/api/feeds"),
        ("internal-api.banksync.io/v1", "https://internal-api.banksync.io", "/api/feeds"),
        ("internal-api.banksync.io", "https://internal-api.banksync.io", "/api/feeds"),
        ("http://127.0.0.1:1/api/", "http://127.0.0.1:1", "/api/feeds"),
        ("http://127.0.0.1:1/v1/", "http://127.0.0.1:1", "/v1/feeds"),
    ],
)
def test_surfaces(host: str, base: str, path: str) -> None:
    settings = config(host=host)
    assert (settings.base_url, settings.path("/v1/feeds")) == (base, path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"password": None}, "API key (password) is empty"),
        ({"password": "  "}, "API key (password) is empty"),
        ({"password": "sk_live_123"}, "starts with 'bsk_'"),
        ({"password": "bsk_a b"}, "spaces"),
        ({"password": "bsk_a\r\nX-Evil: 1"}, "spaces"),
        ({"password": "bsk_é"}, "no key has"),
        ({"host": "http://api.banksync.io"}, "plain http://"),
        ({"host": "http://127.0.0.1.evil.example"}, "plain http://"),
        ({"host": "api.banksync.io", "schema": "http"}, "plain http://"),
        ({"host": "ftp://api.banksync.io"}, "ftp://"),
        ({"host": "https://user:secret@api.banksync.io"}, "field Base URL (host)"),
        ({"host": "https://api.banksync.io?x=1"}, "field Base URL (host)"),
        ({"host": "https://"}, "field Base URL (host)"),
        ({"host": "api.banksync.io:port"}, "field Base URL (host)"),
        ({"host": "api banksync"}, "field Base URL (host)"),
        ({"host": "https:/api.banksync.io"}, "field Base URL (host)"),
        ({"host": "http:api.banksync.io"}, "field Base URL (host)"),
        ({"schema": "bsk_secret"}, "field Schema"),
        ({"workspace_id": "a b"}, "workspace_id must be"),
        ({"extra": {"verify": "x" * 5000}}, "CA bundle"),
        ({"extra": {"verify": "a\x00b"}}, "CA bundle"),
        ({"schema": "nonsense"}, "field Schema"),
        ({"extra": '{"workspace_id": "w1"'}, "Extra is not a JSON object"),
        ({"extra": "[1]"}, "Extra is not a JSON object"),
        ({"extra": "5"}, "Extra is not a JSON object"),
        ({"extra": {"timeout": 10**400}}, "timeout in the field Extra"),
        ({"extra": {"workspace_id": "None"}}, "workspace_id must be"),
        ({"extra": {"auth": "basic"}}, "auth in the field Extra"),
        ({"extra": {"auth": "bearer"}, "password": "eyJ"}, "needs workspace_id"),
        ({"extra": {"workspace_id": 7}}, "workspace_id in the field Extra"),
        ({"extra": {"workspace_id": "a\nb"}}, "workspace_id must be"),
        ({"extra": {"timeout": "soon"}}, "timeout in the field Extra"),
        ({"extra": {"timeout": 0}}, "timeout in the field Extra"),
        ({"extra": {"timeout": float("nan")}}, "timeout in the field Extra"),
        ({"extra": {"timeout": True}}, "timeout in the field Extra"),
        ({"extra": {"max_retries": 1.5}}, "max_retries in the field Extra"),
        ({"extra": {"max_retries": -1}}, "max_retries in the field Extra"),
        ({"extra": {"verify": "/no/such/bundle.pem"}}, "CA bundle"),
    ],
)
def test_refused_before_anything_is_sent(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BankSyncConfigError) as caught:
        config(**fields)
    assert words in str(caught.value)
    assert "Connection 'c':" in str(caught.value)
    assert caught.value.permanent
    for secret in ("sk_live_123", "secret", "eyJ"):
        assert secret not in str(caught.value)


def test_extra_as_the_form_saves_it() -> None:
    settings = config(
        extra={"workspace_id": "", "auth": "", "timeout": "7.5", "max_retries": "2", "verify": "False"}
    )
    assert (settings.workspace_id, settings.bearer) == (None, False)
    assert (settings.timeout, settings.max_retries, settings.verify) == (7.5, 2, False)


def test_a_workspace_may_come_from_elsewhere() -> None:
    assert config(workspace_id="ws2", extra={"workspace_id": "ws1"}).workspace_id == "ws2"
    assert config(workspace_id="ws2", extra={"auth": "bearer"}, password="tok").workspace_id == "ws2"


def test_unknown_names_in_extra_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert config(extra={"workspaceId": "w1", "timeout": 5}).workspace_id is None
    assert "'workspaceId'" in caplog.text
    assert "w1" not in caplog.text
    caplog.clear()
    config(extra={"workspace_id": "w1", "timeout": 5, "verify": True})
    assert caplog.text == ""


def test_headers_of_both_authentications() -> None:
    by_key = config(extra={"workspace_id": "ws1"}).headers(None)
    assert by_key == {
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "X-API-Key": KEY,
        "X-Workspace-Id": "ws1",
    }
    by_token = config(password="tok", extra={"auth": "bearer", "workspace_id": "ws1"}).headers("portal2")
    assert by_token["Authorization"] == "Bearer tok"
    assert by_token["X-Workspace-Id"] == "portal2"
    assert "X-API-Key" not in by_token


@pytest.mark.parametrize("workspace_id", ["a\r\nX-Evil: 1", "a b", "ü", "a\x00"])
def test_a_workspace_id_cannot_inject_a_header(workspace_id: str) -> None:
    with pytest.raises(BankSyncConfigError, match="workspace_id"):
        config().headers(workspace_id)


def test_the_secret_is_not_in_the_repr() -> None:
    settings = config()
    assert KEY not in repr(settings)
    with pytest.raises(TypeError, match="key"):
        pickle.dumps(settings)
