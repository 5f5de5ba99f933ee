"""BankSyncHook: a client of the BankSync API with the credentials of an Airflow connection."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.config import ClientConfig
from airflow_provider_banksync.api.validation import validate_workspace_id
from airflow_provider_banksync.compat import amask_secret, mask_secret
from airflow_provider_banksync.exceptions import (
    BankSyncConfigError,
    BankSyncError,
    BankSyncNotFoundError,
    BankSyncPermissionError,
    BankSyncValidationError,
)
from airflow_provider_banksync.hooks.banks import BankMethods
from airflow_provider_banksync.hooks.feeds import FeedMethods
from airflow_provider_banksync.hooks.key_renewal import KeyRenewal
from airflow_provider_banksync.hooks.workspaces import WorkspaceMethods

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

    from airflow_provider_banksync.api.http.async_client import AsyncClient
    from airflow_provider_banksync.api.http.client import Client
    from airflow_provider_banksync.api.messages import Row

#: Seconds that the last request of a killed task may take.
KILL_TIMEOUT = 5.0
#: Seconds that the first request of a connection test may take: to connect, and to be silent.
TEST_TIMEOUT = 5.0
_MAY_SYNC = (
    "It should be able to start syncs: BankSync did not refuse to cancel a job, which needs the same scope."
)


class BankSyncHook(WorkspaceMethods, BankMethods, FeedMethods, BaseHook):
    """A client of BankSync with the API key of an Airflow connection.

    The hook opens nothing until you call a method. Results are plain dicts and lists with every field of the API. A
    number with a fraction is a `Decimal` with all its digits. With ``workspace_id``, a method addresses one portal
    instead of the hook's own workspace, with the parent's key.

    All errors are those of `airflow_provider_banksync.exceptions`. A `BankSyncConfigError` (also a ValueError) means
    that the connection or an argument is wrong, and that nothing was sent. Temporary errors were already retried where
    that is safe. A permanent error of a method is also an `AirflowFailException`: Airflow does not retry your task.

    :param banksync_conn_id: the connection to use.
    :param workspace_id: the workspace to use. None means the connection's, or if it has none, the key's own.
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
        # An empty id, perhaps from a template, would address the parent instead of a client.
        self.workspace_id = None if workspace_id is None else validate_workspace_id(workspace_id)
        self._client: Client | None = None
        self._renewal: KeyRenewal | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what holds the key. A copy makes its own."""
        return {**self.__dict__, "_client": None, "_renewal": None}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the extra fields of the connection form, for Airflow before 3.2."""
        from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextFieldWidget
        from wtforms import PasswordField, StringField

        from airflow_provider_banksync.provider_info import CONN_FIELDS

        kinds = {None: (StringField, BS3TextFieldWidget), "password": (PasswordField, BS3PasswordFieldWidget)}
        widgets = {}
        for name, field in CONN_FIELDS.items():
            kind, widget = kinds[field["schema"].get("format")]
            widgets[name] = kind(
                field["label"],
                widget=widget(),
                description=field["description"],
                default=field["schema"].get("default"),
            )
        return widgets

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return labels and placeholders of the connection form, for Airflow before 3.2."""
        from airflow_provider_banksync.provider_info import UI_FIELD_BEHAVIOUR

        return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}

    def get_config(self) -> ClientConfig:
        """Read the connection.

        :raises BankSyncConfigError: it does not exist, or a field is missing or wrong.
        """
        return self._renewable(self._read_config())

    def _renewable(self, config: ClientConfig) -> ClientConfig:
        """Add the functions that read the connection again if BankSync refuses the key."""
        if self._renewal is None:
            self._renewal = KeyRenewal(self.banksync_conn_id, self._read_config, self._read_config_async)
        return replace(config, renew=self._renewal.renew, renew_async=self._renewal.renew_async)

    def _read_config(self) -> ClientConfig:
        try:
            connection = self.get_connection(self.banksync_conn_id)
        except AirflowNotFoundException as error:
            raise BankSyncConfigError(
                f"Airflow finds no connection {self.banksync_conn_id!r} in this process.",
                hint="Create it with the type BankSync, or pass another banksync_conn_id. In Airflow 3, a script that"
                " is not a task does not see the connections of Airflow's database: set the environment variable"
                f" AIRFLOW_CONN_{self.banksync_conn_id.upper()}.",
            ) from error
        config = self._config(connection)
        # Airflow masks the password with the spaces around it, and some versions mask Extra only as a whole.
        for secret in set(config.secrets) - {connection.password}:
            mask_secret(secret)
        return config

    async def _read_config_async(self) -> ClientConfig:
        connection = await self._find_connection_async()
        config = self._config(connection)
        for secret in set(config.secrets) - {connection.password}:
            await amask_secret(secret)
        return config

    async def _find_connection_async(self) -> Connection:
        from airflow.providers.common.compat.connection import get_async_connection
        from asgiref.sync import sync_to_async

        try:
            return await get_async_connection(self.banksync_conn_id)
        except AirflowNotFoundException:
            # `airflow dags test` of Airflow 3.3 answers only blocking look-ups.
            with suppress(AirflowNotFoundException):
                return await sync_to_async(self.get_connection)(self.banksync_conn_id)
        raise BankSyncConfigError(
            f"Airflow finds no connection {self.banksync_conn_id!r} in this process.",
            hint="A deferred task reads its connection in the triggerer. Give the triggerer the environment variables"
            " and the secrets backend of the workers. If the connection does not exist, create it with the type"
            " BankSync.",
        )

    def _config(self, connection: Connection) -> ClientConfig:
        if connection.conn_type not in (None, "", self.conn_type):
            raise BankSyncConfigError(
                f"Connection {self.banksync_conn_id!r} has the type {connection.conn_type!r}, not 'banksync'.",
                hint="Choose the type BankSync, or pass the id of another connection as banksync_conn_id.",
            )
        config = ClientConfig.from_connection(
            conn_id=self.banksync_conn_id,
            host=connection.host,
            port=connection.port,
            schema=connection.schema,
            password=connection.password,
            extra=connection.extra,
            workspace_id=self.workspace_id,
        )
        if not config.verify and config.uses_tls:
            self.log.warning(
                "Connection %r has verify set to false: TLS certificates are not checked, and anyone who controls"
                " the network can read the API key. Set verify to the path of a CA bundle.",
                self.banksync_conn_id,
            )
        return config

    def get_conn(self) -> Client:
        """Return the blocking client. The first call creates it."""
        if self._client is None:
            from airflow_provider_banksync.api.http.client import Client

            self._client = Client(self.get_config())
        return self._client

    async def get_async_conn(self) -> AsyncClient:
        """Return a client for the running event loop. Use it with ``async with``.

        Reading the connection does not block the loop.
        """
        from airflow_provider_banksync.api.http.async_client import AsyncClient

        return AsyncClient(self._renewable(await self._read_config_async()))

    def own_workspace_id(self) -> str:
        """Return the workspace of the hook, of the connection, or of the key (which takes one request)."""
        return self.get_conn().config.workspace_id or str(self.whoami()["workspaceId"])

    def cancel_job_quickly(self, feed_id: str, job_id: str) -> Row:
        """Cancel a job and return its last state: one try of at most `KILL_TIMEOUT`, for a task that is being killed.

        It does not wait for the rate limit. Only a 404 is followed by more tries, for a few seconds.
        """
        from airflow_provider_banksync.api.flows import syncs
        from airflow_provider_banksync.api.http.client import Client

        with Client(self.get_conn().config.for_cancel(KILL_TIMEOUT, max_retries=0)) as client:
            return client.run(syncs.cancel_new_job(feed_id, job_id, syncs.KILL_NOT_FOUND_GRACE))

    def close(self) -> None:
        """Close the open connections. You can still use the hook."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def test_connection(self) -> tuple[bool, str]:
        """Test the connection, for the Test button and ``airflow connections test``.

        Nothing is started: to ask whether the key may start syncs, it requests to cancel a job that does not exist.

        :return: whether it works, and a text: the workspace and what the key may do, or what is wrong.
        """
        try:
            workspace = self._quick_whoami()
            readable, unreadable = self._test_listings()
            sync = self._test_sync()
        except BankSyncError as error:
            return False, str(error)
        name = f"workspace {workspace.get('workspaceName')!r} ({workspace.get('workspaceId')})"
        if not readable:
            resources = f"{', '.join(unreadable[:-1])} or {unreadable[-1]}"
            return False, f"The key is valid for {name}, but cannot read {resources}. Give it read scopes."
        missing = f" It has no scope to read {', '.join(unreadable)}." if unreadable else ""
        text = f"Connected to {name}. The key can read {', '.join(readable)}.{missing} {sync}"
        # `airflow connections test` shows neither the text of a success nor the log.
        sys.stdout.write(f"{text}\n")
        return True, text

    def _quick_whoami(self) -> Row:
        """Return the workspace of the key, or fail soon: a person waits for the answer."""
        from airflow_provider_banksync.api.http.client import Client

        config = self.get_config()
        quick = replace(config, timeout=min(config.timeout, TEST_TIMEOUT), max_retries=0)
        with Client(quick) as client:
            return client.send(endpoints.whoami()).value

    def _test_listings(self) -> tuple[list[str], list[str]]:
        """Return the resources that the key can read, and those that it cannot."""
        readable: list[str] = []
        unreadable: list[str] = []
        for listing in (self.list_banks, self.list_feeds, self.list_integrations, self.list_enrichments):
            resource = listing.__name__.removeprefix("list_")
            try:
                listing()
                readable.append(resource)
            except BankSyncPermissionError:
                unreadable.append(resource)
        return readable, unreadable

    def _test_sync(self) -> str:
        """Return a sentence on whether the key may start syncs. It needs the same scope as to cancel a job."""
        nothing = "connection-test"
        try:
            self.get_conn().send(endpoints.cancel_job(nothing, nothing))
        except BankSyncPermissionError:
            return (
                "It may not start syncs, because it may not cancel jobs: it needs the scope jobs:write, and an owner "
                "with the role editor."
            )
        except (BankSyncNotFoundError, BankSyncValidationError):
            return _MAY_SYNC
        except BankSyncError as error:
            return f"Whether it may start syncs is unknown: {error}"
        return _MAY_SYNC
