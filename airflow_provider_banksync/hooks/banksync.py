"""BankSyncHook: an Airflow connection becomes a client of the BankSync API."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.checks import check_workspace_id
from airflow_provider_banksync.api.config import ClientConfig
from airflow_provider_banksync.compat import amask_secret, mask_secret
from airflow_provider_banksync.exceptions import BankSyncConfigError, BankSyncError, BankSyncPermissionError
from airflow_provider_banksync.hooks.banks import BankMethods
from airflow_provider_banksync.hooks.feeds import FeedMethods
from airflow_provider_banksync.hooks.workspaces import WorkspaceMethods

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

    from airflow_provider_banksync.api.aio import AsyncClient
    from airflow_provider_banksync.api.client import Client
    from airflow_provider_banksync.api.conversations import Conversation
    from airflow_provider_banksync.api.messages import Call, Row

_T = TypeVar("_T")

#: How long a killed task may take over its last request (seconds).
QUICK_TIMEOUT = 5.0


class BankSyncHook(WorkspaceMethods, BankMethods, FeedMethods, BaseHook):
    """Talks to BankSync with the key of an Airflow connection.

    Opens nothing until a method is called. Results are plain dicts and lists with every field that the API sent; a
    number with a fraction is a `Decimal` with all its digits. Every method takes ``workspace_id`` to address one portal
    (with the parent's key) in the place of the hook's own workspace.

    Every method raises errors of `airflow_provider_banksync.exceptions`, and no others: `BankSyncConfigError` (also a
    ValueError) before anything is sent, when the connection or an argument is wrong; the others by what came back.
    Requests that failed for a passing reason have been tried again by then, where that is safe.

    :param banksync_conn_id: the connection to use.
    :param workspace_id: workspace to work in; None, and nothing else, leaves the connection's, and without one there
        the key's own.
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
        # An empty one, of a template perhaps, would address the parent in the place of a client.
        self.workspace_id = None if workspace_id is None else check_workspace_id(workspace_id)
        self._client: Client | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the client out, which holds the key: a copy makes its own."""
        return {**self.__dict__, "_client": None}

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

        :raises BankSyncConfigError: there is none, or naming the field that is missing or wrong.
        """
        try:
            connection = self.get_connection(self.banksync_conn_id)
        except AirflowNotFoundException as error:
            raise self._no_connection() from error
        config = self._config(connection)
        if (
            config.secret != connection.password
        ):  # pasted with spaces: Airflow masks it with them, and only so
            mask_secret(config.secret)
        return config

    def _no_connection(self) -> BankSyncConfigError:
        return BankSyncConfigError(
            f"there is no connection {self.banksync_conn_id!r}.",
            hint="Add one of type banksync, or give banksync_conn_id.",
        )

    def _config(self, connection: Connection) -> ClientConfig:
        return ClientConfig.from_connection(
            conn_id=self.banksync_conn_id,
            host=connection.host,
            port=connection.port,
            schema=connection.schema,
            password=connection.password,
            extra=connection.extra,
            workspace_id=self.workspace_id,
        )

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
        from airflow.providers.common.compat.connection import get_async_connection

        from airflow_provider_banksync.api.aio import AsyncClient

        try:
            connection = await get_async_connection(self.banksync_conn_id)
        except AirflowNotFoundException as error:
            raise self._no_connection() from error
        config = self._config(connection)
        if config.secret != connection.password:
            await amask_secret(config.secret)
        return AsyncClient(config)

    def own_workspace_id(self) -> str:
        """Return the workspace that this hook addresses: its own, the connection's, or else the key's (one request)."""
        return self.get_conn().config.workspace_id or str(self.whoami()["workspaceId"])

    def cancel_job_quickly(self, feed_id: str, job_id: str) -> Row:
        """Ask once, and for a few seconds at most, to cancel a job: for a task that is being killed.

        Neither waits in the rate budget nor tries again. Returns the job as it is then.
        """
        from airflow_provider_banksync.api.client import Client

        config = replace(self.get_conn().config, timeout=QUICK_TIMEOUT, max_retries=0)
        with Client(config, in_budget=False) as client:
            return client.send(endpoints.cancel_job(feed_id, job_id)).value

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
            lacks = f"{', '.join(may_not[:-1])} nor {may_not[-1]}"
            return False, f"The key is valid for {name}, but may read neither {lacks}: give it read scopes."
        refused = f"; it lacks the scope to read {', '.join(may_not)}" if may_not else ""
        return True, f"Connected to {name}. The key may read {', '.join(may)}{refused}."
