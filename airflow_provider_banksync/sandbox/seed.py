"""Everything that looks random in the sandbox, derived from one number by hashing.

A hash and not ``random``: the same seed gives the same world on every Python version, in every process, and any
single row can be computed without computing the ones before it.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

ID_LENGTH = 20
"""Characters of an id."""

# An id is letters and digits only; two letters standing in for + and / cost nothing that matters here.
_ALPHANUMERIC = bytes.maketrans(b"+/", b"Qz")


class Dice:
    """A run of choices for one thing; each draw uses up part of one large hashed number."""

    __slots__ = ("_pool",)

    def __init__(self, pool: int) -> None:
        self._pool = pool

    def copy(self) -> Dice:
        """Give dice that will roll the same."""
        return Dice(self._pool)

    def below(self, limit: int) -> int:
        """Draw a whole number from 0 to ``limit - 1``."""
        self._pool, drawn = divmod(self._pool, limit)
        return drawn

    def between(self, low: int, high: int) -> int:
        """Draw a whole number from ``low`` to ``high``, both included."""
        return low + self.below(high - low + 1)

    def pick(self, choices: Sequence[T]) -> T:
        """Draw one of the choices."""
        return choices[self.below(len(choices))]

    def chance(self, share: float) -> bool:
        """Say yes in ``share`` of all cases: never at 0, always at 1."""
        return self.below(10_000) < share * 10_000


class Seed:
    """The number that a world grows from. A path names a thing: ``seed.id("bank", workspace_id, 0)``."""

    def __init__(self, number: int) -> None:
        self.number = number

    def dice(self, *path: object) -> Dice:
        """Give the dice of this thing; the same path always rolls the same."""
        return Dice(int.from_bytes(self.digest(128, *path), "big"))

    def digest(self, size: int, *path: object) -> bytes:
        """Give so many bytes for this thing, to be cut up where there are many of a sort."""
        return hashlib.shake_256(self._material(path)).digest(size)

    def letters(self, length: int, *path: object) -> bytes:
        """Give so many letters and digits, in ASCII."""
        digest = self.digest((length * 3 + 3) // 4, *path)
        return base64.b64encode(digest).translate(_ALPHANUMERIC)[:length]

    def id(self, *path: object) -> str:
        """Give an opaque id of 20 letters and digits."""
        return self.token(15, *path)

    def token(self, size: int, *path: object) -> str:
        """Give letters and digits made of ``size`` bytes, four for every three."""
        digest = hashlib.blake2b(self._material(path), digest_size=size).digest()
        return base64.b64encode(digest).translate(_ALPHANUMERIC).decode("ascii")

    def _material(self, path: tuple[object, ...]) -> bytes:
        # The separator keeps ("a", 11) and ("a1", 1) apart.
        return "\x1f".join((str(self.number), *map(str, path))).encode()
