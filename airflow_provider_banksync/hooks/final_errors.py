"""Permanent errors of the hook that Airflow does not retry, also in a plain ``@task``."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_banksync.exceptions import BankSyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Methods that the operators call. The operators handle errors themselves.
_UNCHANGED = frozenset({"start_sync", "find_new_sync"})
_final_classes: dict[type[BankSyncError], type[BankSyncError]] = {}


def make_final(error: BankSyncError) -> None:
    """Make a permanent error also an `AirflowFailException`, after which Airflow does not retry the task.

    The error stays the same object: its class becomes a subclass, with the same name, of what it was.
    """
    if error.permanent and not isinstance(error, AirflowFailException):
        error.__class__ = _final_class(type(error))


def _final_class(kind: type[BankSyncError]) -> type[BankSyncError]:
    if kind not in _final_classes:
        _final_classes[kind] = _create_final_class(kind)
    return _final_classes[kind]


def _create_final_class(kind: type[BankSyncError]) -> type[BankSyncError]:
    def reduce(self: BankSyncError) -> tuple[Any, ...]:
        return kind, self.args, self.__dict__  # this class has no name by which pickle finds it

    names = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__reduce__": reduce}
    return type(kind.__name__, (kind, AirflowFailException), names)


@contextmanager
def _final_errors() -> Iterator[None]:
    try:
        yield
    except BankSyncError as error:
        make_final(error)
        raise


def make_errors_final(methods: type) -> None:
    """Wrap each public method of a class, so that Airflow does not retry its permanent errors."""
    for name, method in list(vars(methods).items()):
        if inspect.isfunction(method) and name not in _UNCHANGED and (name[0] != "_" or name == "__init__"):
            setattr(methods, name, _with_final_errors(method))


def _with_final_errors(method: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isgeneratorfunction(method):

        @wraps(method)
        def generate(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with _final_errors():
                yield from method(*args, **kwargs)

        return generate
    if inspect.iscoroutinefunction(method):

        @wraps(method)
        async def run(*args: Any, **kwargs: Any) -> Any:
            with _final_errors():
                return await method(*args, **kwargs)

        return run

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _final_errors():
            return method(*args, **kwargs)

    return call
