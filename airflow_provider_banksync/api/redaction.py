"""What the server, or a library, says is made fit for a log here, before anybody reads it."""

from __future__ import annotations

import re

#: A text is looked at up to here, and no more than this of what was made of it is shown.
_LONGEST_READ = 4096
_LONGEST = 300
_TAG = re.compile(r"<[a-zA-Z/!?][^>]*>?")
_KEY = re.compile(r"bsk_[A-Za-z0-9]+")
_CREDENTIALS = re.compile(r"//\S{1,200}@")
#: Days, moments and UUIDs are no account numbers, although they look like some.
_HARMLESS = re.compile(
    r"((?<![\w-])(?:19|20)\d\d-[01]\d-[0-3]\d(?![\d-])(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?"
    r"|(?<![\w-])[0-3]\d-[01]\d-(?:19|20)\d\d(?![\d-])"
    r"|(?<!\w)[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?!\w))"
)
#: An IBAN, in one piece or in groups of four; or eight digits and more, in groups or not, that no letter leads.
_ACCOUNT_NUMBER = re.compile(
    r"(?<!\w)[A-Z]{2}\d\d(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3}(?!\w))?"
    r"|(?<!\w)[A-Za-z]{2}\d\d[A-Za-z]{0,4}\d{8,26}"
    r"|(?<!\w)\d(?:[ -]?\d){7,}"
)


def scrub(words: object, secret: str = "") -> str:
    """Make words fit for a log: no key or password, no whole account number, no HTML, one short line."""
    try:
        text = str(words)
    except RecursionError:
        text = "(nested too deeply to be shown)"
    if secret:
        text = text.replace(secret, "***")
    if len(text) > _LONGEST_READ:
        # Without what may be a part of a word: the start of an account number would not be known for one.
        text = text[:_LONGEST_READ].rpartition(" ")[0] or text[:_LONGEST]
    text = " ".join(_TAG.sub(" ", text).split())
    text = _CREDENTIALS.sub("//***@", _KEY.sub("***", text))
    parts = _HARMLESS.split(text)
    parts[::2] = [_ACCOUNT_NUMBER.sub(_last_four, part) for part in parts[::2]]
    text = "".join(parts)
    return f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text


def _last_four(number: re.Match[str]) -> str:
    return f"••••{re.sub('[ -]', '', number[0])[-4:]}"


def bullets(lines: list[str], most: int, total: int | None = None) -> str:
    """Return the first lines as a list below a message, and how many there are beyond them.

    :param total: how many there are, where `lines` are not all.
    """
    beyond = (len(lines) if total is None else total) - most
    more = [f"and {beyond} more"] if beyond > 0 else []
    return "".join(f"\n- {line}" for line in [*lines[:most], *more])
