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
from airflow_provider_banksync.sandbox.encoding import decode, encode
from airflow_provider_banksync.sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

_BODIES = ("json", "html", "empty")
_REDIRECTS = (301, 302, 303, 307, 308)


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
    def status(cls, code: int, *, body: str = "json", message: str | None = None) -> Fault:
        """Answer with an error status: ``body`` is "json" (the envelope), "html" (an edge's page) or "empty"."""
        if not 400 <= code <= 599:
            raise SandboxError(f"code must be an error status, 400 to 599, not {code}")
        if body not in _BODIES:
            raise SandboxError(f"body must be one of {', '.join(_BODIES)}, not {body!r}")
        content, media_type = _error_body(code, body, message or f"{_phrase(code)} (a fault of the sandbox)")
        return cls("status", instead=_always(Answer(code, content, media_type)))

    @classmethod
    def rate_limited(cls, retry_after: float | None = 1, *, form: str = "seconds") -> Fault:
        """Answer 429; Retry-After in the form of "seconds" or of a "date" by the sandbox's clock, or None for none."""
        check_form("form", form)
        refused = Answer(429, refusal_body("Rate limit exceeded"))
        if retry_after is None:
            return cls("rate_limited", instead=_always(refused))
        seconds = _seconds("retry_after", retry_after)
        return cls(
            "rate_limited",
            instead=lambda now: refused.but(headers={"Retry-After": retry_after_text(seconds, form, now)}),
        )

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
        if not 0 <= part < 1:
            raise SandboxError(f"part must be at least 0 and below 1, not {part}")
        return cls("truncated", reshape=lambda answer: answer.but(wire="cut", part=part))

    @classmethod
    def dripping(cls, seconds: float) -> Fault:
        """Send the body in small pieces, which take so many seconds in all."""
        _seconds("seconds", seconds)
        return cls("dripping", reshape=lambda answer: answer.but(wire="dripping", seconds=seconds))

    @classmethod
    def content_type(cls, media_type: str | None) -> Fault:
        """Send the true answer under another Content-Type; None for no such header."""
        return cls("content_type", reshape=lambda answer: answer.but(media_type=media_type))

    @classmethod
    def gzip(cls) -> Fault:
        """Send the true answer compressed, whether that was asked for or not."""
        return cls("gzip", reshape=_squeeze)

    @classmethod
    def edited(cls, **fields: object) -> Fault:
        """Send the true answer with these fields in its ``data``, in each row of it where that is a list."""
        try:
            encode(fields)
        except TypeError as error:
            raise SandboxError(
                f"edited fields are written as JSON: {error}; use Decimal for fractions"
            ) from None
        return cls("edited", reshape=lambda answer: _edit(answer, fields))

    @classmethod
    def not_success(cls, message: str = "Something went wrong") -> Fault:
        """Answer 200, with ``success: false`` in the body."""
        return cls("not_success", instead=_always(Answer(200, refusal_body(message))))

    @classmethod
    def redirect(cls, to: str, *, status: int = 307) -> Fault:
        """Send the client elsewhere: to a URL, of another origin for instance."""
        if status not in _REDIRECTS:
            raise SandboxError(f"status must be one of {', '.join(map(str, _REDIRECTS))}, not {status}")
        return cls("redirect", instead=_always(Answer(status, b"", None, {"Location": to})))

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
        if not 200 <= status <= 599:
            raise SandboxError(f"status must be between 200 and 599, not {status}")
        content = body.encode() if isinstance(body, str) else body
        return cls("answer", instead=_always(Answer(status, content, media_type, dict(headers or {}))))


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
    if form not in {"seconds", "date"}:
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
    if not (math.isfinite(value) and 0 <= value <= 86_400):
        raise SandboxError(f"{name} must be a number of seconds from 0 to 86400, not {value}")
    return value


def _always(answer: Answer) -> Callable[[datetime], Answer]:
    return lambda _: answer


def _squeeze(answer: Answer) -> Answer:
    squeezed = gzip.compress(answer.body, mtime=0)
    return answer.but(body=squeezed, headers={**answer.headers, "Content-Encoding": "gzip"})


def _edit(answer: Answer, fields: dict[str, object]) -> Answer:
    envelope = decode(answer.body) if answer.media_type == JSON and answer.body else None
    if not isinstance(envelope, dict) or "data" not in envelope:
        return answer
    data = envelope["data"]
    edited = [{**row, **fields} for row in data] if isinstance(data, list) else {**data, **fields}
    return answer.but(body=encode({**envelope, "data": edited}))
