"""Links at which a person signs in to a bank, and what the person brings back from there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.clock import SandboxClock, iso
from airflow_provider_banksync.sandbox.errors import BadRequestError, SandboxError

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_banksync.sandbox.model import Workspace
    from airflow_provider_banksync.sandbox.seed import Seed

VALID = timedelta(hours=4)


@dataclass(frozen=True)
class Link:
    """A link that was made for a workspace; ``source`` is who connects the bank."""

    token: str
    workspace: Workspace
    source: str
    expires_at: datetime


class Links:
    """The links of one sandbox: open, then finished by a person, then used once. What has expired is of no use."""

    def __init__(self, seed: Seed, clock: SandboxClock) -> None:
        self._seed = seed
        self._clock = clock
        self._count = 0
        self._open: dict[str, Link] = {}
        self._finished: dict[str, Link] = {}
        """By the public token that the person's browser was given."""

    def make(self, workspace: Workspace, source: str) -> Link:
        """Make a link."""
        token = f"link-{self._seed.id('link', workspace.id, self._count)}"
        self._count += 1
        self._open[token] = link = Link(token, workspace, source, self._clock.now() + VALID)
        return link

    def finish(self, token: str) -> str:
        """Play the person who signs in; give the public token."""
        link = self._open.get(token)
        if link is None:
            raise SandboxError(f"there is no open link {token!r}; POST /v1/banks/link makes one")
        if self._clock.now() >= link.expires_at:
            raise SandboxError(f"the link {token!r} expired at {iso(link.expires_at)}")
        del self._open[token]
        public = f"public-{self._seed.id('public', token)}"
        self._finished[public] = link
        return public

    def use(self, public_token: str, workspace: Workspace) -> Link:
        """Take a public token, which is good for one bank of the workspace that the link was made for."""
        link = self._finished.get(public_token)
        if link is None or link.workspace.id != workspace.id or self._clock.now() >= link.expires_at:
            raise BadRequestError(
                "publicToken is unknown, was used or has expired: it comes from a person's sign-in at a link"
            )
        return self._finished.pop(public_token)
