"""Authentication and authorization: who sends a request, to which workspace, and what they may do there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.errors import ApiError, SandboxError
from airflow_provider_banksync.sandbox.validation import check_moment

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from airflow_provider_banksync.sandbox.world.model import Workspace
    from airflow_provider_banksync.sandbox.world.world import World

_AREAS = ("banks", "feeds", "jobs", "workspaces", "enrichments")
ALL_SCOPES = frozenset(f"{area}:{right}" for area in _AREAS for right in ("read", "write"))
ROLES = ("owner", "admin", "editor", "viewer")


@dataclass
class Credential:
    """An API key or a person's session, without its secret."""

    id: str
    home_workspace: Workspace
    role: str
    scopes: frozenset[str]
    expires_at: datetime | None
    is_session: bool
    revoked: bool = False

    def is_expired(self, now: datetime) -> bool:
        """Return whether its time is over."""
        return self.expires_at is not None and now >= self.expires_at


@dataclass(frozen=True)
class Caller:
    """A credential that is used in one workspace."""

    credential: Credential
    workspace: Workspace
    user_id: str

    def require(self, scope: str | None) -> None:
        """Raise ApiError if the scopes or the role do not allow this. A write needs the read scope too."""
        if scope is None:
            return
        area, _, right = scope.partition(":")
        missing = sorted({f"{area}:read", scope} - self.credential.scopes)
        if missing:
            raise ApiError(403, f"API key lacks the required scope: {', '.join(missing)}")
        if right == "write" and self.credential.role == "viewer":
            raise ApiError(403, "Role viewer may not make changes")

    def require_family(self) -> None:
        """Raise an error if the caller may not list the family: portals, and roles below admin."""
        if self.workspace.is_portal:
            raise ApiError(400, "scope=family is only available on a top-level workspace, not on a portal")
        if self.credential.role not in {"owner", "admin"}:
            raise ApiError(403, "scope=family requires the owner or admin role")


class Credentials:
    """The API keys and sessions of a sandbox, by their secrets."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._keys: dict[str, Credential] = {}
        self._sessions: dict[str, Credential] = {}
        self.owner_key = self.create("owner")
        self.session_token = self.create("owner", is_session=True)

    def create(
        self,
        role: str,
        workspace_id: str | None = None,
        expires_at: datetime | None = None,
        scopes: Iterable[str] | None = None,
        *,
        is_session: bool = False,
    ) -> str:
        """Create an API key, or sign in a member of a workspace. Return the secret."""
        granted = ALL_SCOPES if scopes is None else _check_scopes(scopes)
        if role not in ROLES:
            raise SandboxError(f"no such role: {role}; use one of {', '.join(ROLES)}")
        if expires_at is not None:
            check_moment("expires_at", expires_at)
        home = self._world.parent if workspace_id is None else self._world.workspace(workspace_id)
        if home is None:
            raise SandboxError(f"no such workspace: {workspace_id}; sandbox.portals lists the portals")
        credentials, name = (self._sessions, "session") if is_session else (self._keys, "key")
        number, seed = len(credentials), self._world.seed
        secret = f"{'bst' if is_session else 'bsk'}_{seed.token(33, name, number)}"
        credential_id = seed.id(f"{name}-id", number)
        credentials[secret] = Credential(credential_id, home, role, granted, expires_at, is_session)
        return secret

    def revoke(self, secret: str) -> None:
        """Revoke an API key, or end a session. Requests with it answer 401."""
        self._require(secret).revoked = True

    def id_of(self, secret: str) -> str:
        """Return the id of a key or session in the request log."""
        return self._require(secret).id

    def find(self, api_key: str | None, authorization: str | None) -> Credential | None:
        """Return the key or session of a request, valid or not. A key has precedence."""
        if api_key:
            return self._keys.get(api_key)
        scheme, _, token = (authorization or "").partition(" ")
        return self._sessions.get(token.strip()) if scheme.lower() == "bearer" else None

    def identify(self, api_key: str | None, authorization: str | None, now: datetime) -> Credential:
        """Return the valid key or session of a request."""
        credential = self.find(api_key, authorization)
        if not api_key and not authorization:
            raise ApiError(
                401, "Authentication required: send X-API-Key, or a session token and X-Workspace-ID"
            )
        if credential is not None and not credential.revoked and not credential.is_expired(now):
            return credential
        if not api_key:
            raise ApiError(401, "Invalid or expired session token")
        if credential is None:
            raise ApiError(401, "Invalid API key")
        raise ApiError(401, f"API key has {'been revoked' if credential.revoked else 'expired'}")

    def authorize(self, credential: Credential, workspace_id: str | None) -> Caller:
        """Return the caller for the workspace that a request names. By default, a key's own workspace."""
        if credential.is_session and not workspace_id:
            raise ApiError(400, "X-Workspace-ID is required with a session token")
        home = credential.home_workspace
        workspace = self._world.workspace(workspace_id or home.id)
        # The same error in all cases: it does not show strangers whether a workspace exists.
        if workspace is None or workspace.deleted or home.id not in {workspace.id, workspace.parent_id}:
            raise ApiError(404, "Workspace not found")
        return Caller(credential, workspace, self._world.user_id(home, credential.role))

    def _require(self, secret: str) -> Credential:
        credential = self._keys.get(secret) or self._sessions.get(secret)
        if credential is None:
            raise SandboxError(
                "no such key or session; sandbox.create_key() and sandbox.create_session() create them"
            )
        return credential


def _check_scopes(scopes: Iterable[str]) -> frozenset[str]:
    granted = frozenset([scopes] if isinstance(scopes, str) else scopes)
    if not granted <= ALL_SCOPES:
        unknown = ", ".join(sorted(map(str, granted - ALL_SCOPES)))
        raise SandboxError(f"no such scope: {unknown}; use some of {', '.join(sorted(ALL_SCOPES))}")
    return granted
