"""Which faults apply to which requests.

::

    sandbox.faults.add(Fault.status(502), times=2)
    sandbox.faults.add(Fault.reset(), method="POST", path="/v1/feeds/*/sync", nth=1, when="after")
    sandbox.faults.add(Fault.latency(0.2), path="/v1/banks/**", probability=0.1, seed=3)
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.sandbox.clock import SandboxClock, format_timestamp
from airflow_provider_banksync.sandbox.errors import SandboxError
from airflow_provider_banksync.sandbox.http.faults import Fault
from airflow_provider_banksync.sandbox.validation import check_number, check_text, check_whole
from airflow_provider_banksync.sandbox.world.seed import Seed

if TYPE_CHECKING:
    from collections.abc import Iterable

_METHODS = ("DELETE", "GET", "POST", "PUT")
_MAX_COUNT = 1_000_000_000
_MAX_SECONDS = 10 * 366 * 86_400
_ANY_PATH = "/**"


@dataclass
class FaultRule:
    """A fault, the requests that it is for, and its counts."""

    fault: Fault
    method: str | None
    path: str
    workspace_id: str | None
    nth: int | None
    times: int | None
    probability: float
    seed: int
    when: str
    until: datetime | None
    calls: int = field(default=0, init=False)
    """Requests so far that match the rule."""
    hits: int = field(default=0, init=False)
    """Requests so far that the fault happened to."""
    memory: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    """What the fault remembers between requests."""

    def __post_init__(self) -> None:
        if self.method is not None and self.method not in _METHODS:
            raise SandboxError(f"method must be one of {', '.join(_METHODS)}, not {self.method!r}")
        if not check_text("path", self.path).startswith("/"):
            raise SandboxError(f"path must begin with /, like /v1/feeds/*/sync, not {self.path!r}")
        for name, count in (("nth", self.nth), ("times", self.times)):
            if count is not None:
                check_whole(name, count, 1, _MAX_COUNT)
        if self.workspace_id is not None:
            check_text("workspace_id", self.workspace_id)
        check_number("probability", self.probability, 0, 1)
        check_whole("seed", self.seed, -_MAX_COUNT, _MAX_COUNT)
        if self.when not in ("before", "after", *self.fault.moments):
            raise SandboxError(f'when must be "before" or "after", not {self.when!r}')
        if self.when not in self.fault.moments:
            raise SandboxError(f'{self.fault.name} can only happen when="{self.fault.moments[0]}"')
        wild = {"**": ".*", "*": "[^/]*"}
        parts = re.split(r"(\*\*|\*)", self.path)
        self._pattern = re.compile("".join(wild.get(part, re.escape(part)) for part in parts), re.DOTALL)

    def match(self, method: str, path: str, workspace_id: str | None, now: datetime) -> bool:
        """Return whether the rule is for a request, and count it if so."""
        matches = (
            (self.until is None or now < self.until)
            and self.method in {None, method}
            and self.workspace_id in {None, workspace_id}
            and self._pattern.fullmatch(path) is not None
        )
        self.calls += matches
        return matches

    def record_hit(self) -> bool:
        """Return whether the fault happens to the request that matched last, and count it if so."""
        if self.nth not in {None, self.calls} or (self.times is not None and self.hits >= self.times):
            return False
        hit = Seed(self.seed).draws("fault", self.calls).chance(self.probability)
        self.hits += hit
        return hit

    def describe(self) -> dict[str, object]:
        """Return the rule as the admin calls show it."""
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
            "until": None if self.until is None else format_timestamp(self.until),
            "calls": self.calls,
            "hits": self.hits,
        }


class Faults:
    """The fault rules of one sandbox, in the order in which they were added. Safe to use from several threads."""

    def __init__(self, clock: SandboxClock) -> None:
        self._clock = clock
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
        seconds: float | None = None,
    ) -> FaultRule:
        """Add a fault and return its rule, which counts its ``calls`` and ``hits``.

        Without conditions it happens to every request. If several rules hit one request, all of them happen, in the
        order in which they were added, up to the first that replaces the response.

        :param fault: what happens, such as ``Fault.status(503)``.
        :param method: only for GET, POST, PUT or DELETE.
        :param path: only for this path; ``*`` is one segment or a part of it, ``**`` is any rest.
        :param workspace_id: only for requests with this X-Workspace-Id.
        :param nth: only for the n-th matching request, counted from 1.
        :param times: only this many times.
        :param probability: only for this share of the matching requests, 0 to 1, chosen by ``seed``: the same
            requests in every run.
        :param when: "before" the work is done or "after" it; by default the fault's usual moment.
        :param seconds: only for this many sandbox seconds from now.
        """
        if not isinstance(fault, Fault):
            raise SandboxError(f"fault must be a Fault, such as Fault.status(503), not {fault!r}")
        when = fault.moments[0] if when is None else when
        until = None
        if seconds is not None:
            until = self._clock.now() + timedelta(seconds=check_number("seconds", seconds, 0, _MAX_SECONDS))
        rule = FaultRule(fault, method, path, workspace_id, nth, times, probability, seed, when, until)
        with self._lock:
            self._rules.append(rule)
        return rule

    @property
    def rules(self) -> list[FaultRule]:
        """The rules, oldest first."""
        with self._lock:
            return list(self._rules)

    def remove(self, rule: FaultRule) -> None:
        """Remove one rule. Does nothing if it is gone."""
        with self._lock:
            self._rules = [each for each in self._rules if each is not rule]

    def clear(self) -> None:
        """Remove all rules."""
        with self._lock:
            self._rules.clear()

    def match(self, method: str, path: str, workspace_id: str | None) -> AppliedFaults:
        """Count a request, and return the faults that happen to it."""
        if not self._rules:
            return AppliedFaults()
        now = self._clock.now()
        with self._lock:
            rules = [rule for rule in self._rules if rule.match(method, path, workspace_id, now)]
            before = _hits(rule for rule in rules if rule.when == "before")
            replaced = before and before[-1].fault.instead
            after = [] if replaced else _hits(rule for rule in rules if rule.when == "after")
            always = _hits(rule for rule in rules if rule.when == "always")
        hits = (*before, *after, *always)
        name = ", ".join(f"{rule.fault.name} {rule.when}" for rule in hits) or None
        return AppliedFaults(tuple(before), tuple(after), tuple(always), name)


@dataclass(frozen=True)
class AppliedFaults:
    """The rules whose faults happen to one request."""

    before: tuple[FaultRule, ...] = ()
    after: tuple[FaultRule, ...] = ()
    always: tuple[FaultRule, ...] = ()
    name: str | None = None
    """For the request's record, such as ``reset after``."""


def _hits(rules: Iterable[FaultRule]) -> list[FaultRule]:
    """Return the rules whose faults happen; none after one that replaces the response."""
    hits: list[FaultRule] = []
    for rule in rules:
        if rule.record_hit():
            hits.append(rule)
            if rule.fault.instead:
                break
    return hits
