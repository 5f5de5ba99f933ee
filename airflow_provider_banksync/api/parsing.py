"""Parsers from the envelope of an answer to its result, one for each kind of ``data``."""

from __future__ import annotations

from airflow_provider_banksync.api.messages import Page, Row
from airflow_provider_banksync.api.ownership import check_family_rows
from airflow_provider_banksync.api.redaction import counted
from airflow_provider_banksync.exceptions import BankSyncResponseError

#: Where an answer may say how many rows there are.
_TOTALS = ("count", "total", "totalCount")
_MAX_DIGITS = 18


def whole_number(value: object) -> int | None:
    """Return a number of rows, which may be sent as text; None if the value is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:_MAX_DIGITS])
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def parse_nothing(_: Row) -> None:
    """Accept an answer without data."""


def parse_object(envelope: Row) -> Row:
    """Return the object in ``data``."""
    data = envelope.get("data")
    if not isinstance(data, dict):
        raise BankSyncResponseError(f"data in the answer is {type(data).__name__}, not an object.")
    return data


def parse_rows(envelope: Row) -> list[Row]:
    """Return the list of objects in ``data``."""
    data = envelope.get("data")
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise BankSyncResponseError("data in the answer is not a list of objects.")
    return data


def _require_text(row: Row, name: str) -> Row:
    if not isinstance(row.get(name), str) or not row[name]:
        raise BankSyncResponseError(f"an object in the answer has no {name}.")
    return row


def parse_resource(envelope: Row) -> Row:
    """Return the object in ``data``, which must have an ``id``."""
    return _require_text(parse_object(envelope), "id")


def parse_whole_list(envelope: Row) -> list[Row]:
    """Return the list of objects in ``data``, which must be complete: the API documents no pages for it."""
    rows = parse_rows(envelope)
    meta = envelope.get("meta")
    places = (envelope, meta if isinstance(meta, dict) else {})
    if _has_more(places):
        raise _partial(f"it has {counted(len(rows), 'row')} and says that there are more")
    for place in places:
        for name in _TOTALS:
            total = whole_number(place.get(name))
            if total is not None and total != len(rows):
                raise _partial(f"it has {counted(len(rows), 'row')}, but its {name} is {total}")
    return rows


def _has_more(places: tuple[Row, Row]) -> bool:
    """Tell whether a list says that it continues: by ``hasMore``, or without that by a cursor or a link."""
    flags = [place["hasMore"] for place in places if place.get("hasMore") is not None]
    if flags:
        return any(flag is not False for flag in flags)
    links = places[0].get("links")
    next_page = links.get("next") if isinstance(links, dict) else None
    return bool(next_page) or any(place.get("cursor") or place.get("nextCursor") for place in places)


def _partial(problem: str) -> BankSyncResponseError:
    return BankSyncResponseError(
        f"the list is not complete: {problem}. No row of it was used.",
        hint="BankSync documents no pages for this list. If it happens again, report it to BankSync.",
    )


def parse_newest(envelope: Row) -> list[Row]:
    """Return the list of objects in ``data``, each of which must have an ``id``. There may be older ones."""
    return [_require_text(row, "id") for row in parse_rows(envelope)]


def parse_resources(envelope: Row) -> list[Row]:
    """Return the complete list of objects in ``data``. Each must have an ``id``, and comes once in each workspace."""
    rows = (_require_text(row, "id") for row in parse_whole_list(envelope))
    return list({(str(row.get("workspaceId")), row["id"]): row for row in rows}.values())


def parse_whoami(envelope: Row) -> Row:
    """Return the key's workspace."""
    return _require_text(parse_object(envelope), "workspaceId")


def parse_page(envelope: Row) -> Page:
    """Return the rows in ``data`` with the cursor and ``hasMore`` in ``meta``."""
    meta = envelope.get("meta")
    meta = {} if meta is None else meta
    more = meta.get("hasMore") if isinstance(meta, dict) else meta
    if more is not None and not isinstance(more, bool):
        raise BankSyncResponseError(
            "hasMore in the answer is not a boolean, so it is unclear whether more pages follow."
        )
    cursor = meta.get("cursor")
    rows = parse_rows(envelope)
    if rows and more is None and "cursor" not in meta:
        raise BankSyncResponseError(
            "the answer has neither hasMore nor a cursor, so it is unclear whether more pages follow."
        )
    return Page(
        rows, cursor if isinstance(cursor, str) and cursor else None, more, whole_number(meta.get("count"))
    )


def parse_family_rows(envelope: Row) -> list[Row]:
    """Return the rows of a family listing, each of which must name its workspace."""
    rows = parse_resources(envelope)
    check_family_rows(rows)
    return rows


def parse_newest_of_family(envelope: Row) -> list[Row]:
    """Return the rows as `parse_newest` does, each of which must name its workspace."""
    rows = parse_newest(envelope)
    check_family_rows(rows)
    return rows
