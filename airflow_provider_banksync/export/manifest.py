"""What an export consists of: the manifest, and the receipts from which it is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.export import layout

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT_VERSION = 2


@dataclass(frozen=True)
class Owner:
    """Whose rows: a workspace (and the portal's name, where it is one); for account data, the bank and the account."""

    workspace_id: str
    portal: str | None = None
    bank_id: str | None = None
    bank: str | None = None
    account_id: str | None = None
    account: str | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from all others."""
        return self.workspace_id, self.bank_id or "", self.account_id or ""

    def __str__(self) -> str:
        client = "own workspace" if self.portal is None else self.portal
        names = [f"client {client!r}" if self.portal is not None else client]
        if self.bank_id is not None:
            names.append(f"bank {self.bank or self.bank_id!r}")
        if self.account_id is not None:
            names.append(f"account {self.account or self.account_id!r} ({self.account_id})")
        return ", ".join(names)

    def described(self) -> dict[str, Any]:
        """Return its fields for a manifest; a listing's owner has no bank."""
        named = asdict(self)
        return (
            named if self.bank_id is not None else {name: named[name] for name in ("workspace_id", "portal")}
        )


@dataclass(frozen=True)
class File:
    """One file; `path` is relative to the folder of the export."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Receipt:
    """One owner's data is complete.

    :param cursor: where an incremental read of the account goes on.
    :param read_at: when it was read, ISO 8601.
    """

    owner: Owner
    files: tuple[File, ...]
    read_at: str
    cursor: str | None = None

    @property
    def rows(self) -> int:
        """How many rows the files have together."""
        return sum(file.rows for file in self.files)

    def dump(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "owner": asdict(self.owner),
            "files": [asdict(file) for file in self.files],
            "read_at": self.read_at,
            "cursor": self.cursor,
        }

    @classmethod
    def load(cls, value: dict[str, Any]) -> Receipt:
        """Read what `dump` gave.

        :raises KeyError, TypeError: it is something else.
        """
        return cls(
            Owner(**value["owner"]),
            tuple(File(**file) for file in value["files"]),
            value["read_at"],
            value["cursor"],
        )


@dataclass(frozen=True)
class Unavailable:
    """An account, or all of a bank, whose data could not be had.

    :param reason: ``sign_in`` (the bank wants its owner to sign in again), ``not_found``, ``forbidden``, ``refused``
        (the API takes the request for wrong), ``failed`` (another try may cure it).
    """

    owner: Owner
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.owner}: {self.message}"


@dataclass
class Manifest:
    """The list of all that an export consists of.

    :param head: resource, scope, window, format.
    :param receipts: what is complete.
    :param kept: of those, what an earlier run has read and this one could not.
    :param carried: cursors of accounts that were not read this time, from the batch before.
    :param choices: of a batch, whose data it has: `Settings.choice` of each task that has added to it.
    """

    head: dict[str, Any]
    receipts: list[Receipt]
    unavailable: list[Unavailable]
    generated_at: str
    kept: set[tuple[str, str, str]] = field(default_factory=set)
    carried: list[Receipt] = field(default_factory=list)
    choices: list[str] = field(default_factory=list)

    @property
    def files(self) -> list[File]:
        """All files."""
        return [file for receipt in self.receipts for file in receipt.files]

    @property
    def rows(self) -> int:
        """How many rows the files have."""
        return sum(receipt.rows for receipt in self.receipts)

    def dump(self, base: str) -> dict[str, Any]:
        """Return it as JSON values.

        :param base: the way from the manifest's folder to the one that the files' paths are relative to.
        """
        receipts = sorted(self.receipts, key=lambda receipt: receipt.owner.key)
        dumped = {
            "format_version": FORMAT_VERSION,
            **self.head,
            "generated_at": self.generated_at,
            "rows": self.rows,
            "base": base,
            "files": [
                {**asdict(file), **receipt.owner.described()}
                for receipt in receipts
                for file in receipt.files
            ],
        }
        accounts = [receipt for receipt in receipts if receipt.owner.account_id is not None]
        if accounts:
            dumped["accounts"] = [self._account(receipt) for receipt in accounts]
        if self.choices:
            dumped["choices"] = self.choices
        if self.carried:
            dumped["carried"] = [
                {**receipt.owner.described(), "read_at": receipt.read_at, "cursor": receipt.cursor}
                for receipt in sorted(self.carried, key=lambda receipt: receipt.owner.key)
            ]
        missing = sorted(self.unavailable, key=lambda each: each.owner.key)
        dumped["unavailable"] = [
            {**each.owner.described(), "reason": each.reason, "message": each.message} for each in missing
        ]
        return dumped

    def _account(self, receipt: Receipt) -> dict[str, Any]:
        account = {**receipt.owner.described(), "rows": receipt.rows, "read_at": receipt.read_at}
        if receipt.cursor is not None:
            account["cursor"] = receipt.cursor
        if receipt.owner.key in self.kept:
            account["kept"] = True
        return account


def receipts_of(dumped: dict[str, Any] | None) -> list[Receipt]:
    """Return the receipts that a manifest stands for; a damaged one has none, and none leads out of the folder."""
    try:
        return _receipts_of(dumped or {})
    except _DAMAGED:
        return []


def unavailable_of(dumped: dict[str, Any] | None) -> list[Unavailable]:
    """Return whom a manifest names as unavailable; a damaged one names nobody."""
    try:
        return _unavailable_of(dumped or {})
    except _DAMAGED:
        return []


def is_whole(dumped: dict[str, Any]) -> bool:
    """Tell whether a manifest says all that one of ours says: then an export can go on from it."""
    try:
        _receipts_of(dumped)
        _receipts_of({"accounts": dumped.get("carried", [])})
        _unavailable_of(dumped)
        return isinstance(dumped["rows"], int) and isinstance(dumped["files"], list)
    except _DAMAGED:
        return False


_DAMAGED = (KeyError, TypeError, ValueError, AttributeError)


def _receipts_of(dumped: dict[str, Any]) -> list[Receipt]:
    found: dict[tuple[str, str, str], Receipt] = {}
    for entry in dumped.get("accounts", []):
        owner = Owner(**_only(entry, Owner))
        found[owner.key] = Receipt(owner, (), entry["read_at"], entry.get("cursor"))
    for entry in dumped.get("files", []):
        owner, file = Owner(**_only(entry, Owner)), File(**_only(entry, File))
        if not layout.is_part(file.path):
            raise ValueError(file.path)
        so_far = found.get(owner.key) or Receipt(owner, (), str(dumped.get("generated_at")))
        found[owner.key] = Receipt(so_far.owner, (*so_far.files, file), so_far.read_at, so_far.cursor)
    return list(found.values())


def _unavailable_of(dumped: dict[str, Any]) -> list[Unavailable]:
    return [
        Unavailable(Owner(**_only(entry, Owner)), entry["reason"], entry["message"])
        for entry in dumped.get("unavailable", [])
    ]


def paths_of(dumped: dict[str, Any] | None) -> set[str]:
    """Return the files that a manifest lists; a damaged one lists what can be read of it."""
    files = (dumped or {}).get("files")
    listed: Iterable[Any] = files if isinstance(files, list) else []
    paths = (entry.get("path") for entry in listed if isinstance(entry, dict))
    return {path for path in paths if isinstance(path, str) and layout.is_part(path)}


def _only(entry: dict[str, Any], kind: type[Owner | File]) -> dict[str, Any]:
    return {each.name: entry[each.name] for each in fields(kind) if each.name in entry}
