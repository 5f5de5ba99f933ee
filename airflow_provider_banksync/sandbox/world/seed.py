"""Everything random in the sandbox, derived from one number by hashing.

A hash, not ``random``: the same seed gives the same world in every process and on every Python version.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

ID_LENGTH = 20
"""The characters of an id."""

# Ids are letters and digits only, so two letters replace + and /.
_ALPHANUMERIC = bytes.maketrans(b"+/", b"Qz")


class RandomDraws:
    """Random values. Each draw uses up a part of one large number."""

    __slots__ = ("_pool",)

    def __init__(self, pool: int | bytes) -> None:
        self._pool = pool if isinstance(pool, int) else int.from_bytes(pool, "big")

    def below(self, limit: int) -> int:
        """Draw an integer from 0 to ``limit - 1``."""
        self._pool, value = divmod(self._pool, limit)
        return value

    def between(self, low: int, high: int) -> int:
        """Draw an integer from ``low`` to ``high``, both included."""
        return low + self.below(high - low + 1)

    def pick(self, options: Sequence[T]) -> T:
        """Draw one of the options."""
        return options[self.below(len(options))]

    def chance(self, share: float) -> bool:
        """Return True in ``share`` of all cases: never at 0, always at 1."""
        return self.below(10_000) < share * 10_000


class Seed:
    """The number that generates a world. A path names one object: ``seed.id("bank", workspace_id, 0)``."""

    def __init__(self, number: int) -> None:
        self.number = number

    def draws(self, *path: object) -> RandomDraws:
        """Return the draws of a path, always the same."""
        return RandomDraws(self.digest(128, *path))

    def digest(self, size: int, *path: object) -> bytes:
        """Return this many bytes."""
        return hashlib.shake_256(self._material(path)).digest(size)

    def letters(self, length: int, *path: object) -> bytes:
        """Return this many letters and digits, in ASCII."""
        digest = self.digest((length * 3 + 3) // 4, *path)
        return base64.b64encode(digest).translate(_ALPHANUMERIC)[:length]

    def id(self, *path: object) -> str:
        """Return an opaque id of 20 letters and digits."""
        return self.token(15, *path)

    def token(self, size: int, *path: object) -> str:
        """Return the letters and digits of ``size`` bytes: four for three bytes."""
        digest = hashlib.blake2b(self._material(path), digest_size=size).digest()
        return base64.b64encode(digest).translate(_ALPHANUMERIC).decode("ascii")

    def _material(self, path: tuple[object, ...]) -> bytes:
        # The separator keeps ("a", 11) and ("a1", 1) apart.
        return "\x1f".join((str(self.number), *map(str, path))).encode()
