"""The faults there are. When and to whom they happen is decided in ``faults``."""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.answer import HTML, JSON, Answer, refusal_body
from airflow_provider_banksync.sandbox.checks import (
    check_header,
    check_header_name,
    check_number,
    check_text,
    check_whole,
)
from airflow_provider_banksync.sandbox.encoding import decode, encode
from airflow_provider_banksync.sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

_BODIES = ("json", "html", "empty")
_REDIRECTS = (301, 302, 303, 307, 308)
_BODILESS = (204, 304)
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong with a request. Made by the methods below, put to work by ``sandbox.faults.add``.

    Most can happen *before* the work is done (the default) or *after* it: the job is there, and the client is told
    otherwise. What is done to the true answer can only happen after. Seconds are real ones, whatever the clock's scale.
    """

    name: str
    pause: float = 0.0
    instead: Callable[[datetime], Answer] | None = None
    """Gives what is answered instead of the truth."""
    reshape: Callable[[Answer], Answer] | None = None
    """Does something to the true answer."""

    @property
    def moments(self) -> tuple[str, ...]:
        """When it can happen, the usual first."""
        return ("after",) if self.reshape else ("before", "after")

    @classmethod
    def latency(cls, seconds: float) -> Fault:
        """Wait; then go on as if nothing had been."""
        return cls("latency", pause=_seconds("seconds", seconds))

    @classmethod
    def status(
        cls,
        code: int,
        *,
        body: str = "json",
        message: str | None = None,
        retry_after: float | None = None,
    ) -> Fault:
        """Answer with an error status: ``body`` is "json" (the envelope), "html" (an edge's page) or "empty".

        On bank data, a 503 in the envelope and without Retry-After is a bank that wants a new sign-in, which no retry
        cures. Give ``retry_after``, or another body, for a service that is down for a while.
        """
        check_whole("code", code, 400, 599)
        if body not in _BODIES:
            raise SandboxError(f"body must be one of {', '.join(_BODIES)}, not {body!r}")
        said = (
            f"{_phrase(code)} (a fault of the sandbox)" if message is None else check_text("message", message)
        )
        content, media_type = _error_body(code, body, said)
        return cls("status", instead=_later(Answer(code, content, media_type), retry_after, "seconds"))

    @classmethod
    def rate_limited(cls, retry_after: float | None = 1, *, form: str = "seconds") -> Fault:
        """Answer 429; Retry-After in the form of "seconds" or of a "date" by the sandbox's clock, or None for none."""
        check_form("form", form)
        refused = Answer(429, refusal_body("Rate limit exceeded"))
        return cls("rate_limited", instead=_later(refused, retry_after, form))

    @classmethod
    def reset(cls) -> Fault:
        """Reset the connection instead of answering."""
        return cls("reset", instead=_always(Answer(0, b"", wire="reset")))

    @classmethod
    def silence(cls) -> Fault:
        """Never answer: until the client gives up or the sandbox stops."""
        return cls("silence", instead=_always(Answer(0, b"", wire="silence")))

    @classmethod
    def truncated(cls, part: float = 0.5) -> Fault:
        """Send this share of the body (0 to below 1), then close the connection, though more was announced."""
        if check_number("part", part, 0, 1) == 1:
            raise SandboxError("part must be below 1: at 1 nothing is missing")
        return cls("truncated", reshape=lambda answer: answer.but(wire="cut", part=part))

    @classmethod
    def dripping(cls, seconds: float) -> Fault:
        """Send the body in small pieces, which take so many seconds in all."""
        _seconds("seconds", seconds)
        return cls("dripping", reshape=lambda answer: answer.but(wire="dripping", seconds=seconds))

    @classmethod
    def content_type(cls, media_type: str | None) -> Fault:
        """Send the true answer under another Content-Type; None for no such header."""
        named = None if media_type is None else check_header("media_type", media_type)
        return cls("content_type", reshape=lambda answer: answer.but(media_type=named))

    @classmethod
    def gzip(cls) -> Fault:
        """Send the true answer compressed, whether that was asked for or not."""
        return cls("gzip", reshape=_squeeze)

    @classmethod
    def edited(cls, **fields: object) -> Fault:
        """Send the true answer with these fields in its ``data``, in each row of it where that is a list."""
        try:
            encode(fields)
        except (TypeError, ValueError, RecursionError) as error:
            raise SandboxError(
                f"edited fields are written as JSON: {error}; use Decimal for fractions"
            ) from None
        return cls("edited", reshape=lambda answer: _edit(answer, fields))

    @classmethod
    def not_success(cls, message: str = "Something went wrong") -> Fault:
        """Answer 200, with ``success: false`` in the body."""
        said = refusal_body(check_text("message", message))
        return cls("not_success", instead=_always(Answer(200, said)))

    @classmethod
    def redirect(cls, to: str, *, status: int = 307) -> Fault:
        """Send the client elsewhere: to a URL, of another origin for instance."""
        if status not in _REDIRECTS:
            raise SandboxError(f"status must be one of {', '.join(map(str, _REDIRECTS))}, not {status}")
        return cls(
            "redirect", instead=_always(Answer(status, b"", None, {"Location": check_header("to", to)}))
        )

    @classmethod
    def answer(
        cls,
        status: int,
        body: bytes | str = b"",
        *,
        media_type: str | None = JSON,
        headers: dict[str, str] | None = None,
    ) -> Fault:
        """Answer with exactly this, for whatever the others do not cover."""
        check_whole("status", status, 200, 599)
        content = body if isinstance(body, bytes) else check_text("body", body).encode()
        if content and status in _BODILESS:
            raise SandboxError(f"body must be empty: an answer with the status {status} has none")
        named = None if media_type is None else check_header("media_type", media_type)
        return cls(
            "answer",
            instead=_always(Answer(status, content, named, _headers({} if headers is None else headers))),
        )


KINDS: dict[str, Callable[..., Fault]] = {
    "answer": Fault.answer,
    "content_type": Fault.content_type,
    "dripping": Fault.dripping,
    "edited": Fault.edited,
    "gzip": Fault.gzip,
    "latency": Fault.latency,
    "not_success": Fault.not_success,
    "rate_limited": Fault.rate_limited,
    "redirect": Fault.redirect,
    "reset": Fault.reset,
    "silence": Fault.silence,
    "status": Fault.status,
    "truncated": Fault.truncated,
}
"""By name, for the admin calls."""


def check_form(name: str, form: str) -> None:
    """Refuse a form of Retry-After that there is not."""
    if form not in ("seconds", "date"):
        raise SandboxError(f'{name} must be "seconds" or "date", not {form!r}')


def retry_after_text(seconds: float, form: str, now: datetime) -> str:
    """Write a Retry-After header, rounded up: who waits that long has waited long enough."""
    if form == "seconds":
        return str(math.ceil(seconds))
    moment = now + timedelta(seconds=seconds)
    return format_datetime(moment + timedelta(microseconds=-moment.microsecond % 1_000_000), usegmt=True)


def _error_body(code: int, body: str, message: str) -> tuple[bytes, str | None]:
    if body == "json":
        return refusal_body(message), JSON
    if body == "empty":
        return b"", None
    title = f"{code} {_phrase(code)}"
    page = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return page.encode(), HTML


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "Origin error" if 520 <= code <= 526 else "Error"


def _seconds(name: str, value: float) -> float:
    return check_number(name, value, 0, 86_400)


def _headers(headers: dict[str, str]) -> dict[str, str]:
    if not isinstance(headers, dict):
        raise SandboxError(f"headers must be a mapping of names to texts, not {headers!r}")
    for name, value in headers.items():
        check_header(f"the header {check_header_name('headers', name)}", value)
        if name.lower() in _FRAMING:
            raise SandboxError(f"headers must not hold {name}: how a body is framed is the sandbox's affair")
    return dict(headers)


def _always(answer: Answer) -> Callable[[datetime], Answer]:
    return lambda _: answer


def _later(answer: Answer, retry_after: float | None, form: str) -> Callable[[datetime], Answer]:
    """Answer with this, and say when to come again; None for not at all."""
    if retry_after is None:
        return _always(answer)
    seconds = _seconds("retry_after", retry_after)
    return lambda now: answer.but(headers={"Retry-After": retry_after_text(seconds, form, now)})


def _is_squeezed(answer: Answer) -> bool:
    return "Content-Encoding" in answer.headers


def _squeeze(answer: Answer) -> Answer:
    if _is_squeezed(answer):
        return answer
    squeezed = gzip.compress(answer.body, mtime=0)
    return answer.but(body=squeezed, headers={**answer.headers, "Content-Encoding": "gzip"})


def _edit(answer: Answer, fields: dict[str, object]) -> Answer:
    body = gzip.decompress(answer.body) if _is_squeezed(answer) else answer.body
    # Told by its first character: another fault may have put it under a wrong name.
    envelope = decode(body) if body.startswith(b"{") else None
    if not isinstance(envelope, dict) or "data" not in envelope:
        return answer
    data = envelope["data"]
    edited = [{**row, **fields} for row in data] if isinstance(data, list) else {**data, **fields}
    whole = encode({**envelope, "data": edited})
    return answer.but(body=gzip.compress(whole, mtime=0) if _is_squeezed(answer) else whole)
