"""Removes secrets and account numbers from texts of the server or of a library, before they reach a log."""

from __future__ import annotations

import re

#: Characters of a text that are read, and that are shown.
_MAX_READ = 4096
_MAX_SHOWN = 300
_MAX_NAME = 100
_TAG = re.compile(r"<(script|style)\b.*?</\1>|<[a-zA-Z/!?][^>]*>?", re.IGNORECASE | re.DOTALL)
_KEY = re.compile(r"bsk_[\w-]+")
_BEARER = re.compile(r"(?i)\b(bearer) +[\w.~+/=-]{8,}")
#: ANSI escape sequences, which would act on the terminal of a reader of the log, all other control characters, and
#: those that show a text from right to left.
_CONTROL = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.?)"
    r"|[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)
_CREDENTIALS = re.compile(r"//\S{1,200}@")
#: Dates, times and UUIDs look like account numbers, but are not.
_DATES_AND_UUIDS = re.compile(
    r"((?<![\w-])(?:19|20)\d\d-[01]\d-[0-3]\d(?![\d-])(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?"
    r"|(?<![\w-])[0-3]\d-[01]\d-(?:19|20)\d\d(?![\d-])"
    r"|(?<!\w)[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?!\w))"
)
#: An IBAN, with or without groups of four, or at least eight digits, with or without groups, after no letter.
_ACCOUNT_NUMBER = re.compile(
    r"(?<!\w)[A-Z]{2}\d\d(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3}(?!\w))?"
    r"|(?<!\w)[A-Za-z]{2}\d\d[A-Za-z]{0,4}\d{8,26}"
    r"|(?<!\w)\d(?:[ -]?\d){7,}"
)


def redact(words: object, secret: str = "", most: int = _MAX_SHOWN) -> str:
    """Return one short line without keys, tokens, passwords, whole account numbers, HTML and control characters.

    :param most: maximum characters. A longer text is cut.
    """
    try:
        text = str(words)
    except RecursionError:
        text = "(nested too deeply to show)"
    text = _CONTROL.sub("", text)
    if secret:
        text = text.replace(secret, "***")
    if len(text) > _MAX_READ:
        # Cut at a space: the pattern would not match a part of an account number.
        text = text[:_MAX_READ].rpartition(" ")[0] or text[:_MAX_SHOWN]
    text = " ".join(_TAG.sub(" ", text).split())
    text = _CREDENTIALS.sub("//***@", _BEARER.sub(r"\1 ***", _KEY.sub("***", text)))
    parts = _DATES_AND_UUIDS.split(text)
    parts[::2] = [_ACCOUNT_NUMBER.sub(_last_four, part) for part in parts[::2]]
    text = "".join(parts)
    return f"{text[:most]}…" if len(text) > most else text


def show_name(name: object) -> str:
    """Return the name of a client, bank, account or feed for a log or an error. A client can choose any text."""
    return redact(name, most=_MAX_NAME)


def _last_four(number: re.Match[str]) -> str:
    return f"••••{re.sub('[ -]', '', number[0])[-4:]}"


def bullet_list(lines: list[str], most: int, total: int | None = None) -> str:
    """Return the first lines as a list below a message, with the number of the others.

    :param total: the number of all lines, if `lines` has only some of them.
    """
    beyond = (len(lines) if total is None else total) - most
    more = [f"and {beyond} more"] if beyond > 0 else []
    return "".join(f"\n- {line}" for line in [*lines[:most], *more])


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: ``1 row``, ``2 rows``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
