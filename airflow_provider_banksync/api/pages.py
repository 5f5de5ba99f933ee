"""Pages of transactions as they came, for those who only pass them on: no row is taken apart."""

from __future__ import annotations

import codecs
import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_banksync.api import codec, endpoints, parsers
from airflow_provider_banksync.exceptions import BankSyncResponseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import msgspec

    from airflow_provider_banksync.api.messages import Call, Row

_PIECE = 64 * 1024


@dataclass(frozen=True)
class RawPage:
    """One page of transactions, not taken apart.

    :param raw: a JSON object for each row, UTF-8, without a line break, every digit as it was sent.
    :param cursor: as in `messages.Page`.
    :param owner: what `check_owner` has yet to see to; empty where that was done.
    """

    raw: Sequence[bytes]
    cursor: str | None
    has_more: bool
    owner: Mapping[str, str] = field(default_factory=dict)


def list_transactions(
    bank_id: str,
    account_id: str,
    from_date: str | None = None,
    to_date: str | None = None,
    cursor: str | None = None,
    *,
    workspace_id: str | None = None,
    unchecked: bool = False,
) -> Call[RawPage]:
    """One page of transactions, as `endpoints.list_transactions`, whose rows are of this account and no other.

    :param unchecked: whoever gets the page takes its rows apart, which shows at no cost whose they are, and that each
        is an object: then this is left to him.
    :raises BankSyncResponseError: a row names another account or bank.
    """
    call = endpoints.list_transactions(
        bank_id, account_id, from_date, to_date, cursor, workspace_id=workspace_id
    )
    owner = {"bankId": bank_id, "accountId": account_id}
    scan = _glance(owner) if unchecked else _scanner(owner)
    return replace(call, parse=_parser(owner), scan=scan)  # type: ignore[arg-type,return-value]


def check_owner(rows: Sequence[Row], owner: Mapping[str, str]) -> None:
    """See that rows are of whom they were asked for.

    :param owner: fields that say so, with their values; a row need not have them.
    :raises BankSyncResponseError: a row says otherwise.
    """
    for row in rows:
        for name, wanted in owner.items():
            if row.get(name, wanted) != wanted:
                raise BankSyncResponseError(
                    f"a row (id {row.get('id')!r}) has the {name} {row[name]!r}, but {wanted!r} was asked for, so it "
                    "cannot be attributed.",
                    hint="Nothing of it was kept; report it to BankSync.",
                )


def _parser(owner: dict[str, str]) -> Callable[[Row], RawPage]:
    def parse(envelope: Row) -> RawPage:
        page = parsers.page(envelope)
        check_owner(page.rows, owner)
        return RawPage([codec.dumps(row) for row in page.rows], page.cursor, page.has_more)

    return parse


def _scanner(owner: dict[str, str]) -> Callable[[bytes], RawPage | None]:
    glance = _glance(owner)

    def scan(body: bytes) -> RawPage | None:
        """Return the page, if it is one beyond doubt; None leaves it to the parser, which says what is wrong."""
        import msgspec

        page = glance(body)
        if page is None:
            return None
        try:
            _owned(tuple(owner.items())).decode_lines(b"\n".join(page.raw))
        except (msgspec.MsgspecError, RecursionError):
            return None
        return replace(page, owner={})

    return scan


@functools.lru_cache(maxsize=64)
def _owned(owner: tuple[tuple[str, str], ...]) -> msgspec.json.Decoder[Any]:
    """Return what reads a row of this owner, or one that does not say whose it is, and no other."""
    import msgspec

    fields = [(name, Literal[value], msgspec.UNSET) for name, value in owner]
    return msgspec.json.Decoder(msgspec.defstruct("Owned", fields, gc=False))


def _glance(owner: dict[str, str]) -> Callable[[bytes], RawPage | None]:
    def scan(body: bytes) -> RawPage | None:
        """Return the page with its rows unchecked; None leaves it to the parser, which says what is wrong."""
        import msgspec

        try:
            found: Any = _envelope().decode(body)
            _check_utf8(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        if found.success is not True or b"\n" in body or b"\r" in body:
            return None
        return RawPage(found.data, found.meta.cursor or None, found.meta.hasMore is True, owner)

    return scan


def _check_utf8(body: bytes) -> None:
    if body.isascii():
        return
    # In pieces that stay in the processor's cache: twice as fast as in one.
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(body)
    for start in range(0, len(view), _PIECE):
        decoder.decode(view[start : start + _PIECE])
    decoder.decode(b"", final=True)


@functools.cache
def _envelope() -> msgspec.json.Decoder[Any]:
    import msgspec

    meta = msgspec.defstruct("Meta", [("cursor", str | None, None), ("hasMore", bool | None, None)])
    fields = [("success", bool), ("data", list[msgspec.Raw]), ("meta", meta)]
    return msgspec.json.Decoder(msgspec.defstruct("Envelope", fields))
