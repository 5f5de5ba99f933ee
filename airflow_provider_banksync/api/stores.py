"""Where the workers of a host, or of a cluster, keep the log of one rate budget."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_banksync.exceptions import BankSyncConfigError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from pyrate_limiter import Rate, RateItem

#: A store that does not answer within this time (seconds) is done without.
PATIENCE = 5.0
_EXTRA = "Install airflow-provider-banksync[shared-limit] on every worker and triggerer."
_SQLITE = "sqlite:///"


class Bucket(Protocol):
    """What the budget uses of the logs in `buckets`."""

    rates: list[Rate]

    def count(self) -> Any:
        """Return how many requests are logged."""

    def put(self, item: RateItem) -> Any:
        """Log a request if the limit allows it at its moment; False where it does not."""

    def peek(self, index: int) -> Any:
        """Return the latest request for 0, the one before it for 1; None where there is none."""

    def waiting(self, item: RateItem) -> Any:
        """Return milliseconds until the refused request fits."""

    def leak(self, current_timestamp: int | None = None) -> Any:
        """Forget what no longer counts."""

    def moments(self, first: int, last: int) -> list[int]:
        """Return the moments from the first to the last, both included, in order."""

    def move(self, old: int, new: int) -> bool:
        """Give a request another moment; False where none has the old one."""

    def flush(self) -> Any:
        """Forget all."""


def check_store(url: str | None) -> str | None:
    """Return the address of a store, if it is one.

    :param url: ``sqlite:///<path of a file>``, ``redis://…`` or ``rediss://…``; None is this process's memory.
    :raises BankSyncConfigError: it is none of these. What it holds is not repeated: it may be a password.
    """
    if url is None or url.startswith(("redis://", "rediss://")):
        return url
    if url.startswith(_SQLITE) and Path(url.removeprefix(_SQLITE)).is_absolute():
        return url
    raise BankSyncConfigError(
        "rate_limit_store in the field Extra is no address of a store.",
        hint="Write sqlite:////var/lib/banksync/budget.sqlite (an absolute path that all workers of the host may "
        "write), or redis://host:6379/0, or leave it empty.",
    )


def open_store(url: str, rate: Rate, name: str) -> tuple[Bucket, AbstractContextManager[Any]]:
    """Open a store and return its bucket, and the lock that all its users take around it.

    :param name: tells the budgets of several keys in one store apart.
    :raises BankSyncConfigError: a library that it needs is not there.
    """
    try:
        opened = _redis(url, rate, name) if url.startswith("redis") else _sqlite(url, rate, name)
    except ImportError as error:
        raise BankSyncConfigError(
            f"rate_limit_store needs {error.name}, which is not installed.", hint=_EXTRA
        ) from error
    return opened


def _sqlite(url: str, rate: Rate, name: str) -> tuple[Bucket, AbstractContextManager[Any]]:
    from filelock import FileLock

    from airflow_provider_banksync.api.buckets import SQLiteBucket

    path = Path(url.removeprefix(_SQLITE))
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock", timeout=PATIENCE)
    with lock:
        bucket: Any = SQLiteBucket.init_from_file(  # typed as if it were pyrate-limiter's own
            [rate], table=name, db_path=str(path)
        )
        # What a crash of the machine would lose counts for a minute: not worth waiting for the disk each time.
        bucket.conn.execute("PRAGMA synchronous=OFF")
    weakref.finalize(bucket, bucket.conn.close)
    return bucket, lock


def _redis(url: str, rate: Rate, name: str) -> tuple[Bucket, AbstractContextManager[Any]]:
    from redis import Redis

    from airflow_provider_banksync.api.buckets import RedisBucket

    client = Redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
    bucket = RedisBucket.init([rate], client, f"{name}:requests")
    # The lock ends by itself when its holder dies, before the others lose their patience.
    lock = client.lock(f"{name}:lock", timeout=PATIENCE / 2, blocking_timeout=PATIENCE, sleep=0.01)
    return bucket, lock
