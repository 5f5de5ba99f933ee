"""Turns an answer into its result or its error. Only this file knows what a status code means."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync import exceptions
from airflow_provider_banksync.api import codec
from airflow_provider_banksync.api.jobs import SIGN_IN_HINT, SIGN_IN_PROBLEM
from airflow_provider_banksync.api.ownership import check_owner
from airflow_provider_banksync.api.redaction import bullet_list, counted, redact

if TYPE_CHECKING:
    from airflow_provider_banksync.api.config import ClientConfig
    from airflow_provider_banksync.api.messages import Call, Request, Response, Row, T

#: The listing of a whole family has a few MB. A larger answer is a mistake, or a decompression bomb.
MAX_BODY_BYTES = 256 * 2**20
#: A whole answer may take this many times the timeout, which limits the server's silence.
MAX_RESPONSE_TIMEOUTS = 5
#: Errors and warnings of a 422 in the message, and in the lists of the error.
_MAX_SHOWN = 10
_MAX_KEPT = 1000
#: Characters of an answer without an envelope that its error shows, and that are searched for Cloudflare's error.
_MAX_PAGE_SHOWN = 200
_MAX_PAGE_READ = 4096
_BANK_DATA = re.compile(r"/banks/[^/]+(/|$)")
#: Cloudflare's error for a User-Agent that it never lets through: "error code: 1010", "Error 1010", "error_code": 1010.
_BLOCKED_USER_AGENT = re.compile(r"error[\s_-]*(?:code)?\W{0,5}1010\b", re.IGNORECASE)

_CERTIFICATE_HINT = (
    "If a proxy of your network signs certificates, set verify in the field Extra to its CA bundle."
)
_SCOPE_HINTS = {
    400: "scope='family' works in the parent workspace only. Use the parent's key, without a portal's workspace_id.",
    403: "scope='family' needs the key of an owner or admin of the parent workspace.",
}
_CONFLICT_HINTS = {
    "triggerSync": "A job of this feed is queued or running. Wait for it, or cancel it.",
    "cancelJob": "The job has already ended. Read its status with get_job.",
    "createEnrichment": "The workspace may already have its one memory enrichment. Update that one.",
}
#: By status: the error, what is wrong, and what to do.
_CLIENT_ERRORS: dict[int, tuple[type[exceptions.BankSyncError], str, str]] = {
    401: (
        exceptions.BankSyncAuthError,
        "the key is wrong, revoked or expired",
        "Enter a valid key in the field API key (password) of the connection.",
    ),
    403: (
        exceptions.BankSyncPermissionError,
        "the key is not allowed to do this",
        "Give the key the missing scope (a write also needs the read scope), or its owner a higher role.",
    ),
    404: (
        exceptions.BankSyncNotFoundError,
        "not found",
        "It may be deleted or in another workspace. Check the id. For a portal's data, pass workspace_id.",
    ),
    405: (
        exceptions.BankSyncValidationError,
        "this address does not support the request",
        "Check the field Base URL (host) of the connection.",
    ),
    409: (exceptions.BankSyncConflictError, "conflict", "Check its state in BankSync, then try again."),
    413: (exceptions.BankSyncValidationError, "the request is too large", "Send fewer or shorter values."),
}
_OTHER_CLIENT_ERROR = (
    exceptions.BankSyncValidationError,
    "the request is not valid",
    "Correct the arguments that the message names.",
)
_NO_ENVELOPE_HINT = "If this persists, check the field Base URL (host) of the connection, and proxies."
_UNDOCUMENTED_HINT = (
    "The answer differs from BankSync's documentation. Upgrade this provider, or report the problem."
)


def server_date(response: Response) -> float | None:
    """Return the server's ``Date`` in epoch seconds, or None."""
    return codec.parse_http_date(response.headers.get("date"))


def parse_response(
    call: Call[T], response: Response, *, path: str, secret: str = "", workspace_id: str | None = None
) -> T:
    """Return the result of an answer, or raise its error.

    :param path: the path that was sent, for messages.
    :param secret: removed from messages.
    :param workspace_id: the workspace of the client; None: the key's own.
    :raises BankSyncError: see `airflow_provider_banksync.exceptions`.
    """
    if call.parse_bytes is not None and response.status == 200:
        result = call.parse_bytes(response.body)
        if result is not None:
            return result
    try:
        envelope = _envelope(response)
        if response.status // 100 != 2 or envelope is None or envelope.get("success") is not True:
            raise _error_for(call.request, response, envelope, secret)
        return check_owner(call, call.parse(envelope), workspace_id)
    except exceptions.BankSyncError as error:
        error.method, error.path, error.status = call.request.method, path, response.status
        # A 2xx may have taken effect, whatever is wrong with its body.
        error.ambiguous = error.ambiguous or (response.status // 100 == 2 and not call.request.retry_safe)
        error.hint = error.hint or _UNDOCUMENTED_HINT
        error.hide(secret)
        raise


def _envelope(response: Response) -> Row | None:
    try:
        value: Any = codec.loads(response.body)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("success"), bool) else None


def _error_for(
    request: Request, response: Response, envelope: Row | None, secret: str
) -> exceptions.BankSyncError:
    status = response.status
    if status // 100 == 2:
        return _error_in_2xx(request, response, envelope, secret)
    if status < 200:
        return exceptions.BankSyncResponseError(
            f"the server answered {status}, which is not a final status.",
            hint=_NO_ENVELOPE_HINT,
            truncated=True,
        )
    if status // 100 == 3:
        return exceptions.BankSyncResponseError(
            f"the server answered {status}, a redirect. It is not followed, to keep the key from other servers.",
            hint="Check the field Base URL (host) of the connection.",
        )
    if status == 407:
        return exceptions.BankSyncConnectionError(
            "407, a proxy requires a user and a password.",
            hint="Add them to the proxy's address: HTTPS_PROXY=http://user:password@host:port.",
        )
    if status >= 500 or status in (408, 425, 429):
        return _retryable_error(request, response, envelope, secret)
    if envelope is None:
        return _gateway_error(request, response, secret)
    return _client_error(request, status, envelope, secret)


def _retry_hint(request: Request) -> str:
    if request.retry_safe:
        return "The request is retried automatically. If it keeps failing, see BankSync's status page."
    return "The request may have succeeded, so it is not sent again. If it keeps failing, see BankSync's status page."


def _error_in_2xx(
    request: Request, response: Response, envelope: Row | None, secret: str
) -> exceptions.BankSyncError:
    """Return the error of a 2xx with success false, or without the envelope."""
    if envelope is not None:
        words = _error_text(envelope, secret)
        return exceptions.BankSyncServerError(
            f"{response.status}, but success is false: {words}", hint=_retry_hint(request)
        )
    kind = redact(response.headers.get("content-type", "no content type"), secret)
    return exceptions.BankSyncResponseError(
        f"{response.status}, but the body ({counted(len(response.body), 'byte')}, {kind}) is not BankSync's JSON "
        "envelope.",
        hint=_NO_ENVELOPE_HINT,
        truncated=True,
    )


def _retryable_error(
    request: Request, response: Response, envelope: Row | None, secret: str
) -> exceptions.BankSyncError:
    """Return the error of a 408, 425, 429 or 5xx."""
    status, words = response.status, _error_text(envelope, secret)
    if envelope is None:
        words = _page_text(response, secret, _MAX_PAGE_SHOWN) or words
    retry_after = codec.parse_retry_after(response.headers.get("retry-after"), server_date(response))
    if status == 429:
        return exceptions.BankSyncRateLimitError(
            f"429, the key has reached its rate limit: {words}",
            retry_after=retry_after,
            hint="All clients with this key share its requests per minute.",
        )
    at_bank = _BANK_DATA.search(request.path) is not None
    if status == 503 and at_bank and envelope is not None and "retry-after" not in response.headers:
        return exceptions.BankSyncReauthRequiredError(f"503, {SIGN_IN_PROBLEM}: {words}", hint=SIGN_IN_HINT)
    return exceptions.BankSyncServerError(
        f"{status}, the service failed: {words}",
        retry_after=retry_after,
        hint=_retry_hint(request),
        ambiguous=not request.retry_safe,
    )


def _gateway_error(request: Request, response: Response, secret: str) -> exceptions.BankSyncError:
    """Return the error of a 4xx without BankSync's envelope. It says nothing about the request, so a retry may help."""
    status = response.status
    if status == 403 and _BLOCKED_USER_AGENT.search(_page_text(response, secret, _MAX_PAGE_READ)):
        return exceptions.BankSyncEdgeBlockedError(
            "403, Cloudflare's error 1010: it blocked the User-Agent. The request did not reach the API.",
            hint="Check for a proxy that changes the User-Agent of requests.",
        )
    shown = _page_text(response, secret, _MAX_PAGE_SHOWN) or "an empty body"
    return exceptions.BankSyncResponseError(
        f"{status}, but the answer is not from BankSync. A gateway or a proxy sent: {shown}",
        hint=_NO_ENVELOPE_HINT,
        truncated=True,
        ambiguous=not request.retry_safe,
    )


def _page_text(response: Response, secret: str, most: int) -> str:
    """Return the first characters of a body that is not BankSync's, redacted and without HTML tags."""
    return redact(response.body[: 16 * _MAX_PAGE_READ].decode("utf-8", "replace"), secret, most)


def _client_error(request: Request, status: int, envelope: Row, secret: str) -> exceptions.BankSyncError:
    """Return the error of a 4xx of BankSync, which a retry cannot fix."""
    words = _error_text(envelope, secret)
    about_role = re.search(r"\b(role|owner|admin)", words, re.IGNORECASE) is not None
    if ("scope", "family") in request.query and (status == 400 or (status == 403 and about_role)):
        return exceptions.BankSyncScopeError(
            f"{status}, the family listing was refused: {words}", hint=_SCOPE_HINTS[status]
        )
    kind, problem, hint = _CLIENT_ERRORS.get(status, _OTHER_CLIENT_ERROR)
    message = f"{status}, {problem}: {words}"
    if kind is not exceptions.BankSyncValidationError:
        return kind(message, hint=_CONFLICT_HINTS.get(request.operation, hint) if status == 409 else hint)
    errors, error_lines = _entries(envelope, "errors", secret)
    warnings, warning_lines = _entries(envelope, "warnings", secret)
    if warnings:
        warning_lines = f"\nwarnings, which do not block the request:{warning_lines}"
    return exceptions.BankSyncValidationError(
        f"{message}{error_lines}{warning_lines}", hint=hint, errors=errors, warnings=warnings
    )


def _error_text(envelope: Row | None, secret: str) -> str:
    error = envelope.get("error") if envelope else None
    has_text = isinstance(error, str) and error.strip()
    return redact(error, secret) if has_text else "(the server gave no reason)"


def _entries(envelope: Row | None, name: str, secret: str) -> tuple[list[str], str]:
    """Return the entries of ``errors`` or ``warnings``, and the first of them as lines for a message."""
    found = envelope.get(name) if envelope else None
    if not isinstance(found, list):
        return [], ""
    entries = [redact(entry, secret) for entry in found[:_MAX_KEPT]]
    return entries, bullet_list(entries, _MAX_SHOWN, len(found))


def check_limits(request: Request, config: ClientConfig, *, size: int, elapsed: float) -> None:
    """Refuse an answer that is too large, or takes too long.

    :param size: bytes of the body so far, after decompression.
    :param elapsed: seconds since the request was sent.
    """
    if size > MAX_BODY_BYTES:
        raise exceptions.BankSyncResponseError(
            f"the answer is larger than {MAX_BODY_BYTES // 2**20} MiB.",
            hint="Request less at a time: fewer days, or one workspace instead of the family.",
            **_unanswered(request, config),
        )
    if elapsed > config.timeout * MAX_RESPONSE_TIMEOUTS:
        raise exceptions.BankSyncConnectionError(
            f"the answer was not complete after {elapsed:.0f} s.",
            hint="If the server is slow, raise timeout in the field Extra of the connection.",
            **_unanswered(request, config),
        )


def connection_error(
    error: BaseException,
    request: Request,
    config: ClientConfig,
    *,
    elapsed: float,
    sent: bool,
    certificate: bool,
    quotes: bool,
) -> exceptions.BankSyncConnectionError:
    """Return the error for a request without an answer.

    :param error: the HTTP library's error.
    :param elapsed: seconds since the request was sent.
    :param sent: whether the request may have reached the server.
    :param certificate: whether the server's certificate was refused.
    :param quotes: whether the error quotes what the server sent. Then its text is left out.
    """
    if sent:
        check_limits(request, config, size=0, elapsed=elapsed)
    when = "no complete answer" if sent else "could not connect"
    words = ", the answer is not HTTP" if quotes else f": {redact(error, config.secret)}"
    kind = exceptions.BankSyncConnectionError
    hint = f"Check that this worker can reach {config.base_url} (name, proxy, firewall; a sandbox must run)."
    if certificate:
        kind, hint = exceptions.BankSyncCertificateError, _CERTIFICATE_HINT
    return kind(
        f"{when} ({type(error).__name__}{words}).", hint=hint, **_unanswered(request, config, sent=sent)
    )


def _unanswered(request: Request, config: ClientConfig, *, sent: bool = True) -> dict[str, Any]:
    """Return what every error of a request without a complete answer says about the request."""
    return {
        "method": request.method,
        "path": config.path(request.path),
        "ambiguous": sent and not request.retry_safe,
    }
