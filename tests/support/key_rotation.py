"""Replaces the key of a sandbox's connection in the middle of a test."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import responses

if TYPE_CHECKING:
    import pytest

    from airflow_provider_banksync.sandbox import BankSyncSandbox


class Rotation:
    """Revokes the key of a sandbox, and perhaps puts a new one into Airflow's default connection."""

    def __init__(self, sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sandbox = sandbox
        self._monkeypatch = monkeypatch
        self.new_key = sandbox.create_key()

    def after(self, answers: int, *, replace: bool = True) -> None:
        """Rotate when the clients have parsed so many answers from now on."""
        parse, parsed = responses.parse_response, 0

        def parse_and_count(*args: Any, **kwargs: Any) -> Any:
            nonlocal parsed
            parsed += 1
            if parsed == answers:
                self.rotate(replace=replace)
            return parse(*args, **kwargs)

        self._monkeypatch.setattr(responses, "parse_response", parse_and_count)

    def rotate(self, *, replace: bool = True) -> None:
        """Rotate now.

        :param replace: put the new key into the connection.
        """
        self._sandbox.revoke_key(self._sandbox.api_key)
        if replace:
            self.connect(self.new_key)

    def connect(self, key: str, **fields: Any) -> None:
        """Change the connection."""
        connection = {"conn_type": "banksync", "host": self._sandbox.url, "password": key, **fields}
        connection["extra"] = {"rate_limit_per_minute": 100_000, **connection.get("extra", {})}
        self._monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", json.dumps(connection))

    @property
    def refused(self) -> int:
        """Requests that the sandbox has answered with 401."""
        return sum(record.status == 401 for record in self._sandbox.requests)
