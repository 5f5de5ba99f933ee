"""pyrate-limiter's logs of requests, in which a request can be moved to the moment when the server counted it.

Requests are told apart by their moments (milliseconds) alone: of two with the same one, either may be moved.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

from pyrate_limiter import InMemoryBucket
from pyrate_limiter import RedisBucket as _RedisBucket
from pyrate_limiter import SQLiteBucket as _SQLiteBucket

if TYPE_CHECKING:
    from pyrate_limiter import RateItem


class MemoryBucket(InMemoryBucket):
    """A log in the memory of this process."""

    def moments(self, first: int, last: int) -> list[int]:
        """Return the moments from the first to the last, both included, in order."""
        moments = [item.timestamp for item in self.items]
        return moments[bisect_left(moments, first) : bisect_right(moments, last)]

    def move(self, old: int, new: int) -> bool:
        """Give a request another moment; False where none has the old one."""
        at = bisect_left(self.items, old, key=_moment)
        if at == len(self.items) or self.items[at].timestamp != old:
            return False
        item = self.items.pop(at)
        item.timestamp = new
        self.items.insert(bisect_right(self.items, new, key=_moment), item)
        return True


class SQLiteBucket(_SQLiteBucket):
    """A log in a file."""

    def moments(self, first: int, last: int) -> list[int]:
        """Return the moments from the first to the last, both included, in order."""
        found = self.conn.execute(
            f"SELECT item_timestamp FROM '{self.table}' WHERE item_timestamp BETWEEN ? AND ? ORDER BY 1",  # noqa: S608
            (first, last),
        )
        return [moment for (moment,) in found.fetchall()]

    def move(self, old: int, new: int) -> bool:
        """Give a request another moment; False where none has the old one."""
        with self.conn:  # a transaction
            moved = self.conn.execute(
                f"UPDATE '{self.table}' SET item_timestamp = ? WHERE rowid = "  # noqa: S608 - the table is ours
                f"(SELECT rowid FROM '{self.table}' WHERE item_timestamp = ? LIMIT 1)",
                (new, old),
            )
        return moved.rowcount == 1


class RedisBucket(_RedisBucket):
    """A log in a sorted set of a Redis server."""

    redis: Any  # its type allows for an asynchronous one, too

    def moments(self, first: int, last: int) -> list[int]:
        """Return the moments from the first to the last, both included, in order."""
        found = self.redis.zrangebyscore(self.bucket_key, first, last, withscores=True)
        return [int(moment) for _, moment in found]

    def move(self, old: int, new: int) -> bool:
        """Give a request another moment; False where none has the old one."""
        found = self.redis.zrangebyscore(self.bucket_key, old, old, start=0, num=1)
        for member in found:
            self.redis.zadd(self.bucket_key, {member: new})
        return bool(found)


def _moment(item: RateItem) -> int:
    return item.timestamp
