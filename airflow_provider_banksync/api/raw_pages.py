"""Pages of transactions whose rows stay bytes. An export to JSON Lines never decodes them."""

from __future__ import annotations

import codecs
import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from airflow_provider_banksync.api import codec, parsing
from airflow_provider_banksync.api.messages import RawPage
from airflow_provider_banksync.api.ownership import check_row_owner
from airflow_provider_banksync.api.page_check import day_of, id_of

if TYPE_CHECKING:
    from airflow_provider_banksync.api.messages import Call, Page, Row

_CHUNK = 64 * 1024


def keep_raw(call: Call[Page], owner: Row) -> Call[RawPage]:
    """Return the call for the same page of transactions with raw rows.

    :param owner: the fields that each row must have with this value, or not at all: ``workspaceId``, ``bankId`` and
        ``accountId``.
    :raises BankSyncResponseError: when the call is sent, if a row has another owner.
    """

    def parse(envelope: Row) -> RawPage:
        page = parsing.parse_page(envelope)
        check_row_owner(page.rows, owner)
        return RawPage(
            [codec.dumps(row) for row in page.rows],
            page.cursor,
            page.has_more,
            ids=list(map(id_of, page.rows)),
            days=list(map(day_of, page.rows)),
            count=page.count,
        )

    parse_bytes = functools.partial(_split_rows, owner=tuple(owner.items()))
    return replace(call, parse=parse, parse_bytes=parse_bytes)  # type: ignore[arg-type,return-value]


def _split_rows(body: bytes, *, owner: tuple[tuple[str, str], ...]) -> RawPage | None:
    """Return the page with undecoded rows. None leaves an unusual answer to the parser, which reports the problem."""
    try:
        envelope: Any = _envelope_decoder().decode(body)
        _check_utf8(body)
        rows: list[Any] = _row_decoder(owner).decode_lines(b"\n".join(envelope.data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if envelope.success is not True or b"\n" in body or b"\r" in body:
        return None
    if envelope.meta.hasMore is None and not envelope.meta.cursor:
        return None
    return RawPage(
        envelope.data,
        envelope.meta.cursor or None,
        envelope.meta.hasMore,
        ids=[row.id or None for row in rows],
        days=[row.date for row in rows],
        count=parsing.whole_number(envelope.meta.count),
    )


def _check_utf8(body: bytes) -> None:
    if body.isascii():
        return
    # Chunks that fit the processor's cache are twice as fast as the whole body.
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(body)
    for start in range(0, len(view), _CHUNK):
        decoder.decode(view[start : start + _CHUNK])
    decoder.decode(b"", final=True)


@functools.cache
def _envelope_decoder() -> msgspec.json.Decoder[Any]:
    fields = [("cursor", str | None, None), ("hasMore", bool | None, None), ("count", Any, None)]
    meta = msgspec.defstruct("Meta", fields)
    members = [("success", bool), ("data", list[msgspec.Raw]), ("meta", meta)]
    return msgspec.json.Decoder(msgspec.defstruct("Envelope", members))


@functools.lru_cache(maxsize=64)
def _row_decoder(owner: tuple[tuple[str, str], ...]) -> msgspec.json.Decoder[Any]:
    """Return a decoder of id and date, which accepts only rows with these values, or without the fields."""
    fields = [(name, Literal[value], msgspec.UNSET) for name, value in owner]
    read = [("id", str | None, None), ("date", str | None, None)]
    return msgspec.json.Decoder(msgspec.defstruct("Row", [*read, *fields], gc=False))
