"""What Airflow reads about this provider when it starts: the connection form and the modules with its classes."""

from __future__ import annotations

from typing import Any

from airflow_provider_banksync import __version__

_NAME = "BankSync"
_PACKAGE = "airflow_provider_banksync"

#: Fields of the connection's extra. Airflow 3.2 and later reads them here for its form; earlier versions ask the hook.
CONN_FIELDS: dict[str, dict[str, Any]] = {
    "workspace_id": {
        "label": "Workspace ID",
        "description": "Workspace to work in. Empty for the workspace of the API key. Required with auth 'bearer'.",
        "schema": {"type": ["string", "null"]},
    },
    "auth": {
        "label": "Authentication",
        "description": "api_key: the field API key holds an API key (bsk_...). bearer: it holds a session token.",
        "schema": {"type": ["string", "null"], "enum": ["api_key", "bearer"], "default": "api_key"},
    },
    "timeout": {
        "label": "Timeout (seconds)",
        "description": "How long to wait for the next bytes of an answer. Default: 60.",
        "schema": {"type": ["number", "null"], "minimum": 0.1, "maximum": 3600},
    },
    "max_retries": {
        "label": "Retries",
        "description": "Maximum retries of a request after a transient error. Default: 5.",
        "schema": {"type": ["integer", "null"], "minimum": 0, "maximum": 50},
    },
    "rate_limit_per_minute": {
        "label": "Requests per minute",
        "description": "The rate limit of the key: 100 on the standard plan (30 for some keys), 500 on Pro. "
        "Default: 100.",
        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 100000},
    },
    "rate_limit_store": {
        "label": "Shared rate limit",
        "description": "Where workers share the rate limit: sqlite:////path/of/a/file on one host, "
        "redis://host:6379/0 in a cluster, without its password. Empty: each process counts its own requests.",
        "schema": {"type": ["string", "null"]},
    },
    "rate_limit_store_password": {
        "label": "Password of the shared rate limit",
        "description": "The password of the Redis server of the shared rate limit. Airflow masks it.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "verify": {
        "label": "Verify TLS",
        "description": "true, false, or the path of a CA bundle on the worker. Default: true.",
        "schema": {"type": ["string", "null"]},
    },
}

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "login"],
    "relabeling": {"password": "API key", "host": "Base URL"},
    "placeholders": {
        "password": "bsk_... (BankSync: menu of the workspace, Developers)",
        "host": "https://api.banksync.io",
        "port": "443 (Airflow's Test button fails without a port)",
        "workspace_id": "empty: the workspace of the key",
        "timeout": "60",
        "max_retries": "5",
        "rate_limit_per_minute": "100",
        "rate_limit_store": "empty: not shared",
        "rate_limit_store_password": "empty: no password",
        "verify": "true",
    },
}


def _modules(*names: str) -> list[dict[str, Any]]:
    return [{"integration-name": _NAME, "python-modules": [f"{_PACKAGE}.{name}" for name in names]}]


def get_provider_info() -> dict[str, Any]:
    """Return the description of the provider (entry point ``apache_airflow_provider``)."""
    return {
        "package-name": "airflow-provider-banksync",
        "name": _NAME,
        "description": "`BankSync <https://banksync.io>`__: sync bank feeds, wait for jobs, export bank data.",
        "versions": [__version__],
        "integrations": [
            {"integration-name": _NAME, "external-doc-url": "https://banksync.io", "tags": ["service"]}
        ],
        "hooks": _modules("hooks.banksync"),
        "operators": _modules(
            "operators.sync",
            "operators.family",
            "operators.jobs",
            "operators.feeds",
            "operators.listing",
            "operators.reconcile",
        ),
        "sensors": _modules("sensors.base", "sensors.job", "sensors.feed", "sensors.bank"),
        "triggers": _modules("triggers.job", "triggers.family", "triggers.sensors"),
        "transfers": [
            {
                "source-integration-name": _NAME,
                "target-integration-name": _NAME,
                "python-module": f"{_PACKAGE}.transfers.{name}",
            }
            for name in ("delta_lake", "object_storage", "sql")
        ],
        "connection-types": [
            {
                "connection-type": "banksync",
                "hook-class-name": f"{_PACKAGE}.hooks.banksync.BankSyncHook",
                "hook-name": _NAME,
                "conn-fields": CONN_FIELDS,
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
            }
        ],
    }
