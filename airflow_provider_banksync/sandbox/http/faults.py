"""The faults that exist. ``fault_rules`` decides which requests they apply to, and when."""

from __future__ import annotations

import gzip
import math
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.sandbox.errors import SandboxError
from airflow_provider_banksync.sandbox.exact_json import encode
from airflow_provider_banksync.sandbox.http import rewriting
from airflow_provider_banksync.sandbox.http.wire import HTML, JSON, SandboxResponse, error_body
from airflow_provider_banksync.sandbox.validation import (
    check_flag,
    check_header,
    check_number,
    check_text,
    check_whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.sandbox.http.rewriting import Answer

_BODIES = ("json", "html", "empty")
_REDIRECTS = (301, 302, 303, 307, 308)
_BODILESS = (204, 304)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MAX_ROWS = 10_000
_MAX_SHIFT = 10 * 366 * 86_400
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong with a request. Make one with the methods below; add it with ``sandbox.faults.add``.

    Most faults can happen *before* the work is done (the default) or *after* it: the job exists, but the client
    does not learn of it. Faults that change the real response happen after. Seconds are real ones, whatever the
    clock's scale, unless a fault says otherwise.
    """

    name: str
    pause: float = 0.0
    instead: Callable[[datetime], SandboxResponse] | None = None
    """Returns what is sent in place of the real response."""
    reshape: Callable[[SandboxResponse], SandboxResponse] | None = None
    """Changes the real response."""
    rewrite: Callable[[Answer], None] | None = None
    """Changes what the real response says."""
    stamp: Callable[[SandboxResponse], SandboxResponse] | None = None
    """Changes every response, also one that another fault has put in place of the real one."""

    @property
    def moments(self) -> tuple[str, ...]:
        """When the fault can happen, the default first."""
        if self.stamp:
            return ("always",)
        return ("after",) if self.reshape or self.rewrite else ("before", "after")

    @classmethod
    def latency(cls, seconds: float) -> Fault:
        """Wait, then continue normally."""
        return cls("latency", pause=_check_seconds("seconds", seconds))

    @classmethod
    def status(
        cls, code: int, *, body: str = "json", message: str | None = None, retry_after: float | None = None
    ) -> Fault:
        """Answer with an error status: ``body`` is "json" (the envelope), "html" (an edge's page) or "empty".

        On bank data, a 503 in the envelope without Retry-After means that a bank needs a new sign-in, which no retry
        cures. Pass ``retry_after``, or another body, for a service that is down for a while.
        """
        check_whole("code", code, 400, 599)
        if body not in _BODIES:
            raise SandboxError(f"body must be one of {', '.join(_BODIES)}, not {body!r}")
        if message is not None:
            check_text("message", message)
        response = SandboxResponse(code, *_error_content(code, body, message))
        return cls("status", instead=_with_retry_after(response, retry_after, "seconds"))

    @classmethod
    def rate_limited(cls, retry_after: float | None = 1, *, form: str = "seconds") -> Fault:
        """Answer 429. Retry-After holds "seconds" or a "date" by the sandbox's clock; None leaves it out."""
        check_form("form", form)
        response = SandboxResponse(429, error_body("Rate limit exceeded"))
        return cls("rate_limited", instead=_with_retry_after(response, retry_after, form))

    @classmethod
    def reset(cls) -> Fault:
        """Reset the connection instead of answering."""
        return cls("reset", instead=lambda _: SandboxResponse(0, b"", delivery="reset"))

    @classmethod
    def silence(cls) -> Fault:
        """Never answer, until the client gives up or the sandbox stops."""
        return cls("silence", instead=lambda _: SandboxResponse(0, b"", delivery="silence"))

    @classmethod
    def truncated(cls, part: float = 0.5) -> Fault:
        """Send this share of the body (0 to below 1), then close the connection. Content-Length is the full length."""
        if check_number("part", part, 0, 1) == 1:
            raise SandboxError("part must be below 1: at 1 nothing is missing")
        return cls("truncated", reshape=_change(delivery="cut", part=part))

    @classmethod
    def dripping(cls, seconds: float) -> Fault:
        """Send the body in small pieces that take this long in all."""
        return cls("dripping", reshape=_change(delivery="slow", seconds=_check_seconds("seconds", seconds)))

    @classmethod
    def content_type(cls, media_type: str | None) -> Fault:
        """Send the real response with another Content-Type; None leaves the header out."""
        if media_type is not None:
            check_header("media_type", media_type)
        return cls("content_type", reshape=_change(media_type=media_type))

    @classmethod
    def gzip(cls) -> Fault:
        """Compress the real response, even if the client did not ask for it."""
        return cls("gzip", reshape=_gzip)

    @classmethod
    def edited(cls, *, share: float = 1.0, **fields: object) -> Fault:
        """Change these fields in the ``data`` of the real response, in each row if it is a list.

        ``share`` limits the change to a share of the rows (0 to 1), in each read the same ones.
        """
        _check_fields(fields)
        check_number("share", share, 0, 1)
        return cls("edited", rewrite=lambda answer: rewriting.edit(answer, fields, share))

    @classmethod
    def shifted(cls, *, share: float = 1.0, **seconds: float) -> Fault:
        """Move these times by some seconds, for example ``createdAt=-3``. A day moves by whole days.

        ``share`` limits the change to a share of the rows (0 to 1), in each read the same ones.
        """
        if not seconds:
            raise SandboxError("shifted needs a field and its seconds, such as createdAt=-3")
        for name, offset in seconds.items():
            check_number(name, offset, -_MAX_SHIFT, _MAX_SHIFT)
        check_number("share", share, 0, 1)
        return cls("shifted", rewrite=lambda answer: rewriting.shift(answer, seconds, share))

    @classmethod
    def lag(cls, seconds: float) -> Fault:
        """Answer a GET without what was created in the last sandbox seconds, as a replica that is behind.

        Lists leave it out, and a request for it alone answers 404. Only what has a ``createdAt`` can be new.
        """
        _check_seconds("seconds", seconds)
        return cls("lag", rewrite=lambda answer: rewriting.hide_new(answer, seconds))

    @classmethod
    def date(cls, seconds: float | None) -> Fault:
        """Move the ``Date`` header by some seconds, in every answer; None leaves the header out."""
        if seconds is not None:
            check_number("seconds", seconds, -_MAX_SHIFT, _MAX_SHIFT)
        return cls("date", stamp=_change(date_offset=seconds))

    @classmethod
    def retyped(cls, *, share: float = 1.0, **forms: str) -> Fault:
        """Send these fields as another type, for example ``amount="text"``.

        "text" quotes a value as it is written in JSON. "number" sends a quoted number without quotes, a boolean as 0
        or 1, and a day or time in seconds since 1970. "timestamp" sends a day with a time. "object" sends
        ``{"value": …}``. A value that has no such form stays as it is. ``share`` limits the change to a share of the
        rows (0 to 1), in each read the same ones.
        """
        if not forms:
            raise SandboxError('retyped needs a field and its form, such as amount="text"')
        for name, form in forms.items():
            if form not in rewriting.FORMS:
                raise SandboxError(f"{name} must be one of {', '.join(rewriting.FORMS)}, not {form!r}")
        check_number("share", share, 0, 1)
        return cls("retyped", rewrite=lambda answer: rewriting.retype(answer, forms, share))

    @classmethod
    def shortened(cls, rows: int, *, adjust_count: bool = False) -> Fault:
        """Answer only the first rows of a list; 0 answers an empty list.

        :param adjust_count: whether ``meta.count`` is the number of rows that are sent. By default it stays.
        """
        check_whole("rows", rows, 0, _MAX_ROWS)
        check_flag("adjust_count", adjust_count)
        return cls("shortened", rewrite=lambda answer: rewriting.shorten(answer, rows, adjust_count))

    @classmethod
    def added(cls, rows: int = 1, **fields: object) -> Fault:
        """Add rows to a list: copies of its first row with these fields, each under an id that no other row has.

        For example, ``accountId="other"`` adds a row of another account, and ``date="2020-01-01"`` one of another day.
        """
        check_whole("rows", rows, 1, _MAX_ROWS)
        _check_fields(fields)
        return cls("added", rewrite=lambda answer: rewriting.add_rows(answer, rows, fields))

    @classmethod
    def meta(cls, **fields: object) -> Fault:
        """Change these fields of ``meta``, for example ``hasMore=True``. An answer without ``meta`` gets one."""
        if not fields:
            raise SandboxError("meta needs a field, such as hasMore=True")
        _check_fields(fields)
        return cls("meta", rewrite=lambda answer: rewriting.set_meta(answer, fields))

    @classmethod
    def without(cls, member: str) -> Fault:
        """Leave out a member of the answer: "meta", "meta.hasMore", or "data.id" for a field of each row."""
        steps = check_text("member", member).split(".")
        if len(steps) > 2 or not all(steps):
            raise SandboxError(
                f'member must be a name like "meta", or two like "meta.hasMore", not {member!r}'
            )
        return cls("without", rewrite=lambda answer: rewriting.remove_member(answer, *steps))

    @classmethod
    def overlapping(cls, rows: int = 1) -> Fault:
        """Begin each page of transactions some rows early: its cursor includes the last rows of the page before."""
        check_whole("rows", rows, 1, _MAX_ROWS)
        return cls("overlapping", rewrite=lambda answer: rewriting.overlap(answer, rows))

    @classmethod
    def endless(cls, rows: str = "same") -> Fault:
        """Continue after the last page of transactions, without end and each time with a new cursor.

        :param rows: what these pages hold: the "same" rows as the last page, "all" pages again, or "none".
        """
        if rows not in rewriting.ENDLESS:
            raise SandboxError(f"rows must be one of {', '.join(rewriting.ENDLESS)}, not {rows!r}")
        return cls("endless", rewrite=lambda answer: rewriting.continue_forever(answer, rows))

    @classmethod
    def not_success(cls, message: str = "Something went wrong") -> Fault:
        """Answer 200 with ``success: false`` in the body."""
        body = error_body(check_text("message", message))
        return cls("not_success", instead=lambda _: SandboxResponse(200, body))

    @classmethod
    def redirect(cls, to: str, *, status: int = 307) -> Fault:
        """Redirect the client to another URL, for example of another origin."""
        if status not in _REDIRECTS:
            raise SandboxError(f"status must be one of {', '.join(map(str, _REDIRECTS))}, not {status}")
        response = SandboxResponse(status, b"", None, {"Location": check_header("to", to)})
        return cls("redirect", instead=lambda _: response)

    @classmethod
    def answer(
        cls,
        status: int,
        body: bytes | str = b"",
        *,
        media_type: str | None = JSON,
        headers: dict[str, str] | None = None,
    ) -> Fault:
        """Answer with exactly this, for a case that no other fault covers."""
        check_whole("status", status, 200, 599)
        content = body if isinstance(body, bytes) else check_text("body", body).encode()
        if content and status in _BODILESS:
            raise SandboxError(f"body must be empty: a response with the status {status} has none")
        if media_type is not None:
            check_header("media_type", media_type)
        response = SandboxResponse(status, content, media_type, _check_headers(headers))
        return cls("answer", instead=lambda _: response)


KINDS: dict[str, Callable[..., Fault]] = {
    name: getattr(Fault, name) for name, each in sorted(vars(Fault).items()) if isinstance(each, classmethod)
}
"""By name, for the admin calls."""


def check_form(name: str, form: str) -> None:
    """Check a form of Retry-After."""
    if form not in ("seconds", "date"):
        raise SandboxError(f'{name} must be "seconds" or "date", not {form!r}')


def retry_after_text(seconds: float, form: str, now: datetime) -> str:
    """Format a Retry-After header, rounded up: a client that waits this long has waited long enough."""
    if form == "seconds":
        return str(math.ceil(seconds))
    moment = now + timedelta(seconds=seconds)
    return format_datetime(moment + timedelta(microseconds=-moment.microsecond % 1_000_000), usegmt=True)


def _error_content(code: int, body: str, message: str | None) -> tuple[bytes, str | None]:
    try:
        phrase = HTTPStatus(code).phrase
    except ValueError:
        phrase = "Origin error" if 520 <= code <= 526 else "Error"
    if body == "json":
        return error_body(f"{phrase} (a fault of the sandbox)" if message is None else message), JSON
    if body == "empty":
        return b"", None
    title = f"{code} {phrase}"
    page = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return page.encode(), HTML


def _check_seconds(name: str, value: float) -> float:
    return check_number(name, value, 0, 86_400)


def _check_fields(fields: dict[str, object]) -> None:
    try:
        encode(fields)
    except (TypeError, ValueError, RecursionError) as error:
        raise SandboxError(f"the fields are sent as JSON: {error}; use Decimal for fractions") from None


def _check_headers(headers: dict[str, str] | None) -> dict[str, str]:
    if headers is None:
        return {}
    if not isinstance(headers, dict):
        raise SandboxError(f"headers must be a mapping of names to texts, not {headers!r}")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(check_text("headers", name)):
            raise SandboxError(f"headers holds {name!a}, which is not a valid header name")
        check_header(f"the header {name}", value)
        if name.lower() in _FRAMING:
            raise SandboxError(f"headers must not hold {name}: the sandbox sets it")
    return dict(headers)


def _with_retry_after(
    response: SandboxResponse, retry_after: float | None, form: str
) -> Callable[[datetime], SandboxResponse]:
    if retry_after is None:
        return lambda _: response
    seconds = _check_seconds("retry_after", retry_after)
    return lambda now: replace(response, headers={"Retry-After": retry_after_text(seconds, form, now)})


def _change(**changes: Any) -> Callable[[SandboxResponse], SandboxResponse]:
    return lambda response: replace(response, **changes)


def _gzip(response: SandboxResponse) -> SandboxResponse:
    if "Content-Encoding" in response.headers:
        return response
    headers = {**response.headers, "Content-Encoding": "gzip"}
    return replace(response, body=gzip.compress(response.body, mtime=0), headers=headers)
