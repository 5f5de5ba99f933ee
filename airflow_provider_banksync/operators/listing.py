"""Return a listing as XCom."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, BaseOperator

from airflow_provider_banksync.api.validation import (
    ON_UNAVAILABLE,
    RESOURCES,
    SCOPES,
    is_rendered_later,
    validate_choice,
    validate_integer,
    validate_literals,
    validate_resource,
)
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.tasks.base import BankSyncTaskMixin, fail_on_permanent_errors
from airflow_provider_banksync.tasks.literals import validate_fields, validate_literal_arguments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.api.validation import Listing, OnUnavailable, Scope
    from airflow_provider_banksync.extract.partition import Unavailable
    from airflow_provider_banksync.tasks.event_loop_thread import EventLoopThread

#: Number of requests in flight.
CONCURRENCY = 8


class BankSyncListOperator(BankSyncTaskMixin, BaseOperator):
    """List objects and return their rows, in a shape that ``.expand_kwargs()`` takes if you pass `fields`.

    .. code-block:: python

        feeds = BankSyncListOperator(
            task_id="feeds",
            resource="feeds",
            scope="family",
            where={"dataType": "transactions"},
            fields={"feed_id": "id", "workspace_id": "workspaceId"},
        )
        BankSyncTriggerSyncOperator.partial(task_id="sync", deferrable=True).expand_kwargs(feeds.output)

    :param resource: workspaces, portals, banks, accounts, feeds, integrations, enrichments or jobs (templated).
    :param scope: ``self`` lists this workspace. ``family`` lists this workspace and all its portals; each row then has
        ``workspaceId`` and ``portal``, which is None for the parent's own rows (templated).
    :param where: keep rows whose field has this value, or one of the values of a list (templated). A dot reaches into
        an object (``portal.name``). A field that no row has is an error.
    :param fields: keep only these fields, or rename them: ``{"name in the result": "name in the row"}`` (templated). A
        field that a row does not have is None. A field that no row has is an error.
    :param max_xcom_bytes: a result that is larger, as Airflow's database stores it, fails the task.
    :param on_unavailable: what to do if banks, feeds or workspaces cannot be listed, because a bank needs a new
        sign-in, a feed was deleted meanwhile, or the key may not read a portal. ``fail`` the task, or ``report`` them:
        return the rows of all others, and push to the XCom key ``unavailable`` a dict with ``unavailable`` (a list
        with ``workspace_id``, ``portal``, ``reason``, ``message`` and more, of at most 100 entries),
        ``unavailable_count`` and ``unavailable_reasons``. If a retry may help and Airflow has one left, the task fails
        in both cases.
    :param banksync_conn_id: connection to use.
    :param workspace_id: workspace to list, for example a portal (templated); None for the connection's.
    """

    template_fields: Sequence[str] = (
        "resource",
        "scope",
        "where",
        "fields",
        "workspace_id",
        "banksync_conn_id",
    )
    ui_color = "#e6eef7"
    _thread: EventLoopThread | None = None

    def __init__(
        self,
        *,
        resource: Listing,
        scope: Scope = "self",
        where: Mapping[str, Any] | None = None,
        fields: Sequence[str] | Mapping[str, str] | None = None,
        max_xcom_bytes: int = 1024 * 1024,
        on_unavailable: OnUnavailable = "fail",
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        validate_choice("on_unavailable", on_unavailable, ON_UNAVAILABLE)
        validate_literals(RESOURCES, resource=resource)
        validate_literals(SCOPES, scope=scope)
        if not (is_rendered_later(resource) or is_rendered_later(scope)):
            validate_resource(resource, scope)
        validate_integer("max_xcom_bytes", max_xcom_bytes, least=1)
        self.resource: str = resource
        self.scope: str = scope
        validate_literal_arguments(where=where, fields=fields, workspace_id=workspace_id)
        self.where = where
        self.fields = fields
        self.max_xcom_bytes = max_xcom_bytes
        self.on_unavailable = on_unavailable
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Fetch the rows, filter them and shape them."""
        from airflow_provider_banksync.api.redaction import counted
        from airflow_provider_banksync.compat import stored_size
        from airflow_provider_banksync.extract.filters import matches, parse_where, refuse_unknown_fields

        with fail_on_permanent_errors():
            where = parse_where(self.where)
            validate_fields(self.fields)
            rows, is_complete = self._list_rows(context)
            if is_complete:
                refuse_unknown_fields("where", rows, where)
            matching = [row for row in rows if matches(row, where)]
            result = self.to_xcom(_shape(matching, self.fields))
            size = stored_size(result)
            self.log.info(
                "Listed %d of %s: %s.",
                len(matching),
                counted(len(rows), self.resource.removesuffix("s")),
                counted(size, "byte"),
            )
            if size > self.max_xcom_bytes:
                raise BankSyncConfigError(
                    f"{counted(len(matching), self.resource.removesuffix('s'))} would take {counted(size, 'byte')}, "
                    f"but max_xcom_bytes is {self.max_xcom_bytes}.",
                    hint="Filter with where= and fields=, export to a folder or bucket with "
                    "BankSyncToObjectStorageOperator, or raise max_xcom_bytes.",
                )
            return result  # type: ignore[no-any-return]  # a list stays a list

    def on_kill(self) -> None:
        """Stop listing."""
        if self._thread is not None:
            self._thread.cancel()

    def _list_rows(self, context: Context) -> tuple[list[dict[str, Any]], bool]:
        """Return the rows, and whether they are all."""
        from airflow_provider_banksync.api.http.async_client import AsyncClient
        from airflow_provider_banksync.api.redaction import counted
        from airflow_provider_banksync.extract.listings import list_rows
        from airflow_provider_banksync.tasks.event_loop_thread import EventLoopThread
        from airflow_provider_banksync.tasks.unavailable import bound_unavailable, raise_unless_reported

        validate_resource(self.resource, self.scope)
        config = self.hook.get_config()

        async def main() -> tuple[list[dict[str, Any]], list[Unavailable]]:
            async with AsyncClient(config) as client:
                return await list_rows(client, self.resource, self.scope, CONCURRENCY, self.log)

        self._thread = EventLoopThread("banksync-list")
        try:
            rows, unavailable = self._thread.run(main)
        except CancelledError:
            raise AirflowException("The task was killed.") from None
        finally:
            self._thread = None  # a thread cannot be pickled
        raise_unless_reported(
            unavailable,
            self.on_unavailable,
            context,
            rest=f"Of the others, {counted(len(rows), 'row')} can be listed.",
            advice="Fix them, then clear this task.",
        )
        if self.on_unavailable == "report":
            report = bound_unavailable([each.to_json() for each in unavailable])
            context["ti"].xcom_push(key="unavailable", value=self.to_xcom(report))
        return rows, not unavailable


def _shape(
    rows: list[dict[str, Any]], fields: Sequence[str] | Mapping[str, str] | None
) -> list[dict[str, Any]]:
    from airflow_provider_banksync.extract.filters import field_value, refuse_unknown_fields

    if fields is None:
        return rows
    names = dict(fields) if hasattr(fields, "keys") else {field: field for field in fields}
    refuse_unknown_fields("fields", rows, names.values())
    return [{out: field_value(row, field) for out, field in names.items()} for row in rows]
