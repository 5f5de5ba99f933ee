"""Who is asking, for which workspace, and what they may do there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    revoked: bool = False


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
        self.owner_key = self.create(scopes=None, role="owner", workspace_id=None, expires_at=None)
        self.session_token = f"bst_{world.seed.token(33, 'session')}"
        self._session = Credential(world.seed.id("session-id"), world.parent, "owner", ALL_SCOPES)

    def create(
        self,
        *,
        scopes: Iterable[str] | None,
        role: str,
        workspace_id: str | None,
        expires_at: datetime | None,
    ) -> str:
        """Make a key and give its secret."""
        granted = ALL_SCOPES if scopes is None else frozenset(scopes)
        if not granted <= ALL_SCOPES:
            unknown = ", ".join(sorted(granted - ALL_SCOPES))
            raise SandboxError(f"no such scope: {unknown}; there are {', '.join(sorted(ALL_SCOPES))}")
        if role not in ROLES:
            raise SandboxError(f"no such role: {role}; there are {', '.join(ROLES)}")
        home = self._world.parent if workspace_id is None else self._world.workspace(workspace_id)
        if home is None:
            raise SandboxError(f"no such workspace: {workspace_id}")
        number = len(self._keys)
        secret = f"bsk_{self._world.seed.token(33, 'key', number)}"
        self._keys[secret] = Credential(
            self._world.seed.id("key-id", number), home, role, granted, expires_at
        )
        return secret

    def revoke(self, secret: str) -> None:
        """Withdraw a key: from now on it is answered with 401."""
        if secret not in self._keys:
            raise SandboxError("there is no such key to revoke")
        self._keys[secret].revoked = True

    def id_of(self, secret: str) -> str:
        """Give the id under which a key stands in the journal."""
        if secret not in self._keys:
            raise SandboxError("there is no such key; sandbox.api_key and sandbox.create_key() give keys")
        return self._keys[secret].id

    def identify(self, api_key: str | None, authorization: str | None, now: datetime) -> Credential:
        """Find out whose key or session this is."""
        if api_key:
            return self._by_key(api_key, now)
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() == "bearer" and token.strip() == self.session_token:
            return self._session
        if authorization:
            raise UnauthorizedError("Invalid or expired session token")
        raise UnauthorizedError(
            "Authentication required: send X-API-Key, or a session token and X-Workspace-ID"
        )

    def enter(self, credential: Credential, workspace_id: str | None) -> Caller:
        """Take a credential to the workspace that the request names; without a name, a key goes home."""
        if workspace_id:
            workspace = self._world.workspace(workspace_id)
        elif credential is self._session:
            raise BadRequestError("X-Workspace-ID is required with a session token")
        else:
            workspace = credential.home
        if workspace is None or workspace.deleted or not _reaches(credential.home, workspace):
            # The same words for all three: whether a workspace exists is not told to strangers.
            raise MissingError("Workspace not found")
        return Caller(credential, workspace, self._world.user_id(credential.home, credential.role))

    def _by_key(self, secret: str, now: datetime) -> Credential:
        credential = self._keys.get(secret)
        if credential is None:
            raise UnauthorizedError("Invalid API key")
        if credential.revoked:
            raise UnauthorizedError("API key has been revoked")
        if credential.expires_at is not None and now >= credential.expires_at:
            raise UnauthorizedError("API key has expired")
        return credential


def _reaches(home: Workspace, target: Workspace) -> bool:
    return target.id == home.id or target.parent_id == home.id
