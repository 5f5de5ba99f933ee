"""Faults on demand: what shall go wrong, and for which requests.

::

    sandbox.faults.add(Fault.status(502), times=2)
    sandbox.faults.add(Fault.reset(), method="POST", path="/v1/feeds/*/sync", nth=1, when="after")
    sandbox.faults.add(Fault.latency(0.2), path="/v1/banks/**", probability=0.1, seed=3)
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.checks import check_number, check_text, check_whole
from airflow_provider_banksync.sandbox.errors import SandboxError
from airflow_provider_banksync.sandbox.fault import Fault
from airflow_provider_banksync.sandbox.seed import Seed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MOMENTS = ("before", "after")
_METHODS = ("DELETE", "GET", "POST", "PUT")
_MANY = 1_000_000_000
_ANY_PATH = "/**"


@dataclass
class FaultRule:
    """A fault, the requests that it is for, and how often it was seen and used."""

    fault: Fault
    method: str | None = None
    path: str = _ANY_PATH
    workspace_id: str | None = None
    nth: int | None = None
    times: int | None = None
    probability: float = 1.0
    seed: int = 0
    when: str = "before"
    calls: int = 0
    """Requests so far that the rule is for."""
    hits: int = 0
    """Requests so far that the fault happened to."""
    _pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._pattern = _compile(self.path)

    def is_for(self, method: str, path: str, workspace_id: str | None) -> bool:
        """Count a request, if the rule is for it."""
        meant = (
            self.method in {None, method}
            and self.workspace_id in {None, workspace_id}
            and self._pattern.fullmatch(path) is not None
        )
        self.calls += meant
        return meant

    def hit(self) -> bool:
        """Say whether the fault happens to the request that was counted last."""
        if self.nth not in {None, self.calls} or (self.times is not None and self.hits >= self.times):
            return False
        struck = Seed(self.seed).dice("fault", self.calls).chance(self.probability)
        self.hits += struck
        return struck

    def describe(self) -> dict[str, object]:
        """Show the rule as the admin calls do."""
        return {
            "fault": self.fault.name,
            "method": self.method,
            "path": self.path,
            "workspaceId": self.workspace_id,
            "nth": self.nth,
            "times": self.times,
            "probability": Decimal(str(self.probability)),
            "seed": self.seed,
            "when": self.when,
            "calls": self.calls,
            "hits": self.hits,
        }


class Faults:
    """The fault rules of one sandbox, in the order in which they were added. Safe to use from several threads."""

    def __init__(self) -> None:
        self._rules: list[FaultRule] = []
        self._lock = threading.Lock()

    def add(
        self,
        fault: Fault,
        *,
        method: str | None = None,
        path: str = _ANY_PATH,
        workspace_id: str | None = None,
        nth: int | None = None,
        times: int | None = None,
        probability: float = 1.0,
        seed: int = 0,
        when: str | None = None,
    ) -> FaultRule:
        """Let a fault happen from now on; give the rule, which counts its ``calls`` and ``hits``.

        Without conditions it happens to every request. Where several rules hit one request, all of them happen, in the
        order in which they were added, up to the first that takes the place of the answer.

        :param fault: what happens, e.g. ``Fault.status(503)``.
        :param method: only for GET, POST, PUT or DELETE.
        :param path: only for this path; ``*`` stands for one segment or a part of it, ``**`` for any rest.
        :param workspace_id: only for requests with this X-Workspace-Id.
        :param nth: only for the n-th of those requests, counted from 1.
        :param times: so many times and then no more.
        :param probability: for this share of those requests, 0 to 1, chosen by ``seed``: the same ones in every run.
        :param when: "before" the work is done or "after" it; by default whichever is usual for the fault.
        """
        _check(isinstance(fault, Fault), f"fault must be a Fault, such as Fault.status(503), not {fault!r}")
        when = fault.moments[0] if when is None else when
        _check(
            method is None or method in _METHODS,
            f"method must be one of {', '.join(_METHODS)}, not {method!r}",
        )
        beginning = check_text("path", path)[:1]
        _check(beginning == "/", f"path must begin with /, like /v1/feeds/*/sync, not {path!r}")
        for name, count in (("nth", nth), ("times", times)):
            if count is not None:
                check_whole(name, count, 1, _MANY)
        if workspace_id is not None:
            check_text("workspace_id", workspace_id)
        check_number("probability", probability, 0, 1)
        check_whole("seed", seed, -_MANY, _MANY)
        _check(when in _MOMENTS, f'when must be "before" or "after", not {when!r}')
        _check(when in fault.moments, f'{fault.name} can only happen when="{fault.moments[0]}"')
        rule = FaultRule(fault, method, path, workspace_id, nth, times, probability, seed, when)
        with self._lock:
            self._rules.append(rule)
        return rule

    @property
    def rules(self) -> list[FaultRule]:
        """The rules, oldest first."""
        with self._lock:
            return list(self._rules)

    def remove(self, rule: FaultRule) -> None:
        """Take one rule away; harmless when it is gone."""
        with self._lock:
            self._rules = [each for each in self._rules if each is not rule]

    def clear(self) -> None:
        """Take all rules away."""
        with self._lock:
            self._rules.clear()

    def strike(self, method: str, path: str, workspace_id: str | None) -> Strike:
        """Count a request, and tell what happens to it."""
        if not self._rules:
            return NO_FAULT
        with self._lock:
            meant = [rule for rule in self._rules if rule.is_for(method, path, workspace_id)]
            before = _hitting(rule for rule in meant if rule.when == "before")
            if before and before[-1].fault.instead:
                return Strike.of(before, [])
            return Strike.of(before, _hitting(rule for rule in meant if rule.when == "after"))


@dataclass(frozen=True)
class Strike:
    """What happens to one request."""

    before: tuple[Fault, ...] = ()
    after: tuple[Fault, ...] = ()
    name: str | None = None
    """For the journal, e.g. ``reset after``."""

    @classmethod
    def of(cls, before: Sequence[FaultRule], after: Sequence[FaultRule]) -> Strike:
        """Put together what the rules that hit do."""
        return cls(
            before=tuple(rule.fault for rule in before),
            after=tuple(rule.fault for rule in after),
            name=", ".join(f"{rule.fault.name} {rule.when}" for rule in (*before, *after)) or None,
        )


NO_FAULT = Strike()


def _hitting(rules: Iterable[FaultRule]) -> list[FaultRule]:
    """Choose the rules whose faults happen; none after one that takes the answer's place."""
    hitting: list[FaultRule] = []
    for rule in rules:
        if rule.hit():
            hitting.append(rule)
            if rule.fault.instead:
                break
    return hitting


def _compile(path: str) -> re.Pattern[str]:
    wild = {"**": ".*", "*": "[^/]*"}
    parts = re.split(r"(\*\*|\*)", path)
    return re.compile("".join(wild.get(part, re.escape(part)) for part in parts), re.DOTALL)


def _check(good: bool, complaint: str) -> None:
    if not good:
        raise SandboxError(complaint)
