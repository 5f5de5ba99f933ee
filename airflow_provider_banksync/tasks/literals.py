"""Checks of templated arguments while a DAG is parsed. A template is checked when its task runs."""

from __future__ import annotations

from airflow_provider_banksync.api.validation import quote_id, validate_workspace_id
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.extract.filters import parse_ids, parse_where

_COLLECTIONS = (list, tuple, set, frozenset)
#: What an argument can be in a DAG file. Anything else, such as the output of a task, has no value yet.
_LITERALS = (str, bytes, int, float, dict, *_COLLECTIONS)


def validate_literal_arguments(**arguments: object) -> None:
    """Check ids, lists of ids, ``where`` and ``fields``, as far as they are no templates. None is not checked.

    :raises BankSyncConfigError: if one can never be right.
    """
    for name, value in arguments.items():
        if not _is_literal(value):
            continue
        if name == "where":
            parse_where(value)
        elif name == "fields":
            validate_fields(value)
        elif name == "workspace_id":
            validate_workspace_id(value)
        elif name.endswith("_ids"):
            entries = value
            if isinstance(value, _COLLECTIONS):
                entries = [each for each in value if each is None or _is_literal(each)]
            parse_ids(name, entries)
        else:
            quote_id(name, value)


def validate_fields(fields: object) -> None:
    """Refuse ``fields`` that is neither None, nor a list of names, nor a dict from new to old names."""
    if fields is not None and (not isinstance(fields, (list, tuple, dict)) or not fields):
        raise BankSyncConfigError(
            f"fields must be a list of names, or a dict from new to old names, not {fields!r}."
        )


def _is_literal(value: object) -> bool:
    return isinstance(value, _LITERALS) and not (isinstance(value, str) and "{" in value)
