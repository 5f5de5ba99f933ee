"""pyrate-limiter's logs of requests, in memory, in a SQLite file or in Redis, with entries that can be moved.

The limiter moves an entry to the time when the server counted the request. It finds an entry only by its timestamp in
milliseconds. If two entries have the same timestamp, it may move either.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrate_limiter import InMemoryBucket
from pyrate_limiter import RedisBucket as _RedisBucket
from pyrate_limiter import SQLiteBucket as _SQLiteBucket

from airflow_provider_banksync.api.validation import SQLITE_SCHEME
from airflow_provider_banksync.exceptions import BankSyncConfigError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    from pyrate_limiter import Rate, RateItem

    #: One of the classes below. pyrate-limiter types their results as values or awaitables.
    MovableBucket: TypeAlias = Any

#: Seconds after which a store that does not answer counts as unavailable.
BACKEND_TIMEOUT = 5.0


class MemoryBucket(InMemoryBucket):
    """A log in the memory of this process."""

    def timestamps(self, first: int, last: int) -> list[int]:
        """Return the timestamps from the first to the last, both included, in order."""
        found = [item.timestamp for item in self.items]
        return found[bisect_left(found, first) : bisect_right(found, last)]

    def move(self, old: int, new: int) -> bool:
        """Give an entry another timestamp. Return False if no entry has the old one."""
        at = bisect_left(self.items, old, key=_timestamp)
        if at == len(self.items) or self.items[at].timestamp != old:
            return False
        item = self.items.pop(at)
        item.timestamp = new
        self.items.insert(bisect_right(self.items, new, key=_timestamp), item)
        return True


class SQLiteBucket(_SQLiteBucket):
    """A log in a SQLite file."""

    def timestamps(self, first: int, last: int) -> list[int]:
        """Return the timestamps from the first to the last, both included, in order."""
        found = self.conn.execute(
            f"SELECT item_timestamp FROM '{self.table}' WHERE item_timestamp BETWEEN ? AND ? ORDER BY 1",  # noqa: S608
            (first, last),
        )
        return [timestamp for (timestamp,) in found.fetchall()]

    def move(self, old: int, new: int) -> bool:
        """Give an entry another timestamp. Return False if no entry has the old one."""
        with self.conn:  # a transaction
            moved = self.conn.execute(
                f"UPDATE '{self.table}' SET item_timestamp = ? WHERE rowid = "  # noqa: S608 - the table is ours
                f"(SELECT rowid FROM '{self.table}' WHERE item_timestamp = ? LIMIT 1)",
                (new, old),
            )
        return moved.rowcount == 1


class RedisBucket(_RedisBucket):
    """A log in a sorted set of a Redis server."""

    redis: Any  # pyrate-limiter's type includes the asynchronous client

    def store_time(self) -> float:
        """Return the server's time in seconds since the epoch."""
        seconds, microseconds = self.redis.time()
        return float(seconds) + float(microseconds) / 1e6

    def timestamps(self, first: int, last: int) -> list[int]:
        """Return the timestamps from the first to the last, both included, in order."""
        found = self.redis.zrangebyscore(self.bucket_key, first, last, withscores=True)
        return [int(timestamp) for _, timestamp in found]

    def move(self, old: int, new: int) -> bool:
        """Give an entry another timestamp. Return False if no entry has the old one."""
        found = self.redis.zrangebyscore(self.bucket_key, old, old, start=0, num=1)
        for member in found:
            self.redis.zadd(self.bucket_key, {member: new})
        return bool(found)


def _timestamp(item: RateItem) -> int:
    return item.timestamp


#: The extra `shared-limit`. It names the libraries, which every package index has.
INSTALL_HINT = "Install what it needs on every worker and triggerer: pip install filelock redis"


def open_backend(
    url: str, rate: Rate, name: str, password: str | None = None
) -> tuple[MovableBucket, AbstractContextManager[Any]]:
    """Open a store. Return its `MovableBucket`, and the lock that every process takes around it.

    :param name: separates the rate limits of several keys in one store.
    :param password: of a Redis server.
    :raises BankSyncConfigError: a library is not installed.
    """
    try:
        if url.startswith("redis"):
            return _open_redis(url, rate, name, password)
        return _open_sqlite(url, rate, name)
    except ImportError as error:
        raise BankSyncConfigError(
            f"rate_limit_store needs {error.name}, which is not installed.",
            hint=INSTALL_HINT,
        ) from error


def _open_sqlite(url: str, rate: Rate, name: str) -> tuple[MovableBucket, AbstractContextManager[Any]]:
    from filelock import FileLock

    path = Path(url.removeprefix(SQLITE_SCHEME))
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock", timeout=BACKEND_TIMEOUT)
    with lock:
        bucket = SQLiteBucket.init_from_file([rate], table=name, db_path=str(path))
        # If the machine crashes, a minute of entries may be lost. Waiting for the disk each time would cost more.
        bucket.conn.execute("PRAGMA synchronous=OFF")
    weakref.finalize(bucket, bucket.conn.close)
    return bucket, lock


def _open_redis(
    url: str, rate: Rate, name: str, password: str | None
) -> tuple[MovableBucket, AbstractContextManager[Any]]:
    from redis import Redis

    client = Redis.from_url(
        url, password=password, socket_timeout=BACKEND_TIMEOUT, socket_connect_timeout=BACKEND_TIMEOUT
    )
    bucket = RedisBucket.init([rate], client, f"{name}:requests")
    # If the process that holds the lock dies, the lock expires before the other processes time out.
    lock = client.lock(
        f"{name}:lock", timeout=BACKEND_TIMEOUT / 2, blocking_timeout=BACKEND_TIMEOUT, sleep=0.01
    )
    return bucket, lock
