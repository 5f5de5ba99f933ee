"""What a ledger keeps of each account, as the rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from airflow_provider_banksync.extract.partition import Partition
from airflow_provider_banksync.ledger.columns import TIMESTAMP
from airflow_provider_banksync.ledger.table import PartState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_banksync.ledger.table import Part, Rules

#: The ids of the account, or of the workspace of a listing, with empty texts instead of null. Then names for people,
#: and `PartState`. The table of the state has one row for each account.
STATE_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("workspace_id", "bank_id", "account_id")),
        *((name, pa.string()) for name in ("portal", "bank", "account", "identity", "family", "resource")),
        ("cursor", pa.string()),
        ("from_date", pa.date32()),
        ("read_at", TIMESTAMP),
    ]
)


def state_rows(parts: Sequence[Part], rules: Rules) -> pa.Table:
    """Return a row for each part."""
    rows = [
        {
            **dict(zip(("workspace_id", "bank_id", "account_id"), part.key, strict=True)),
            "portal": part.partition.portal,
            "bank": part.partition.bank,
            "account": part.partition.account,
            "identity": part.partition.identity,
            "family": rules.family,
            "resource": rules.resource,
            "cursor": part.cursor,
            "from_date": part.from_date,
            "read_at": part.read_at,
        }
        for part in parts
    ]
    return pa.Table.from_pylist(rows, STATE_SCHEMA)


def states_of(table: pa.Table) -> list[PartState]:
    """Return the state of each row."""
    return [
        PartState(
            Partition(
                row["workspace_id"],
                row["portal"],
                row["bank_id"] or None,
                row["bank"],
                row["account_id"] or None,
                row["account"],
                row["identity"],
            ),
            row["read_at"],
            row["cursor"],
            row["from_date"],
            row["family"],
            row["resource"],
        )
        for row in table.to_pylist()
    ]
