"""Who is asking, for which workspace, and what they may do there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.checks import check_moment
from airflow_provider_banksync.sandbox.errors import (
    BadRequestError,
    ForbiddenError,
    MissingError,
    SandboxError,
    UnauthorizedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from airflow_provider_banksync.sandbox.model import Workspace
    from airflow_provider_banksync.sandbox.world import World

_AREAS = ("banks", "feeds", "jobs", "workspaces", "enrichments")
ALL_SCOPES = frozenset(f"{area}:{right}" for area in _AREAS for right in ("read", "write"))
ROLES = ("owner", "admin", "editor", "viewer")
_FAMILY_ROLES = frozenset({"owner", "admin"})


@dataclass
class Credential:
    """An API key or a session, without its secret. ``home`` is the workspace that it belongs to."""

    id: str
    home: Workspace
    role: str
    scopes: frozenset[str]
    expires_at: datetime | None = None
    is_session: bool = False
    """A session is a person's, and has to say in which workspace the person works."""
    revoked: bool = field(default=False, init=False)

    def is_over(self, now: datetime) -> bool:
        """Say whether its time is up."""
        return self.expires_at is not None and now >= self.expires_at


@dataclass(frozen=True)
class Caller:
    """A known credential at work in one workspace."""

    credential: Credential
    workspace: Workspace
    user_id: str

    def require(self, scope: str | None) -> None:
        """Refuse what the key's scopes or the role do not cover. A write needs the read scope too."""
        if scope is None:
            return
        area, _, right = scope.partition(":")
        needed = {f"{area}:read", scope}
        lacking = sorted(needed - self.credential.scopes)
        if lacking:
            raise ForbiddenError(f"API key lacks the required scope: {', '.join(lacking)}")
        if right == "write" and self.credential.role == "viewer":
            raise ForbiddenError("Role viewer may not make changes")

    def require_family(self) -> None:
        """Refuse a family listing to whom it is not open: portals, and roles below admin."""
        if self.workspace.is_portal:
            raise BadRequestError("scope=family is only available on a top-level workspace, not on a portal")
        if self.credential.role not in _FAMILY_ROLES:
            raise ForbiddenError("scope=family requires the owner or admin role")


class Keyring:
    """The keys and sessions of one sandbox."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._keys: dict[str, Credential] = {}
        self._sessions: dict[str, Credential] = {}
        self.owner_key = self.create(scopes=None, role="owner", workspace_id=None, expires_at=None)
        self.session_token = self.begin_session(role="owner", workspace_id=None, expires_at=None)

    def create(
        self,
        *,
        scopes: Iterable[str] | None,
        role: str,
        workspace_id: str | None,
        expires_at: datetime | None,
    ) -> str:
        """Make a key and give its secret."""
        granted = ALL_SCOPES if scopes is None else _scopes(scopes)
        number = len(self._keys)
        secret = f"bsk_{self._world.seed.token(33, 'key', number)}"
        home = self._home(role, workspace_id, expires_at)
        self._keys[secret] = Credential(
            self._world.seed.id("key-id", number), home, role, granted, expires_at
        )
        return secret

    def begin_session(self, *, role: str, workspace_id: str | None, expires_at: datetime | None) -> str:
        """Let a person sign in, a member of this workspace with this role; give the token."""
        number = len(self._sessions)
        token = f"bst_{self._world.seed.token(33, 'session', number)}"
        home = self._home(role, workspace_id, expires_at)
        self._sessions[token] = Credential(
            self._world.seed.id("session-id", number), home, role, ALL_SCOPES, expires_at, is_session=True
        )
        return token

    def revoke(self, secret: str) -> None:
        """Withdraw a key, or end a session: from now on it is answered with 401."""
        self._known(secret).revoked = True

    def id_of(self, secret: str) -> str:
        """Give the id under which a key or a session stands in the journal."""
        return self._known(secret).id

    def find(self, api_key: str | None, authorization: str | None) -> Credential | None:
        """Find the key or session that a request carries, whether it is good or not; a key goes first."""
        if api_key:
            return self._keys.get(api_key)
        scheme, _, token = (authorization or "").partition(" ")
        return self._sessions.get(token.strip()) if scheme.lower() == "bearer" else None

    def identify(self, api_key: str | None, authorization: str | None, now: datetime) -> Credential:
        """Find out whose key or session this is."""
        credential = self.find(api_key, authorization)
        if api_key:
            return _good_key(credential, now)
        if not authorization:
            raise UnauthorizedError(
                "Authentication required: send X-API-Key, or a session token and X-Workspace-ID"
            )
        if credential is None or credential.revoked or credential.is_over(now):
            raise UnauthorizedError("Invalid or expired session token")
        return credential

    def enter(self, credential: Credential, workspace_id: str | None) -> Caller:
        """Take a credential to the workspace that the request names; without a name, a key goes home."""
        if credential.is_session and not workspace_id:
            raise BadRequestError("X-Workspace-ID is required with a session token")
        workspace = self._world.workspace(workspace_id or credential.home.id)
        if workspace is None or workspace.deleted or not _reaches(credential.home, workspace):
            # The same words for all three: whether a workspace exists is not told to strangers.
            raise MissingError("Workspace not found")
        return Caller(credential, workspace, self._world.user_id(credential.home, credential.role))

    def _home(self, role: str, workspace_id: str | None, expires_at: datetime | None) -> Workspace:
        """Check what a key and a session have in common; give the workspace that they belong to."""
        if role not in ROLES:
            raise SandboxError(f"no such role: {role}; there are {', '.join(ROLES)}")
        if expires_at is not None:
            check_moment("expires_at", expires_at)
        home = self._world.parent if workspace_id is None else self._world.workspace(workspace_id)
        if home is None:
            raise SandboxError(f"no such workspace: {workspace_id}")
        return home

    def _known(self, secret: str) -> Credential:
        credential = self._keys.get(secret) or self._sessions.get(secret)
        if credential is None:
            raise SandboxError(
                "there is no such key or session; sandbox.create_key() and sandbox.create_session() make them"
            )
        return credential


def _scopes(scopes: Iterable[str]) -> frozenset[str]:
    granted = frozenset([scopes] if isinstance(scopes, str) else scopes)
    if not granted <= ALL_SCOPES:
        unknown = ", ".join(sorted(map(str, granted - ALL_SCOPES)))
        raise SandboxError(f"no such scope: {unknown}; there are {', '.join(sorted(ALL_SCOPES))}")
    return granted


def _good_key(credential: Credential | None, now: datetime) -> Credential:
    if credential is None:
        raise UnauthorizedError("Invalid API key")
    if credential.revoked:
        raise UnauthorizedError("API key has been revoked")
    if credential.is_over(now):
        raise UnauthorizedError("API key has expired")
    return credential


def _reaches(home: Workspace, target: Workspace) -> bool:
    return target.id == home.id or target.parent_id == home.id
