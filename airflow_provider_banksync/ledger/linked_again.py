"""Accounts that come back under new ids, because their bank was linked again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_banksync.export.formats.schema import PORTAL_NAME
from airflow_provider_banksync.extract.partition import Unavailable
from airflow_provider_banksync.ledger.changes import concat
from airflow_provider_banksync.ledger.columns import ACCOUNT_ID, BANK_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_banksync.extract.partition import Partition
    from airflow_provider_banksync.ledger.table import PartState

#: The reason of an account that seems to be a known one under a new id.
LINKED_AGAIN = "linked_again"


def find_linked_again(
    partitions: Iterable[Partition], states: Iterable[PartState], rekey: Mapping[str, str]
) -> tuple[list[Unavailable], dict[str, Partition]]:
    """Return the new accounts that must wait for a decision, and the known account that each other new one replaces.

    An account waits if no earlier run has read it, and a known account with the same institution, currency and last
    digits is not listed any more. Its whole history would be in the table twice.

    :param partitions: the accounts that the API lists.
    :param rekey: ids of known accounts, each with the id of the account that replaces it. The same id: none does.
    """
    listed = {each.key: each for each in partitions}
    known = {each.partition.key: each.partition for each in states}
    gone = [each for key, each in known.items() if key not in listed]
    waiting, replaced = [], {}
    for key, new in listed.items():
        if key in known:
            continue
        old = next((each for each in gone if rekey.get(str(each.account_id)) == new.account_id), None)
        if old is not None:
            replaced[str(new.account_id)] = old
            continue
        same = [each for each in gone if _is_same(each, new) and str(each.account_id) not in rekey]
        if same:
            waiting.append(_waiting(new, same[0]))
    return waiting, replaced


def _is_same(one: Partition, other: Partition) -> bool:
    return (
        one.workspace_id == other.workspace_id and one.identity is not None and one.identity == other.identity
    )


def _waiting(new: Partition, old: Partition) -> Unavailable:
    return Unavailable(
        new,
        LINKED_AGAIN,
        f"it seems to be account {old.account_id}, which is not listed any more, under a new id: institution, currency "
        "and last digits are the same. Its rows are not written, because they would be in the table twice. If its bank "
        f"was linked again, pass rekey={{{old.account_id!r}: {new.account_id!r}}}. If they are two accounts, pass "
        f"rekey={{{old.account_id!r}: {old.account_id!r}}}.",
    )


def move_rows(old: pa.Table, rows: pa.Table, new: Partition) -> pa.Table:
    """Return the rows of a new account, and before them those rows of the old one that are older.

    :param old: the rows of the old account in the table.
    :param rows: all rows of the new account.
    """
    if not rows.num_rows:
        earlier = old
    else:
        first = pc.min(rows["date"])
        earlier = old.filter(pc.fill_null(pc.less(old["date"], first), False))
    for name, value in ((PORTAL_NAME, new.portal), (BANK_ID, new.bank_id), (ACCOUNT_ID, new.account_id)):
        at = earlier.schema.get_field_index(name)
        column = pa.repeat(pa.scalar(value, pa.string()), earlier.num_rows)
        earlier = earlier.set_column(at, earlier.schema.field(at), column)
    return concat([earlier, rows], rows.schema)
