"""BankSyncHook: an Airflow connection becomes a client of the BankSync API."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_banksync.api import conversations, endpoints
from airflow_provider_banksync.api.config import ClientConfig
from airflow_provider_banksync.exceptions import (
    BankSyncConfigError,
    BankSyncError,
    BankSyncNotFoundError,
    BankSyncPermissionError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.api.aio import AsyncClient
    from airflow_provider_banksync.api.client import Client
    from airflow_provider_banksync.api.conversations import Conversation
    from airflow_provider_banksync.api.messages import Call, Row

_T = TypeVar("_T")


class BankSyncHook(BaseHook):
    """Talks to BankSync with the key of an Airflow connection.

    Opens nothing until a method is called. Results are plain dicts and lists with every field that the API sent; a
    number with a fraction is a `Decimal` with all its digits. Every method takes ``workspace_id`` to address one portal
    (with the parent's key) in the place of the hook's own workspace.

    Every method raises errors of `airflow_provider_banksync.exceptions`, and no others: `BankSyncConfigError` (also a
    ValueError) before anything is sent, when the connection or an argument is wrong; the others by what came back.
    Requests that failed for a passing reason have been tried again by then, where that is safe.

    :param banksync_conn_id: the connection to use.
    :param workspace_id: workspace to work in; None leaves the connection's, and without one there the key's own.
    """

    conn_name_attr = "banksync_conn_id"
    default_conn_name = "banksync_default"
    conn_type = "banksync"
    hook_name = "BankSync"

    def __init__(
        self, banksync_conn_id: str = default_conn_name, workspace_id: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id
        self._client: Client | None = None

    # --- the connection ---

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the extra fields of the connection form, for Airflow before 3.2."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from wtforms import StringField

        from airflow_provider_banksync.provider_info import CONN_FIELDS

        return {
            name: StringField(
                field["label"],
                widget=BS3TextFieldWidget(),
                description=field["description"],
                default=field["schema"].get("default"),
            )
            for name, field in CONN_FIELDS.items()
        }

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return labels and placeholders of the connection form, for Airflow before 3.2."""
        from airflow_provider_banksync.provider_info import UI_FIELD_BEHAVIOUR

        return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}

    def get_config(self) -> ClientConfig:
        """Read the connection.

        :raises BankSyncConfigError: naming the field that is missing or wrong.
        """
        connection = self.get_connection(self.banksync_conn_id)
        return self._config(connection, connection.extra_dejson)

    def _config(self, connection: Any, extra: dict[str, Any]) -> ClientConfig:
        config = ClientConfig.from_connection(
            conn_id=self.banksync_conn_id,
            host=connection.host,
            port=connection.port,
            schema=connection.schema,
            password=connection.password,
            extra=extra,
        )
        return config.for_workspace(self.workspace_id)

    def get_conn(self) -> Client:
        """Return the blocking client; made at the first call, kept for the hook's life."""
        if self._client is None:
            from airflow_provider_banksync.api.client import Client

            self._client = Client(self.get_config())
        return self._client

    async def get_async_conn(self) -> AsyncClient:
        """Return a client for the running event loop, to be used with ``async with``.

        The connection is read without blocking the loop.
        """
        from airflow_provider_banksync.api.aio import AsyncClient
        from airflow_provider_banksync.compat import get_async_connection_and_extra

        connection, extra = await get_async_connection_and_extra(self.banksync_conn_id)
        return AsyncClient(self._config(connection, extra))

    def close(self) -> None:
        """Close the connections that are kept open; the hook can be used again."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _send(self, call: Call[_T]) -> _T:
        return self.get_conn().send(call).value

    def _run(self, conversation: Conversation[_T]) -> _T:
        return self.get_conn().run(conversation)

    def test_connection(self) -> tuple[bool, str]:
        """Try the connection, for the Test button.

        :return: whether it works, and a sentence: which workspace and what the key may read, or what is wrong.
        """
        may: list[str] = []
        may_not: list[str] = []
        try:
            workspace = self.whoami()
            for what, look in (
                ("banks", self.list_banks),
                ("feeds", self.list_feeds),
                ("integrations", self.list_integrations),
                ("enrichments", self.list_enrichments),
            ):
                try:
                    look()
                    may.append(what)
                except BankSyncPermissionError:
                    may_not.append(what)
        except BankSyncError as error:
            return False, str(error)
        name = f"workspace {workspace.get('workspaceName')!r} ({workspace.get('workspaceId')})"
        if not may:
            return (
                False,
                f"The key is valid for {name}, but has none of the read scopes: give it some in BankSync.",
            )
        refused = f"; it lacks the scope to read {', '.join(may_not)}" if may_not else ""
        return True, f"Connected to {name}. The key may read {', '.join(may)}{refused}."

    # --- who and where ---

    def whoami(self, *, workspace_id: str | None = None) -> Row:
        """Return ``workspaceId`` and ``workspaceName`` of the key (or of the workspace that is addressed)."""
        return self._send(endpoints.whoami(workspace_id=workspace_id))

    def list_workspaces(self, *, workspace_id: str | None = None) -> list[Row]:
        """Return the workspaces that the key reaches: the parent and its portals.

        :raises BankSyncNotFoundError: this API has no such listing; `list_portals` finds the portals all the same.
        """
        return self._send(endpoints.list_workspaces(workspace_id=workspace_id))

    def list_portals(self, *, workspace_id: str | None = None) -> list[Row]:
        """Return the live portals (clients) of the workspace: ``id``, ``name`` and what else the API tells."""
        return self._run(conversations.list_portals(workspace_id=workspace_id))

    # --- banks and accounts ---

    def list_banks(self, scope: str = "self", *, workspace_id: str | None = None) -> list[Row]:
        """Return the bank connections.

        :param scope: ``self``: of this workspace. ``family``: of this one and all its portals; each row then has
            ``workspaceId`` and ``portal`` (None for the parent's own).
        """
        return self._send(endpoints.list_banks(scope, workspace_id=workspace_id))

    def get_bank(self, bank_id: str, *, workspace_id: str | None = None) -> Row:
        """Return one bank connection."""
        return self._send(endpoints.get_bank(bank_id, workspace_id=workspace_id))

    def list_accounts(self, bank_id: str, *, workspace_id: str | None = None) -> list[Row]:
        """Return the accounts of one bank connection."""
        return self._send(endpoints.list_accounts(bank_id, workspace_id=workspace_id))

    def get_account(self, bank_id: str, account_id: str, *, workspace_id: str | None = None) -> Row:
        """Return one account."""
        return self._send(endpoints.get_account(bank_id, account_id, workspace_id=workspace_id))

    # --- feeds ---

    def list_feeds(self, scope: str = "self", *, workspace_id: str | None = None) -> list[Row]:
        """Return the feeds; `scope` as in `list_banks`."""
        return self._send(endpoints.list_feeds(scope, workspace_id=workspace_id))

    def get_feed(self, feed_id: str, *, workspace_id: str | None = None) -> Row:
        """Return one feed."""
        return self._send(endpoints.get_feed(feed_id, workspace_id=workspace_id))

    def find_feed(self, name: str, *, workspace_id: str | None = None) -> Row:
        """Return the feed of this name in this workspace.

        :raises BankSyncNotFoundError: there is none; the message lists the names that there are.
        :raises BankSyncConfigError: there are several; the message lists their ids.
        """
        feeds = self.list_feeds(workspace_id=workspace_id)
        found = [feed for feed in feeds if feed.get("name") == name]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(str(feed.get("id")) for feed in found)
            raise BankSyncConfigError(
                f"{len(found)} feeds are named {name!r}: {ids}.", hint="Give the feed_id."
            )
        names = ", ".join(sorted(repr(feed.get("name")) for feed in feeds)) or "none at all"
        raise BankSyncNotFoundError(f"no feed is named {name!r}; there are: {names}.")

    def trigger_sync(
        self,
        feed_id: str,
        from_date: str | None = None,
        to_date: str | None = None,
        *,
        workspace_id: str | None = None,
    ) -> Row:
        """Start a sync of the feed and return its job, without waiting for it.

        A sync is never started twice: when the outcome of the request is unknown, the feed's jobs are looked at before
        it is sent again.

        :param from_date: first day to sync, ``YYYY-MM-DD``; without dates, the sync is incremental.
        :param to_date: last day to sync, inclusive.
        :raises BankSyncConflictError: a job of this feed is queued or running already.
        """
        return self._run(
            conversations.trigger_sync(
                feed_id, from_date, to_date, workspace_id=workspace_id, clock=time.monotonic
            )
        )

    # --- jobs ---

    def list_jobs(
        self,
        feed_id: str,
        status: str | None = None,
        limit: int | None = None,
        *,
        workspace_id: str | None = None,
    ) -> list[Row]:
        """Return jobs of a feed, newest first.

        :param status: only those in this status: queued, in_progress, completed, failed, cancelled.
        :param limit: how many at most; None leaves it to the API, which gives 20.
        """
        return self._send(endpoints.list_jobs(feed_id, status, limit, workspace_id=workspace_id))

    def get_job(self, feed_id: str, job_id: str, *, workspace_id: str | None = None) -> Row:
        """Return one job."""
        return self._send(endpoints.get_job(feed_id, job_id, workspace_id=workspace_id))

    def cancel_job(self, feed_id: str, job_id: str, *, workspace_id: str | None = None) -> Row:
        """Cancel a job and return it as it is then.

        :raises BankSyncConflictError: it has ended already.
        """
        return self._send(endpoints.cancel_job(feed_id, job_id, workspace_id=workspace_id))

    def wait_for_job(
        self,
        feed_id: str,
        job_id: str,
        timeout: float = 3600,
        poll_interval: float = 5,
        *,
        max_poll_interval: float = 60,
        workspace_id: str | None = None,
        on_progress: Callable[[Row], None] | None = None,
    ) -> Row:
        """Block until the job has ended, and return it, whatever its end.

        Looks that fail for a passing reason do not end the wait.

        :param timeout: seconds to wait at most.
        :param poll_interval: seconds between the first looks; grows by half each time.
        :param max_poll_interval: seconds between looks at most.
        :param on_progress: is given the job after each look.
        :raises BankSyncJobTimeoutError: the job still runs; `.job` is its last known state.
        """
        polling = conversations.Polling(
            interval=poll_interval,
            longest=max_poll_interval,
            deadline=time.monotonic() + timeout,
            clock=time.monotonic,
            rng=random.random,
        )
        return self._run(
            conversations.wait_for_job(
                feed_id, job_id, polling, workspace_id=workspace_id, on_progress=on_progress
            )
        )

    # --- enrichments and integrations ---

    def list_enrichments(self, *, workspace_id: str | None = None) -> list[Row]:
        """Return the enrichments (rules, alerts, memory) of the workspace."""
        return self._send(endpoints.list_enrichments(workspace_id=workspace_id))

    def list_integrations(self, scope: str = "self", *, workspace_id: str | None = None) -> list[Row]:
        """Return the destinations (Notion, Google Sheets, Airtable); `scope` as in `list_banks`."""
        return self._send(endpoints.list_integrations(scope, workspace_id=workspace_id))
