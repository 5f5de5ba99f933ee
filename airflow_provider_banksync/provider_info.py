"""What Airflow reads about this provider when it starts: names, the connection form, where the classes are."""

from __future__ import annotations

from typing import Any

from airflow_provider_banksync import __version__

_NAME = "BankSync"
_PACKAGE = "airflow_provider_banksync"

#: Fields of the connection that live in its extra. The one place for both forms: of Airflow 3.2 and later, which
#: reads them here, and of earlier ones, which ask the hook.
CONN_FIELDS: dict[str, dict[str, Any]] = {
    "workspace_id": {
        "label": "Workspace ID",
        "description": "Workspace to work in. Empty: the one that the API key belongs to. Needed with auth 'bearer'.",
        "schema": {"type": ["string", "null"]},
    },
    "auth": {
        "label": "Authentication",
        "description": "api_key: Password holds an API key (bsk_...). bearer: it holds a session token.",
        "schema": {"type": ["string", "null"], "enum": ["api_key", "bearer"], "default": "api_key"},
    },
    "timeout": {
        "label": "Timeout (seconds)",
        "description": "How long to wait for the server's next bytes. Default: 60.",
        "schema": {"type": ["number", "null"], "minimum": 0.1, "maximum": 3600},
    },
    "max_retries": {
        "label": "Retries",
        "description": "Further tries of a request that failed for a passing reason. Default: 5.",
        "schema": {"type": ["integer", "null"], "minimum": 0, "maximum": 50},
    },
    "rate_limit_per_minute": {
        "label": "Requests a minute",
        "description": "What the key's plan allows: 100 on the standard plan, 500 on Pro. Default: 100.",
        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 100000},
    },
    "rate_limit_store": {
        "label": "Shared budget",
        "description": "Where workers share the requests a minute: sqlite:////path/of/a/file on one host, "
        "redis://host:6379/0 in a cluster. Empty: each process counts for itself.",
        "schema": {"type": ["string", "null"]},
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
        "password": "bsk_... (BankSync: Settings, API keys)",
        "host": "https://api.banksync.io",
        "workspace_id": "empty: the key's own workspace",
        "timeout": "60",
        "max_retries": "5",
        "rate_limit_per_minute": "100",
        "rate_limit_store": "empty: each process for itself",
        "verify": "true",
    },
}


def _modules(*names: str) -> list[dict[str, Any]]:
    return [{"integration-name": _NAME, "python-modules": [f"{_PACKAGE}.{name}" for name in names]}]


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description; entry point ``apache_airflow_provider``."""
    return {
        "package-name": "airflow-provider-banksync",
        "name": _NAME,
        "description": "`BankSync <https://banksync.io>`__: sync bank feeds, wait for them, export what they hold.",
        "versions": [__version__],
        "integrations": [
            {"integration-name": _NAME, "external-doc-url": "https://banksync.io", "tags": ["service"]},
        ],
        "hooks": _modules("hooks.banksync"),
        "operators": _modules(
            "operators.sync",
            "operators.family",
            "operators.jobs",
            "operators.feeds",
            "operators.listing",
        ),
        "sensors": _modules("sensors.base", "sensors.job", "sensors.feed", "sensors.bank"),
        "triggers": _modules("triggers.job", "triggers.family", "triggers.sensors"),
        "transfers": [
            {
                "source-integration-name": _NAME,
                "target-integration-name": _NAME,
                "python-module": f"{_PACKAGE}.transfers.object_storage",
            }
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
