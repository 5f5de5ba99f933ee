"""From an Airflow path and its connection to a folder."""

from __future__ import annotations

import re

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, ObjectStoragePath

from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.export.storage import layout
from airflow_provider_banksync.export.storage.folder import Folder, storage_errors

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*(?=:)", re.IGNORECASE)
#: An absolute path on this machine. Airflow resolves any other, such as file://data/lake, below the current directory
#: of the worker.
_ABSOLUTE_PATH = re.compile(r"(\w+:(//([^/@]+@)?)?(?!//))?/")
_SPACES = re.compile(r"^\s|\s$|[\x00-\x1f\x7f]")
_GOOGLE, _AZURE = "apache-airflow-providers-google", "apache-airflow-providers-microsoft-azure"
#: What Airflow needs to write to an object store, by the scheme of its URLs.
_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "apache-airflow-providers-amazon[s3fs]"),
    **dict.fromkeys(("gs", "gcs"), _GOOGLE),
    **dict.fromkeys(("abfs", "abfss", "adl"), _AZURE),
}
_CHECK_TEMPLATE = "If it comes from a template, check the rendered value."


def open_destination(destination: str, storage_conn_id: str | None, resource: str) -> Folder:
    """Return the folder of a resource, created if needed.

    :raises BankSyncConfigError: if the destination is not the URL of a folder, or there is no such connection.
    :raises ExportError: if the folder cannot be created.
    """
    _check_url(destination)
    try:
        # Airflow 2 takes conn_id=None for "no connection", and ignores the one in the URL.
        connection = {"conn_id": storage_conn_id} if storage_conn_id else {}
        path = ObjectStoragePath(destination, **connection)
        _check_connection(path)
        folder = folder_of(path / layout.resource_folder(resource))
    except (ValueError, TypeError, ImportError) as error:
        raise BankSyncConfigError(
            f"destination {destination!r} cannot be used: {error}.", hint=_missing_package(destination, error)
        ) from error
    with storage_errors(folder):
        folder.create_folder()
    return folder


def _missing_package(destination: str, error: Exception) -> str:
    """Return which package to install, if it is not installed."""
    scheme = destination.partition("://")[0].rpartition("@")[2].lower()
    package = _PACKAGES.get(scheme)
    if package is None or not (
        isinstance(error, ImportError) or "scheme" in str(error) or "protocol" in str(error)
    ):
        return ""
    return f"Install what writes to {scheme}:// on every worker: pip install '{package}'."


def folder_of(path: ObjectStoragePath) -> Folder:
    """Return the folder at an Airflow path. Reads its connection."""
    # Airflow writes the connection into the URL, which no other reader understands.
    scheme, separator, _ = str(path).partition("://")
    return Folder(path.fs, path.path, f"{scheme}://{path.path}" if separator else str(path))


def _check_url(destination: str) -> None:
    path = destination.rsplit("://", maxsplit=1)[-1].strip("/ ") if isinstance(destination, str) else ""
    if path in ("", "None"):
        raise BankSyncConfigError(
            f"destination is {destination!r}, but must be the URL of a folder.",
            hint=f"For example file:///data/lake or s3://bucket/prefix. {_CHECK_TEMPLATE}",
        )
    if _SPACES.search(destination):
        raise BankSyncConfigError(
            f"destination {destination!r} begins or ends with a space, or contains a line break.",
            hint=_CHECK_TEMPLATE,
        )
    scheme = _SCHEME.match(destination)
    is_local = scheme is None or scheme[0].lower() in ("file", "local")
    if is_local and not _ABSOLUTE_PATH.match(destination):
        raise BankSyncConfigError(
            f"destination {destination!r} is not an absolute path.",
            hint="Write a path on this machine as /data/lake or file:///data/lake, with exactly three slashes.",
        )


def _check_connection(path: ObjectStoragePath) -> None:
    """Check that the connection exists. The library of S3 would silently use other credentials instead."""
    connection = getattr(path, "conn_id", None) or path.storage_options.get("conn_id")  # Airflow 3.3; older
    if not connection:
        return
    try:
        BaseHook.get_connection(connection)
    except AirflowNotFoundException as error:
        raise BankSyncConfigError(
            f"there is no connection {connection!r}, which storage_conn_id or the destination names.",
            hint="Create the connection. Or name none: the store's library then finds the machine's credentials.",
        ) from error
