"""Lets a DAG's hours pass in an instant: our waits move a clock of their own, and the sandbox's with it.

Only what this package itself waits for is quick; Airflow, the sockets and the sandbox's answers are as real as ever.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.request import Request, urlopen

from airflow_provider_banksync import triggers
from airflow_provider_banksync.api.http import async_client, client
from airflow_provider_banksync.hooks import feeds
from airflow_provider_banksync.operators import sync
from airflow_provider_banksync.tasks import base, durable

#: What is to happen, each thing so many seconds after the task began.
Scene = list[tuple[float, Callable[[], None]]]


class FastTime:
    """Stands in for the module `time`; what is due happens when a wait has come that far.

    :param url: where the sandbox is; its clock must stand still by itself.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._ahead = 0.0
        self._actor = ""
        self._began = 0.0
        self._due: Scene = []

    def install(self) -> None:
        """Let all our modules wait by this clock."""
        for module in (base, durable, client, feeds, sync, triggers):
            module.time = self  # type: ignore[attr-defined]
        async_client.sleep = self.pause

    def begin(self, actor: str, scene: Scene) -> None:
        """Start the scene of a task; going on with it after a deferral starts nothing."""
        if actor != self._actor:
            self._actor, self._began, self._due = actor, self._ahead, list(scene)
            self.admin("DELETE", "faults")

    def time(self) -> float:
        return time.time() + self._ahead

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def sleep(self, seconds: float) -> None:
        self._ahead += seconds
        self.admin("PUT", "clock", {"advance": seconds})
        while self._due and self._ahead - self._began >= self._due[0][0]:
            self._due.pop(0)[1]()

    async def pause(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)

    def admin(self, method: str, call: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Make an admin call of the sandbox."""
        return self.send(method, f"/_sandbox/{call}", body, {"Content-Type": "application/json"})

    def send(
        self, method: str, path: str, body: dict[str, Any] | None, headers: dict[str, str]
    ) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}{path}", data, {"User-Agent": "tests", **headers}, method=method)
        with urlopen(request, timeout=300) as answer:
            told: dict[str, Any] = json.loads(answer.read())
            return told


@cache
def fast_time(url: str) -> FastTime:
    """Give the process's one clock: Airflow imports a DAG file more than once."""
    clock = FastTime(url)
    clock.install()
    return clock
