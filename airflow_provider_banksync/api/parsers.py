"""From the envelope of an answer to its result: what each endpoint's ``data`` must look like."""

from __future__ import annotations

from airflow_provider_banksync.api.messages import Page, Row
from airflow_provider_banksync.exceptions import BankSyncResponseError


def nothing(_: Row) -> None:
    """An answer without data."""


def one(envelope: Row) -> Row:
    """The object in ``data``."""
    data = envelope.get("data")
    if not isinstance(data, dict):
        raise BankSyncResponseError(f"the answer's data is not an object but {type(data).__name__}.")
    return data


def rows(envelope: Row) -> list[Row]:
    """The list of objects in ``data``."""
    data = envelope.get("data")
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise BankSyncResponseError("the answer's data is not a list of objects.")
    return data


def _identified(row: Row) -> Row:
    if not isinstance(row.get("id"), str) or not row["id"]:
        raise BankSyncResponseError("the answer holds an object without an id.")
    return row


def thing(envelope: Row) -> Row:
    """The object in ``data``, which has an ``id``."""
    return _identified(one(envelope))


def things(envelope: Row) -> list[Row]:
    """The list of objects in ``data``, each with an ``id``."""
    return [_identified(row) for row in rows(envelope)]


def whoami(envelope: Row) -> Row:
    """The key's workspace."""
    found = one(envelope)
    if not isinstance(found.get("workspaceId"), str) or not found["workspaceId"]:
        raise BankSyncResponseError("the answer does not say which workspace the key belongs to.")
    return found


def page(envelope: Row) -> Page:
    """One page: the rows in ``data``, and what ``meta`` says about the next."""
    meta = envelope.get("meta")
    meta = {} if meta is None else meta
    more = meta.get("hasMore") if isinstance(meta, dict) else meta
    if more is not None and not isinstance(more, bool):
        raise BankSyncResponseError(
            "the answer does not say whether there are more pages: hasMore is no boolean."
        )
    cursor = meta.get("cursor")
    return Page(rows(envelope), cursor if isinstance(cursor, str) and cursor else None, more is True)


def family_rows(envelope: Row) -> list[Row]:
    """Rows of a family listing: one that does not say whose it is must never be given to anybody."""
    family = things(envelope)
    for row in family:
        workspace_id, portal = row.get("workspaceId"), row.get("portal")
        if not isinstance(workspace_id, str) or not workspace_id:
            raise BankSyncResponseError(
                f"a row of the family listing (id {row.get('id')!r}) has no workspaceId, so it cannot be attributed.",
                hint="Nothing was returned; report it to BankSync.",
            )
        if portal is not None and not (isinstance(portal, dict) and portal.get("id") == workspace_id):
            raise BankSyncResponseError(
                f"a row of the family listing (id {row.get('id')!r}) names workspaceId {workspace_id!r} but another "
                "portal, so it cannot be attributed.",
                hint="Nothing was returned; report it to BankSync.",
            )
    return family
