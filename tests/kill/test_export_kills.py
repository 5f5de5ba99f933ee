"""An export may be killed at any moment, again and again: in the end it is as if nobody had disturbed it.

``make kills`` kills 50 times and more; a plain run of the tests does it a few times.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.sandbox import BankSyncSandbox
from tests.support.export_task import Task, comparable, tree
from tests.support.exported_files import parts, read_back, served
from tests.support.killed_export import Moment, Try, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

KILLS = int(os.environ.get("BANKSYNC_KILLS", "4"))
SEED = int(os.environ.get("BANKSYNC_SEED", "1"))
#: A window, or a batch, is killed so many times at most before it may come to its end.
EACH = 4
#: Accounts that are read at once: so many are under way when a try is killed.
WIDTH = 4
DAY = 86_400
NOW = datetime(2026, 3, 3, tzinfo=timezone.utc)
FORMATS: tuple[dict[str, Any], ...] = (
    {"file_format": "jsonl"},
    {"file_format": "csv", "compression": "gzip"},
    {"file_format": "parquet"},
    {"file_format": "jsonl", "compression": "gzip", "files": "workspace", "max_rows_per_file": None},
)
#: Moments at which a mistake would cost most, in turn; all others are random. Each with what is there before it: an
#: earlier run's files, or nothing.
SHARP = (
    ("again", "rename .*/_manifest.json"),
    ("anew", "open .*/_tmp-part-"),
    ("again", "remove .*/_progress/[^/]*.json"),  # the record of the try, at the end
    ("anew", "open .*/_lock.json$"),
    ("again", "rename .*/_progress/[^/]*.json"),
    ("anew", "rename .*-00001"),
    ("again", "remove .*/part-"),
    ("anew", "rename .*/_progress/"),
    ("anew", "remove .*/_progress/[^/]*.json"),
    ("anew", "rmdir"),
    ("again", "open .*/_tmp-_manifest.json"),
    ("anew", "rename .*/_lock.json"),
    ("again", "remove .*/_lock.json"),
    ("anew", "mkdir .*/_progress"),
    ("again", "remove [^/]*.json"),  # one of the checkpoints, at the end
)
PAGE = re.compile(r"/v1/banks/[^/]+/accounts/([^/]+)/transactions")

pytestmark = pytest.mark.slow


@dataclass
class Count:
    """What the kills have hit, and what they have cost."""

    kills: Counter[str] = field(default_factory=Counter)
    tries: int = 0
    pages: int = 0
    accounts_again: int = 0
    most_again: int = 0

    @property
    def killed(self) -> int:
        """How many kills there were."""
        return sum(self.kills.values())

    def add(self, other: Count) -> None:
        """Add another's."""
        self.kills += other.kills
        self.tries += other.tries
        self.pages += other.pages
        self.accounts_again += other.accounts_again
        self.most_again = max(self.most_again, other.most_again)

    @classmethod
    def of(cls, counts: Iterable[Count]) -> Count:
        """Sum up."""
        total = cls()
        for count in counts:
            total.add(count)
        return total

    def report(self, what: str, seconds: float, undisturbed: int) -> str:
        """Say it for people."""
        hit = "".join(f"\n  {number:4} {moment}" for moment, number in sorted(self.kills.items()))
        return (
            f"\n{what}: {self.killed} kills of {self.tries} tries in {seconds:.0f} s{hit}\n"
            f"  read twice: {self.accounts_again} accounts; {self.pages - undisturbed} pages more"
            f" than {undisturbed}; by one retry at most {self.most_again} accounts\n"
        )


@dataclass
class Killer:
    """Runs a task again and again, and kills it, until a try comes to its end.

    :param operations: how many operations on files it has when nobody disturbs it; how many seconds it takes; how
        many requests it sends.
    """

    sandbox: BankSyncSandbox
    rng: random.Random
    operations: int
    seconds: float
    requests: int

    @classmethod
    def measured(cls, sandbox: BankSyncSandbox, rng: random.Random, task: Task) -> tuple[Killer, int]:
        """Run a task that nobody disturbs; return the pages that it reads, too."""
        sandbox.clear_requests()
        begun = time.monotonic()
        operations = run(task, sandbox.connection_uri)
        killer = cls(sandbox, rng, operations, time.monotonic() - begun, len(sandbox.requests))
        return killer, len(asked(sandbox))

    def run(
        self, task: Task, sharp: str | None = None, between: Callable[[], object] = lambda: None
    ) -> Count:
        """Kill it.

        :param sharp: a moment for the first kill.
        :param between: is done after each kill.
        """
        assert not isinstance(task.destination, str)
        count = Count()
        before: set[str] = set()
        self.sandbox.clear_requests()
        while True:
            what, ended = self._try(task, sharp, kill=count.killed < EACH)
            sharp = None
            count.tries += 1
            time.sleep(0.02)  # for what it asked last
            pages = asked(self.sandbox)
            begun = {account for account, goes_on in pages if not goes_on}
            count.pages += len(pages)
            count.accounts_again += len(begun & before)
            count.most_again = max(count.most_again, len(begun & before))
            assert not isinstance(ended, str), ended
            # A later try may come to what an earlier kill had interrupted, because banks take turns.
            assert count.accounts_again <= WIDTH * count.killed, f"more read again than interrupted: {what}"
            if ended is not None:
                return count
            before |= begun
            count.kills[what] += 1
            if is_complete(task.destination):
                before.clear()  # too late: nothing tells the next try that it is not a run anew
            between()

    def _try(self, task: Task, sharp: str | None, *, kill: bool) -> tuple[str, str | int | None]:
        uri = self.sandbox.connection_uri
        if not kill:
            return "", Try(task, uri).end()
        if sharp is not None:
            return f"before {sharp}", Try(task, uri, Moment(sharp)).end()
        share, how = self.rng.random(), self.rng.choice(("operation", "operation", "time", "request"))
        if how == "operation":
            return f"before an {how}", Try(task, uri, Moment(nth=1 + int(share * self.operations))).end()
        begun = time.monotonic()
        trial = Try(task, uri)
        if how == "time":
            trial.kill_when(lambda: time.monotonic() - begun > share * self.seconds)
        else:
            trial.kill_when(lambda: len(self.sandbox.requests) > share * self.requests)
        return f"after a {how}", trial.end()


def asked(sandbox: BankSyncSandbox) -> list[tuple[str, bool]]:
    """Return the pages of transactions that were asked for since the last time: of which account, and if by cursor."""
    found = [
        (match[1], "cursor" in record.query)
        for record in sandbox.requests
        if (match := PAGE.fullmatch(record.path))
    ]
    sandbox.clear_requests()
    return found


def is_complete(folder: Path) -> bool:
    """Say whether nothing was left to do for a window but to give its lock back."""
    return any(
        not list(manifest.parent.glob("_progress/*.json"))
        for manifest in folder.rglob("window=*/_manifest.json")
    )


def plain(folder: Path) -> dict[str, Any]:
    """Return every file below a folder, without what differs from try to try."""
    return comparable(tree(folder))


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """See that two trees are the same."""
    assert set(found) - set(expected) == set(), "left over"
    assert set(expected) - set(found) == set(), "missing"
    assert [path for path in expected if found[path] != expected[path]] == []


def lanes(lane: Callable[[int], tuple[Count, int]]) -> tuple[Count, int]:
    """Do it for each format, side by side: each waits often."""
    with ThreadPoolExecutor(len(FORMATS)) as pool:
        counts, pages = zip(*pool.map(lane, range(len(FORMATS))), strict=True)
    return Count.of(counts), sum(pages)


def test_a_window(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()

    def lane(number: int) -> tuple[Count, int]:
        rng, folder = random.Random(f"{SEED} {number}"), tmp_path / str(number)
        arguments = {"resource": "transactions", "concurrency": WIDTH, "max_rows_per_file": 12}
        arguments |= {"from_date": "2026-01-20", "to_date": "2026-02-28", **FORMATS[number]}
        expected: dict[str, dict[str, Any]] = {}
        killers: dict[str, tuple[Killer, int]] = {}
        count, undisturbed = Count(), 0
        with BankSyncSandbox(portals=4, page_size=10, time_scale=0, now=NOW, banks="documented") as sandbox:
            # An earlier run, which has written more files.
            before = {**arguments, "max_rows_per_file": arguments["max_rows_per_file"] and 5}
            earlier = Task(folder / "earlier", "earlier", arguments=before)
            run(earlier, sandbox.connection_uri)

            def task(kind: str, name: str) -> Task:
                if kind == "again":
                    shutil.copytree(folder / "earlier", folder / name)
                return Task(folder / name, arguments=arguments)

            for kind in ("anew", "again"):
                killers[kind] = Killer.measured(sandbox, rng, task(kind, kind))
                expected[kind] = plain(folder / kind)
            same(expected["again"], expected["anew"])
            for turn, (kind, sharp) in enumerate(itertools.cycle(SHARP[number :: len(FORMATS)])):
                killer, pages = killers[kind]
                name = f"killed-{turn}"
                count.add(killer.run(task(kind, name), sharp))
                undisturbed += pages
                same(plain(folder / name), expected[kind])
                shutil.rmtree(folder / name)
                if count.killed >= KILLS / len(FORMATS):
                    return count, undisturbed
        raise AssertionError("unreachable")

    count, undisturbed = lanes(lane)
    with capsys.disabled():
        sys.stdout.write(count.report("a window", time.monotonic() - began, undisturbed))
    assert count.killed >= KILLS


def test_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows come between the batches, and for one format even between the tries."""
    began = time.monotonic()

    def lane(number: int) -> tuple[Count, int]:
        rng, folder = random.Random(f"{SEED} {number}"), tmp_path / str(number)
        arguments = {"resource": "transactions", "concurrency": WIDTH, "max_rows_per_file": 12}
        arguments |= {"incremental": True, "from_date": "2026-02-01", **FORMATS[number]}
        count, undisturbed = Count(), 0
        added: list[str] = []
        pending: list[str] = []
        with BankSyncSandbox(portals=4, page_size=10, time_scale=0, now=NOW, banks="documented") as sandbox:
            accounts = [
                account.id
                for workspace in sandbox.world.family()
                for account in sandbox.world.workspace_accounts(workspace)
            ]

            def add() -> None:
                for account in rng.sample(accounts, 8):
                    some = range(rng.choice((1, 2, 25)))
                    added.extend(sandbox.add_transaction(account, -125) for _ in some)
                    pending.append(sandbox.add_transaction(account, -250, settles_after=1.5 * DAY))

            def tasks(turn: int) -> tuple[Task, Task]:
                due = NOW + timedelta(days=turn)
                undisturbed, killed = (
                    Task(folder / name, f"run {turn}", run_after=due, arguments=arguments)
                    for name in ("undisturbed", "killed")
                )
                return undisturbed, killed

            for turn in itertools.count():
                other, task = tasks(turn)
                killer, pages = Killer.measured(sandbox, rng, other)
                sharp = rng.choice(SHARP)[1]
                count.add(killer.run(task, sharp, add if number == 0 else lambda: None))
                undisturbed += pages
                if number:
                    same(plain(folder / "killed"), plain(folder / "undisturbed"))
                if turn > 1 and count.killed >= KILLS / 2 / len(FORMATS):
                    break
                sandbox.clock.advance(DAY)
                add()
            for more in (1, 2):  # until all has settled
                sandbox.clock.advance(DAY)
                for task in tasks(turn + more):
                    run(task, sandbox.connection_uri)
            once(sandbox, folder / "killed", {*added, *pending}, set(pending))
        return count, undisturbed

    count, undisturbed = lanes(lane)
    with capsys.disabled():
        sys.stdout.write(count.report("batches", time.monotonic() - began, undisturbed))
    assert count.killed >= KILLS / 2


def once(sandbox: BankSyncSandbox, folder: Path, added: set[str], pending: set[str]) -> None:
    """See that every row is there once, and what was pending by both of its ids."""
    rows = [row for path in parts(folder) for row in read_back(path)]
    ids = Counter(row["id"] for row in rows)
    assert max(ids.values()) == 1
    assert added <= set(ids)
    now = {row["id"] for _, _, row in served(sandbox, **{"from": "2026-02-01"})}
    settled = {row["pendingTransactionId"] for row in rows} - {None}
    assert set(ids) - now <= settled, "what is there no longer has settled"
    assert now <= set(ids)
    assert pending <= settled
    assert {row["id"] for row in rows if row["pending"]} <= settled | now
    assert not list(folder.rglob("_progress"))
    assert not [path for path in tree(folder) if "_tmp-" in path or "_lock" in path]
