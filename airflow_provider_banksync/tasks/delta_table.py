"""Opens a Delta Lake table, with the credentials of Airflow's connection to its object store."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.ledger.columns import Columns

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import Connection

    from airflow_provider_banksync.ledger.delta import DeltaLedger

_CHECK_TEMPLATE = "If it comes from a template, check the rendered value."
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.+)", re.IGNORECASE)


def open_delta_table(table_uri: str, storage_conn_id: str | None, resource: str) -> DeltaLedger:
    """Return the table. Reads the connection, and sends no request.

    :raises BankSyncConfigError: if the URI is not one of a table, or the connection does not exist or does not fit it,
        or deltalake is not installed.
    """
    require_deltalake()
    from airflow_provider_banksync.ledger.delta import DeltaLedger

    uri, options = delta_location("table_uri", table_uri, storage_conn_id)
    return DeltaLedger(uri, Columns(resource), options)


def require_deltalake() -> None:
    """Raise `BankSyncConfigError` if the library is not installed."""
    try:
        import deltalake  # noqa: F401
    except ImportError as error:
        raise BankSyncConfigError(
            f"the library deltalake is needed for a Delta Lake table: {error}.",
            hint="Install it on every worker: pip install 'deltalake>=1.6.6' 'pyarrow>=18'",
        ) from error


def delta_location(argument: str, uri: object, storage_conn_id: str | None) -> tuple[str, dict[str, str]]:
    """Return the URI of a table, and the options of deltalake for it. Reads the connection, and sends no request.

    :param argument: its name, for errors.
    """
    location, scheme = _parse_uri(argument, uri)
    return location, {} if storage_conn_id is None else _storage_options(argument, scheme, storage_conn_id)


def _parse_uri(argument: str, uri: object) -> tuple[str, str]:
    """Return the URI, and its scheme. A path on this machine has the scheme ``file`` and comes without it."""
    if not isinstance(uri, str) or uri.strip() in ("", "None") or uri != uri.strip():
        raise BankSyncConfigError(
            f"{argument} is {uri!r}, but must be the URL or the absolute path of a table.",
            hint=f"For example s3://lake/banksync/transactions or /data/transactions. {_CHECK_TEMPLATE}",
        )
    found = _URL.fullmatch(uri)
    scheme = "file" if found is None else found[1].lower()
    if scheme == "file":
        path = uri if found is None else found[2]
        if not path.startswith("/"):
            raise BankSyncConfigError(
                f"{argument} {uri!r} is not an absolute path.",
                hint="Write a path on this machine as /data/table or file:///data/table, with three slashes.",
            )
        return path, scheme
    if scheme not in _OPTIONS:
        raise BankSyncConfigError(
            f"{argument} {uri!r} has the scheme {scheme!r}, which this operator does not know.",
            hint=f"It knows file, {', '.join(sorted(_OPTIONS))}.",
        )
    return uri, scheme


def _storage_options(argument: str, scheme: str, conn_id: str) -> dict[str, str]:
    """Return the options of deltalake for a connection."""
    if scheme == "file":
        raise BankSyncConfigError(
            f"storage_conn_id is for tables in an object store, and {argument} is a local path."
        )
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise BankSyncConfigError(
            f"there is no connection {conn_id!r}, which storage_conn_id names.",
            hint="Create the connection. Or name none: deltalake then finds the machine's credentials.",
        ) from error
    conn_types, options = _OPTIONS[scheme]
    if connection.conn_type not in conn_types:
        raise BankSyncConfigError(
            f"storage_conn_id {conn_id!r} is a connection of type {connection.conn_type!r}, but {scheme}:// needs one "
            f"of type {' or '.join(conn_types)}."
        )
    return {name: str(value) for name, value in options(connection).items() if value}


def _aws_options(connection: Connection) -> dict[str, Any]:
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
    except ImportError as error:
        raise BankSyncConfigError(
            f"an AWS connection needs Airflow's provider for AWS: {error}.",
            hint="Install it on every worker: pip install apache-airflow-providers-amazon",
        ) from error
    hook: Any = AwsGenericHook(aws_conn_id=connection.conn_id, client_type="s3")
    session = hook.get_session()
    credentials = session.get_credentials()
    endpoint = hook.conn_config.get_service_endpoint_url("s3")
    options = {
        "AWS_REGION": session.region_name or "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true" if endpoint and endpoint.startswith("http://") else None,
    }
    if credentials is not None:
        frozen = credentials.get_frozen_credentials()
        options |= {
            "AWS_ACCESS_KEY_ID": frozen.access_key,
            "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
            "AWS_SESSION_TOKEN": frozen.token,
        }
    return options


def _google_options(connection: Connection) -> dict[str, Any]:
    extra = connection.extra_dejson
    path, key = (
        extra.get(name) or extra.get(f"extra__google_cloud_platform__{name}")
        for name in ("key_path", "keyfile_dict")
    )
    return {
        "GOOGLE_SERVICE_ACCOUNT": path,
        "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(key) if isinstance(key, dict) else key,
    }


def _azure_options(connection: Connection) -> dict[str, Any]:
    extra = connection.extra_dejson
    host = (connection.host or "").removeprefix("https://").split(".")[0]
    tenant = extra.get("tenant_id")
    options = {"AZURE_STORAGE_ACCOUNT_NAME": extra.get("account_name") or host or connection.login}
    if tenant:
        return options | {
            "AZURE_STORAGE_TENANT_ID": tenant,
            "AZURE_STORAGE_CLIENT_ID": connection.login,
            "AZURE_STORAGE_CLIENT_SECRET": connection.password,
        }
    return options | {
        "AZURE_STORAGE_SAS_TOKEN": extra.get("sas_token"),
        "AZURE_STORAGE_ACCOUNT_KEY": connection.password or extra.get("account_key"),
    }


_AWS = (("aws",), _aws_options)
_GOOGLE = (("google_cloud_platform", "gcpgcs"), _google_options)
_AZURE = (("wasb", "adls", "azure_data_lake"), _azure_options)
#: The types of connection, and the options of deltalake, by the scheme of the URI.
_OPTIONS: dict[str, tuple[tuple[str, ...], Callable[[Connection], dict[str, Any]]]] = {
    "s3": _AWS,
    "s3a": _AWS,
    "gs": _GOOGLE,
    "abfs": _AZURE,
    "abfss": _AZURE,
    "az": _AZURE,
}
