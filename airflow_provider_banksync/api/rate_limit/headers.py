"""What the headers of an answer say about the rate limit.

BankSync documents no such headers. If it sends them, under one of their usual names, they count.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFIXES = ("x-ratelimit-", "ratelimit-", "x-rate-limit-")
_NUMBER = re.compile(r"\s*(\d{1,12})(\.\d+)?\b")
_WINDOW = re.compile(r";\s*w=(\d{1,9})\b")
#: A larger value is no number of seconds from now, but of seconds since the epoch.
_MAX_SECONDS = 10**8


@dataclass(frozen=True)
class LimitHeaders:
    """The headers of one answer. A field is None if the answer does not tell it.

    :param limit: requests that the key may send in a window.
    :param window: length of the window in seconds.
    :param remaining: requests that are left in the current window.
    :param reset: seconds until there are more.
    """

    limit: int | None = None
    window: int | None = None
    remaining: int | None = None
    reset: float | None = None


def read_limit_headers(headers: Mapping[str, str]) -> LimitHeaders | None:
    """Return what the headers say; None if they say nothing.

    :param headers: with names in lower case.
    """
    limit, remaining = _number(headers, "limit"), _number(headers, "remaining")
    if limit is None and remaining is None:
        return None
    window = _WINDOW.search(f"{_text(headers, 'limit')} {_text(headers, 'policy')}")
    reset: float | None = _number(headers, "reset")
    if reset is not None and reset > _MAX_SECONDS:
        reset = max(0.0, reset - time.time())
    return LimitHeaders(limit or None, int(window[1]) if window else None, remaining, reset)


def _text(headers: Mapping[str, str], name: str) -> str:
    return next((headers[prefix + name] for prefix in _PREFIXES if prefix + name in headers), "")


def _number(headers: Mapping[str, str], name: str) -> int | None:
    number = _NUMBER.match(_text(headers, name))
    return int(number[1]) if number else None
