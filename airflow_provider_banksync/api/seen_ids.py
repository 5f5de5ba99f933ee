"""Which ids a read has had, in bounded memory."""

from __future__ import annotations

import tempfile
from array import array
from itertools import accumulate, chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: This many hashes are in memory, which takes about 4 MB. The rest is in a file.
_IN_MEMORY = 50_000
#: Bytes of a hash.
_SIZE = 8
#: Hashes are compared in this many groups, one after the other.
_GROUPS = 64
_GROUP_MASK = _GROUPS - 1
#: If each of many ids has come this often, the API sends the same rows again and again.
_ENDLESS = 3


class SeenIds:
    """The hashes of the ids that a read has had. Ten million take 80 MB of a temporary file.

    Two ids may have the same hash. So a hash in `repeated` means that an id may have come twice. It is the caller's
    part to compare the ids themselves.

    :ivar repeated: the hashes that came more than once. Complete after `compare`.
    """

    def __init__(self) -> None:
        self.repeated: set[int] = set()
        self._recent: set[int] = set()
        # A file on the disk only when it is first written to.
        self._file = tempfile.SpooledTemporaryFile(max_size=1, prefix="banksync-ids-")  # noqa: SIM115 - see close
        #: For each run in the file: where each group of hashes begins, and where the last one ends.
        self._runs: list[list[int]] = []

    def known(self, hashes: set[int]) -> set[int]:
        """Return those hashes that came before, as far as memory tells. It always has the page before."""
        return hashes & self._recent

    def add(self, hashes: set[int], known: set[int]) -> None:
        """Add the hashes of a page.

        :param known: from `known`.
        """
        self.repeated |= known
        if len(self._recent) >= _IN_MEMORY:
            self._spill()
        self._recent |= hashes

    @property
    def is_spilled(self) -> bool:
        """Whether `compare` has to read a file."""
        return bool(self._runs)

    @property
    def is_endless(self) -> bool:
        """Whether each id has come several times, judged by a sample of the ids in the file."""
        if not self._runs or len(self._runs) & (len(self._runs) - 1):
            return False  # compared after 1, 2, 4, 8, ... runs
        sample = list(self._hashes_of_group(0))
        return sum(map(len, sample)) >= _ENDLESS * len(set().union(*sample))

    def compare(self) -> set[int]:
        """Return the hashes that came more than once. May read a file."""
        if self._runs:
            self._spill()
            for number in range(_GROUPS):
                seen: set[int] = set()
                for hashes in self._hashes_of_group(number):
                    self.repeated.update(seen.intersection(hashes))
                    seen.update(hashes)
        return self.repeated

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    def _spill(self) -> None:
        groups: list[list[int]] = [[] for _ in range(_GROUPS)]
        for one in self._recent:
            groups[one & _GROUP_MASK].append(one)
        start = sum(bounds[-1] - bounds[0] for bounds in self._runs)
        self._runs.append(list(accumulate(map(len, groups), initial=start)))
        self._file.seek(start * _SIZE)
        self._file.write(array("q", chain.from_iterable(groups)).tobytes())
        self._recent = set()

    def _hashes_of_group(self, number: int) -> Iterator[array[int]]:
        for offsets in self._runs:
            self._file.seek(offsets[number] * _SIZE)
            hashes = array("q")
            hashes.frombytes(self._file.read((offsets[number + 1] - offsets[number]) * _SIZE))
            yield hashes
