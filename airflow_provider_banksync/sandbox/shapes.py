"""What a body must look like. A shape goes through a value and says what is wrong with it, place by place."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Shape = Callable[[object, str], Iterator[str]]


def text(*, shortest: int = 0, longest: int | None = None, pattern: str | None = None) -> Shape:
    """Take a string."""

    def check(value: object, where: str) -> Iterator[str]:
        if not isinstance(value, str):
            yield f"{where} must be a string"
        elif len(value) < shortest:
            yield f"{where} must not be empty"
        elif longest is not None and len(value) > longest:
            yield f"{where} must have at most {longest} characters"
        elif pattern is not None and not re.fullmatch(pattern, value):
            yield f"{where} is not written as it should be"

    return check


def flag(value: object, where: str) -> Iterator[str]:
    """Take true or false."""
    if not isinstance(value, bool):
        yield f"{where} must be true or false"


def anything(_value: object, _where: str) -> Iterator[str]:
    """Take whatever it is."""
    yield from ()


def number(*, low: int | None = None, high: int | None = None, whole: bool = False) -> Shape:
    """Take a number; a whole one may be written 3.0."""

    def check(value: object, where: str) -> Iterator[str]:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            yield f"{where} must be a number"
        elif whole and value != int(value):
            yield f"{where} must be a whole number"
        elif (low is not None and value < low) or (high is not None and value > high):
            yield (
                f"{where} must be at least {low}" if high is None else f"{where} must be from {low} to {high}"
            )

    return check


def one_of(*choices: str) -> Shape:
    """Take one of these strings."""

    def check(value: object, where: str) -> Iterator[str]:
        if not (isinstance(value, str) and value in choices):
            yield f"{where} must be one of {', '.join(choices)}"

    return check


def list_of(item: Shape, *, shortest: int = 0, longest: int | None = None) -> Shape:
    """Take a list of such things."""

    def check(value: object, where: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{where} must be a list"
            return
        if len(value) < shortest:
            yield f"{where} must have at least {shortest} entries"
        if longest is not None and len(value) > longest:
            yield f"{where} must have at most {longest} entries"
        for index, each in enumerate(value):
            yield from item(each, f"{where}[{index}]")

    return check


def fields(
    required: Mapping[str, Shape] | None = None,
    optional: Mapping[str, Shape] | None = None,
    *,
    open_: bool = False,
) -> Shape:
    """Take an object with these fields, and others too where it is open."""
    known = {**(required or {}), **(optional or {})}

    def check(value: object, where: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{where} must be an object"
            return
        for name in required or ():
            if name not in value:
                yield f"{_inside(where, name)} is required"
        for name, member in value.items():
            if name in known:
                yield from known[name](member, _inside(where, name))
            elif not open_:
                yield f"{_inside(where, name)} is not a known field"

    return check


def by_type(name: str, shapes: Mapping[str, Shape]) -> Shape:
    """Take an object whose field ``name`` says which shape it has."""

    def check(value: object, where: str) -> Iterator[str]:
        chosen = value.get(name) if isinstance(value, dict) else None
        if isinstance(chosen, str) and chosen in shapes:
            yield from shapes[chosen](value, where)
        else:
            yield f"{_inside(where, name)} must be one of {', '.join(shapes)}"

    return check


def _inside(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
