"""Checks that a row belongs to the workspace, bank, account or feed that was asked for.

A row that names another owner is an error, never a guess: a client's data must never be attributed to another client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_banksync.api.messages import Page
from airflow_provider_banksync.exceptions import BankSyncResponseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_banksync.api.messages import Call, Row, T

#: Their answers name other workspaces than the one that is addressed.
_ACROSS_WORKSPACES = ("whoami", "listWorkspaces")


def check_owner(call: Call[T], result: T, workspace_id: str | None) -> T:
    """Check that the objects of an answer belong to what the call asked for, and return the answer.

    :param workspace_id: the workspace of the client; None: the key's own, which is not known here.
    :raises BankSyncResponseError: an object names another owner.
    """
    owner, request = dict(call.owner), call.request
    addressed = request.workspace_id or workspace_id
    is_family = ("scope", "family") in request.query
    if addressed and not is_family and request.operation not in _ACROSS_WORKSPACES:
        owner["workspaceId"] = addressed
    rows = result.rows if isinstance(result, Page) else result if isinstance(result, list) else [result]
    if owner:
        check_row_owner((row for row in rows if isinstance(row, dict)), owner)
    return result


def check_row_owner(rows: Iterable[Row], expected_owner: Mapping[str, str]) -> None:
    """Check that rows belong to the expected owner.

    :param expected_owner: fields and their required values, such as ``accountId``. A row may lack a field.
    :raises BankSyncResponseError: a row has another value in one of the fields.
    """
    for row in rows:
        for name, expected in expected_owner.items():
            if row.get(name, expected) != expected:
                raise _not_attributable(row, f"has {name} {row[name]!r} instead of {expected!r}")


def check_family_rows(rows: Iterable[Row]) -> None:
    """Check that each row of a family listing names its workspace.

    :raises BankSyncResponseError: a row has no ``workspaceId``, or its ``portal`` is another workspace.
    """
    for row in rows:
        workspace_id, portal = row.get("workspaceId"), row.get("portal")
        if not isinstance(workspace_id, str) or not workspace_id:
            raise _not_attributable(row, "of a family listing has no workspaceId")
        if portal is not None and not (isinstance(portal, dict) and portal.get("id") == workspace_id):
            raise _not_attributable(
                row, f"of a family listing has workspaceId {workspace_id!r} but another portal"
            )


def portal_name(row: Row) -> str | None:
    """Return the name of the client of a row of a family listing. If it has no name, its id. None: the parent's row."""
    portal = row.get("portal")
    if not isinstance(portal, dict):
        return None
    name = portal.get("name")
    return name if isinstance(name, str) and name.strip() else str(portal.get("id"))


def _not_attributable(row: Row, problem: str) -> BankSyncResponseError:
    return BankSyncResponseError(
        f"a row (id {row.get('id')!r}) {problem}, so it cannot be attributed.",
        hint="No row of this answer was used. Report it to BankSync.",
    )
