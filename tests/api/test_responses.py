"""The result or error of each answer, and its message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api import endpoints, responses
from airflow_provider_banksync.api.messages import Call, Response

KEY = "bsk_" + "s" * 44


def decode(call: Call[Any], status: int, body: Any, **headers: str) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return responses.parse_response(call, Response(status, names, raw), path=call.request.path, secret=KEY)


def failure(words: str = "No.") -> dict[str, Any]:
    return {"success": False, "error": words}


BANKS = endpoints.list_banks()
FAMILY = endpoints.list_banks("family")
SYNC = endpoints.trigger_sync("f1")
ACCOUNTS = endpoints.list_accounts("b1")
HTML = b"<!doctype html><html><body>error code: 1010</body></html>"


@pytest.mark.parametrize(
    ("call", "status", "body", "kind", "permanent"),
    [
        (BANKS, 400, failure(), x.BankSyncValidationError, True),
        (FAMILY, 400, failure("scope=family is not for portals"), x.BankSyncScopeError, True),
        (BANKS, 401, failure(), x.BankSyncAuthError, True),
        (BANKS, 403, failure("banks:read is missing"), x.BankSyncPermissionError, True),
        (FAMILY, 403, failure("banks:read is missing"), x.BankSyncPermissionError, True),
        (FAMILY, 403, failure("The role must be owner or admin"), x.BankSyncScopeError, True),
        (BANKS, 403, HTML, x.BankSyncEdgeBlockedError, True),
        (BANKS, 403, b"error code: 1010", x.BankSyncEdgeBlockedError, True),
        (BANKS, 403, {"title": "Error 1010: Access denied", "status": 403}, x.BankSyncEdgeBlockedError, True),
        (BANKS, 403, b"<h1><span>Error</span> <span>1010</span></h1>", x.BankSyncEdgeBlockedError, True),
        (BANKS, 403, b"error code: 1020", x.BankSyncResponseError, False),
        (BANKS, 403, b"", x.BankSyncResponseError, False),
        (FAMILY, 403, b"<h1>Forbidden</h1>", x.BankSyncResponseError, False),
        (FAMILY, 400, b"<h1>Bad Request</h1>", x.BankSyncResponseError, False),
        (BANKS, 401, b"<h1>Sign in</h1>", x.BankSyncResponseError, False),
        (BANKS, 404, b"404 page not found", x.BankSyncResponseError, False),
        (BANKS, 404, {"message": "no Route matched with those values"}, x.BankSyncResponseError, False),
        (SYNC, 404, b"404 page not found", x.BankSyncResponseError, False),
        (SYNC, 409, b"<h1>Conflict</h1>", x.BankSyncResponseError, False),
        (BANKS, 404, b'{"success": false, "err', x.BankSyncResponseError, False),
        (BANKS, 404, failure(), x.BankSyncNotFoundError, True),
        (SYNC, 409, failure(), x.BankSyncConflictError, False),
        (SYNC, 422, failure(), x.BankSyncValidationError, True),
        (BANKS, 429, failure(), x.BankSyncRateLimitError, False),
        (BANKS, 500, failure(), x.BankSyncServerError, False),
        (BANKS, 502, HTML, x.BankSyncServerError, False),
        (BANKS, 503, failure(), x.BankSyncServerError, False),
        (ACCOUNTS, 503, failure("sign in again"), x.BankSyncReauthRequiredError, True),
        (ACCOUNTS, 503, HTML, x.BankSyncServerError, False),
        (BANKS, 524, b"", x.BankSyncServerError, False),
        (BANKS, 200, failure(), x.BankSyncServerError, False),
        (BANKS, 200, HTML, x.BankSyncResponseError, False),
        (BANKS, 200, b'{"success": true, "data": [', x.BankSyncResponseError, False),
        (BANKS, 200, [], x.BankSyncResponseError, False),
        (BANKS, 200, {"data": []}, x.BankSyncResponseError, False),
        (BANKS, 200, {"success": True}, x.BankSyncResponseError, False),
        (BANKS, 200, {"success": True, "data": {}}, x.BankSyncResponseError, False),
        (BANKS, 200, {"success": True, "data": [1]}, x.BankSyncResponseError, False),
        (SYNC, 201, {"success": True, "data": []}, x.BankSyncResponseError, False),
        (BANKS, 301, b"", x.BankSyncResponseError, False),
    ],
)
def test_each_answer_has_its_class(
    call: Call[Any], status: int, body: Any, kind: type[x.BankSyncError], permanent: bool
) -> None:
    with pytest.raises(x.BankSyncError) as caught:
        decode(call, status, body)
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.method, error.path) == (status, call.request.method, call.request.path)
    assert error.permanent is permanent
    assert not (error.permanent and error.transient)
    assert str(error).startswith(f"{call.request.method} {call.request.path}: ")
    assert "<html" not in str(error)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 418, 422])
@pytest.mark.parametrize("call", [BANKS, SYNC, FAMILY, endpoints.cancel_job("f", "j")])
def test_an_answer_that_is_not_from_banksync_may_pass(call: Call[Any], status: int) -> None:
    with pytest.raises(x.BankSyncResponseError) as caught:
        decode(call, status, b"<html><title>Maintenance</title></html>")
    error = caught.value
    assert (error.transient, error.permanent) == (True, False)
    assert error.ambiguous is not call.request.retry_safe


def test_an_answer_that_is_not_from_banksync_is_shown_up_to_200_characters() -> None:
    page = f"<style>p {{color: red}}</style><script>track()</script><p>Key {KEY}: {'no ' * 100}".encode()
    for status, text in ((404, "A gateway or a proxy sent: "), (502, "502, the service failed: ")):
        with pytest.raises(x.BankSyncError) as caught:
            decode(BANKS, status, page)
        shown = caught.value.message.partition(text)[2]
        assert shown.startswith("Key ***: no no no")
        assert shown.endswith("…")
        assert len(shown) == 201


def test_a_bank_503_with_retry_after_is_the_service() -> None:
    with pytest.raises(x.BankSyncServerError) as caught:
        decode(ACCOUNTS, 503, failure(), retry_after="3")
    assert caught.value.retry_after == 3.0


def test_retry_after_as_a_date_is_judged_by_the_servers_clock() -> None:
    with pytest.raises(x.BankSyncRateLimitError) as caught:
        decode(
            BANKS,
            429,
            failure(),
            retry_after="Thu, 01 Jan 1970 00:00:30 GMT",
            date="Thu, 01 Jan 1970 00:00:10 GMT",
        )
    assert caught.value.retry_after == 20.0


def test_validation_shows_the_vendors_lists() -> None:
    body = {**failure("Invalid"), "errors": ["name is empty"], "warnings": ["no schedule"]}
    with pytest.raises(x.BankSyncValidationError) as caught:
        decode(SYNC, 422, body)
    assert caught.value.errors == ["name is empty"]
    assert caught.value.warnings == ["no schedule"]
    assert "name is empty" in str(caught.value)
    assert "no schedule" in str(caught.value)


def test_long_lists_are_shortened_in_the_message() -> None:
    body = {**failure("Invalid"), "errors": [f"error {n} " + "e" * 250 for n in range(5000)], "warnings": [1]}
    with pytest.raises(x.BankSyncValidationError) as caught:
        decode(SYNC, 422, body)
    words = str(caught.value)
    assert len(words) < 4000
    assert "error 9 " in words
    assert "error 10 " not in words
    assert "- and 4990 more" in words
    assert words.endswith("\nCorrect the arguments that the message names.")
    assert len(caught.value.errors) == 1000


def test_errors_nested_too_deeply_to_be_shown() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    from airflow_provider_banksync.api.redaction import redact

    assert "too deeply" in redact(deep)


def test_a_cut_leaves_no_part_of_a_secret() -> None:
    token = "T" + "abcdefghij" * 6
    body = {**failure("x" * 280 + token), "errors": ["x" * 270 + token], "warnings": ["x" * 290 + token]}
    for response in (
        Response(422, {}, json.dumps(body).encode()),
        Response(200, {"content-type": "z" * 280 + token}, b"x"),
    ):
        with pytest.raises(x.BankSyncError) as caught:
            responses.parse_response(SYNC, response, path="/v1/feeds/f1/sync", secret=token)
        shown = f"{caught.value} {caught.value.args} {vars(caught.value)}"
        assert "Tabc" not in shown


@pytest.mark.parametrize(
    "status", [200, 301, 400, 401, 403, 404, 405, 407, 409, 413, 418, 422, 429, 500, 503]
)
@pytest.mark.parametrize("call", [BANKS, SYNC, FAMILY, endpoints.cancel_job("f", "j")])
@pytest.mark.parametrize("body", [failure(), HTML, {"success": True, "data": 5}])
def test_each_message_says_what_to_do(call: Call[Any], status: int, body: Any) -> None:
    with pytest.raises(x.BankSyncError) as caught:
        decode(call, status, body)
    assert len(caught.value.hint) > 20
    assert str(caught.value).endswith(caught.value.hint)


def test_only_retried_requests_have_a_message_about_retries() -> None:
    for call, again in ((BANKS, True), (endpoints.trigger_learn("f"), False)):
        with pytest.raises(x.BankSyncServerError) as caught:
            decode(call, 502, HTML)
        assert ("is retried automatically" in str(caught.value)) is again


@pytest.mark.parametrize("meta", [{"hasMore": "true"}, {"hasMore": 1}, {"hasMore": {}}, [1], "c2", 7])
def test_pages_that_do_not_say_whether_there_are_more(meta: Any) -> None:
    call = endpoints.list_transactions("b", "a")
    with pytest.raises(x.BankSyncResponseError, match="hasMore in the answer is not a boolean"):
        decode(call, 200, {"success": True, "data": [], "meta": meta})


@pytest.mark.parametrize("meta", [None, {}, {"hasMore": None}, {"hasMore": False}, {"cursor": 5}])
def test_the_last_page(meta: Any) -> None:
    call = endpoints.list_transactions("b", "a")
    page = decode(call, 200, {"success": True, "data": [], "meta": meta})
    assert not page.has_more
    assert page.cursor is None


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (f"key {KEY} is bad", "key *** is bad"),
        ("key bsk_SomebodyElses is bad", "key *** is bad"),
        ("account 123456789012 is closed", "account ••••9012 is closed"),
        ("two\nlines\tof it", "two lines of it"),
        ("x" * 1000, "x" * 300 + "…"),
    ],
)
def test_the_servers_text_is_redacted(words: str, shown: str) -> None:
    with pytest.raises(x.BankSyncValidationError) as caught:
        decode(BANKS, 400, failure(words))
    assert shown in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("status", [500, 502, 504, 520])
def test_only_a_write_may_have_done_its_work(status: int) -> None:
    for call, ambiguous in ((BANKS, False), (SYNC, True), (endpoints.cancel_job("f", "j"), True)):
        with pytest.raises(x.BankSyncServerError) as caught:
            decode(call, status, failure())
        assert caught.value.ambiguous is ambiguous


@pytest.mark.parametrize(
    "row",
    [
        {"id": "1"},
        {"id": "1", "workspaceId": ""},
        {"id": "1", "workspaceId": None},
        {"id": "1", "workspaceId": 5},
        {"id": "1", "workspaceId": "w1", "portal": {"id": "w2", "name": "Other"}},
        {"id": "1", "workspaceId": "w1", "portal": "w1"},
    ],
)
def test_a_family_row_that_cannot_be_attributed_is_an_error(row: dict[str, Any]) -> None:
    good = {"id": "0", "workspaceId": "w0", "portal": None}
    with pytest.raises(x.BankSyncResponseError, match="cannot be attributed"):
        decode(FAMILY, 200, {"success": True, "data": [good, row]})


def test_unknown_fields_of_rows_are_kept() -> None:
    row = {"id": "1", "surprise": {"deep": [1, None]}, "name": "🥐"}
    assert decode(BANKS, 200, {"success": True, "data": [row], "more": 1}) == [row]


def test_a_secret_that_the_server_echoes_is_in_no_part_of_the_error() -> None:
    token = "session-token-of-somebody"
    body = {**failure(f"bad {token}"), "errors": [f"header {token}"], "warnings": [f"old {token}"]}
    response = Response(422, {}, json.dumps(body).encode())
    with pytest.raises(x.BankSyncValidationError) as caught:
        responses.parse_response(SYNC, response, path="/v1/feeds/f1/sync", secret=token)
    error = caught.value
    assert token not in f"{error} {error!r} {error.args} {error.errors} {error.warnings}"
    assert error.errors == ["header ***"]
