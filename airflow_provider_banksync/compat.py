"""What differs between Airflow 2.11 and 3.x and has no name in the common.compat provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

__all__ = ["BaseTrigger", "TriggerEvent", "get_async_connection_and_extra"]


async def get_async_connection_and_extra(conn_id: str) -> tuple[Connection, dict[str, Any]]:
    """Read a connection without blocking the event loop, on every Airflow.

    :return: the connection and its extra, decoded.
    """
    from airflow.providers.common.compat import connection as compat_connection

    connection = await compat_connection.get_async_connection(conn_id)
    # From Airflow 3.3.2 on, `extra_dejson` masks secrets with a blocking call to the supervisor, which must not be
    # made on the loop; common.compat grew the asynchronous way in the version that knows of it.
    read_extra = getattr(compat_connection, "get_async_extra_dejson", None)
    extra = await read_extra(connection) if read_extra is not None else connection.extra_dejson
    return connection, extra
