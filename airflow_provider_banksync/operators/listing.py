"""Bring a listing into XCom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.task import BankSyncTaskMixin, for_xcom, permanent_errors_fail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.providers.common.compat.sdk import Context


class BankSyncListOperator(BankSyncTaskMixin, BaseOperator):
    """List what there is, and return the rows: shaped, if wanted, for ``.expand_kwargs()``.

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
    :param scope: ``self``: of this workspace. ``family``: of this one and all its portals; each row then has
        ``workspaceId`` and ``portal`` (None for the parent's own) (templated).
    :param where: keep the rows whose field has this value, or one of these where a list is given; a dot reaches
        inside (``portal.name``) (templated). A field that no row has is an error.
    :param fields: keep these fields only; or ``{"name in the result": "name in the row"}`` (templated). A field that
        a row does not have is None there; one that no row has is an error.
    :param max_xcom_bytes: a larger result fails the task, rather than weigh on Airflow's database.
    :param banksync_conn_id: connection to use.
    :param workspace_id: portal to list (templated); None: the connection's workspace.
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

    def __init__(
        self,
        *,
        resource: str,
        scope: str = "self",
        where: Mapping[str, Any] | None = None,
        fields: Sequence[str] | Mapping[str, str] | None = None,
        max_xcom_bytes: int = 1024 * 1024,
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.resource = resource
        self.scope = scope
        self.where = where
        self.fields = fields
        self.max_xcom_bytes = max_xcom_bytes
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Fetch, filter, shape, and see that it fits."""
        from airflow_provider_banksync.api import codec
        from airflow_provider_banksync.filters import check_known, matches, wanted_values
        from airflow_provider_banksync.hooks import listings

        with permanent_errors_fail():
            where = wanted_values(self.where)
            _check_fields(self.fields)
            rows = listings.fetch(self.hook, self.resource, self.scope)
            check_known("where", rows, where)
            kept = [row for row in rows if matches(row, where)]
            result = _shape(kept, self.fields)
            size = len(codec.dumps(result))
            self.log.info("%d of %d %s, %d bytes.", len(kept), len(rows), self.resource, size)
            if size > self.max_xcom_bytes:
                raise BankSyncConfigError(
                    f"{len(kept)} {self.resource} take {size} bytes, more than max_xcom_bytes={self.max_xcom_bytes}.",
                    hint="Keep less with where= and fields=, send them to a folder or bucket with "
                    "BankSyncToObjectStorageOperator, or raise max_xcom_bytes.",
                )
            return for_xcom(result)  # type: ignore[no-any-return]  # a list stays a list


def _check_fields(fields: object) -> None:
    if fields is not None and (not isinstance(fields, (list, tuple, dict)) or not fields):
        raise BankSyncConfigError(
            f"fields must be a list of names, or a dict of new and old names, not {fields!r}."
        )


def _shape(
    rows: list[dict[str, Any]], fields: Sequence[str] | Mapping[str, str] | None
) -> list[dict[str, Any]]:
    from airflow_provider_banksync.filters import check_known, value_of

    if fields is None:
        return rows
    names = dict(fields) if hasattr(fields, "keys") else {field: field for field in fields}
    check_known("fields", rows, names.values())
    return [{out: value_of(row, field) for out, field in names.items()} for row in rows]
