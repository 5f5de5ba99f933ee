"""What Airflow stores of a task's result, and what the tasks downstream do with its texts."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.compat import expand_input, mapped_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow.providers.common.compat.sdk import BaseOperator, Context

#: PostgreSQL stores no U+0000, and nothing encodes half an emoji.
_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")
#: What stands for a text that is withheld.
WITHHELD = "(withheld: this text from BankSync contains a template)"
#: A definition of a feed whose text ends so is a template file.
TEMPLATE_FILE = ".json"
#: A warning names at most this many texts.
_MAX_NAMED = 20


def storable(value: Any) -> Any:
    """Return the value with the replacement character for each character that a database does not store."""
    if isinstance(value, str):
        return _NOT_STORABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {storable(name): storable(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [storable(entry) for entry in value]
    if isinstance(value, tuple):
        return tuple(storable(entry) for entry in value)
    return value


def to_xcom(value: Any) -> Any:
    """Return the value in a form that XCom, an asset's event or the task state store returns unchanged.

    Airflow stores a `Decimal` as a float, which keeps 15 digits. A number that would lose digits becomes text. For
    texts, see `storable`.
    """
    if isinstance(value, dict):
        return {storable(name): to_xcom(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [to_xcom(entry) for entry in value]
    if isinstance(value, Decimal) and Decimal(str(float(value))) != value:
        return str(value)
    return storable(value)


def withhold_templates(operator: Any, value: Any) -> Any:
    """Return a result without the texts that Airflow would render as templates in a task downstream.

    Airflow renders the texts that a task gets through ``expand_kwargs``, also if they come from an XCom. So a client
    could name a feed ``{{ conn.bank.password }}``. Our own operators do not render them (`row_texts`). If another
    operator may get the result in this way, `WITHHELD` replaces each text that it would render.
    """
    renderers = list(_rendering_tasks(operator))
    if not renderers:
        return value
    is_template = _template_test(operator, [suffix for task in renderers for suffix in task.template_ext])
    found: list[str] = []
    result = _replace(value, is_template, (), found)
    if found:
        beyond = f" and {len(found) - _MAX_NAMED} more" if len(found) > _MAX_NAMED else ""
        operator.log.warning(
            "Withheld %d text%s from XCom: %s%s. Task %s is mapped with expand_kwargs, and Airflow would render texts "
            "that look like templates. Leave these fields out, or map with expand, which does not render.",
            len(found),
            "" if len(found) == 1 else "s",
            "; ".join(found[:_MAX_NAMED]),
            beyond,
            ", ".join(task.task_id for task in renderers),
        )
    return result


def row_texts(operator: BaseOperator, context: Context, fields: Sequence[str]) -> set[int]:
    """Return the `id` of each text that this task got from an XCom through ``expand_kwargs``.

    Airflow does not render an object whose `id` it has seen.
    """
    mapped = _task_of_dag(operator)
    if mapped is None or not _maps_rows(mapped):
        return set()
    is_template = _template_test(operator, [TEMPLATE_FILE])
    values = {name: getattr(operator, name) for name in fields}
    suspects = [value for name, value in values.items() if value != mapped.partial_kwargs.get(name)]
    if not any(map(is_template, _texts(suspects))):
        return set()
    rows: Any = getattr(expand_input(mapped), "value", None)
    at: Any = context["ti"].map_index
    if isinstance(rows, (list, tuple)) and isinstance(rows[at], dict):
        return set()  # the DAG file says what is in this row
    row = mapped_arguments(mapped, context)
    return {id(text) for name in row.keys() & values.keys() for text in _texts(values[name])}


def _rendering_tasks(operator: BaseOperator) -> Iterator[Any]:
    """Yield the tasks of other operators that may get this task's result through ``expand_kwargs``.

    The tasks between may pass on parts of the result.
    """
    task = _task_of_dag(operator)
    if task is None:
        return
    sources = {task.task_id, *task.get_flat_relative_ids(upstream=False)}
    for other in operator.dag.tasks:
        if not _maps_rows(other) or getattr(other.operator_class, "takes_rows_unrendered", False):
            continue
        if any(source.task_id in sources for source, _ in expand_input(other).iter_references()):
            yield other


def _task_of_dag(operator: BaseOperator) -> Any:
    """Return the task as the DAG has it, which is not this object if the task is mapped; None without a DAG."""
    dag = operator.get_dag()
    return None if dag is None or not dag.has_task(operator.task_id) else dag.get_task(operator.task_id)


def _maps_rows(task: Any) -> bool:
    """Tell whether a task is mapped with ``expand_kwargs``, and not only over what the DAG file says."""
    rows = expand_input(task)
    return type(rows).__name__ == "ListOfDictsExpandInput" and any(rows.iter_references())


def _template_test(operator: BaseOperator, suffixes: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that tells whether Airflow would render a text, by the markers of the DAG's templates."""
    env: Any = operator.get_template_env()
    names = ("variable_start", "block_start", "comment_start")
    markers = [getattr(env, f"{name}_string") for name in names]
    markers += [each for each in (env.line_statement_prefix, env.line_comment_prefix) if each]

    def is_template(text: str) -> bool:
        return any(marker in text for marker in markers) or text.endswith(tuple(suffixes))

    return is_template


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts(list(value.values()))
    elif isinstance(value, (list, tuple, set)):
        for entry in value:
            yield from _texts(entry)


def _replace(value: Any, is_template: Callable[[str], bool], path: tuple[Any, ...], found: list[str]) -> Any:
    if isinstance(value, dict):
        return {name: _replace(entry, is_template, (*path, name), found) for name, entry in value.items()}
    if isinstance(value, list):
        return [_replace(entry, is_template, (*path, at), found) for at, entry in enumerate(value)]
    if not isinstance(value, str) or not is_template(value):
        return value
    row = [f"row {path[0] + 1}"] if path and isinstance(path[0], int) else []
    field = ".".join(map(str, path[len(row) :]))
    found.append(f"{', '.join([*row, f'field {field}'] if field else row)}: {value!r}")
    return WITHHELD
