"""How an operation is described, and how the one is found that a request names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_banksync.sandbox.auth import Caller
    from airflow_provider_banksync.sandbox.backend import Backend
    from airflow_provider_banksync.sandbox.editor import Editor
    from airflow_provider_banksync.sandbox.model import Row

_PUBLIC, _INTERNAL = "/v1/", "/api/"
_PARAMETER = "{}"


@dataclass(frozen=True)
class Call:
    """One request that has passed the door, with everything that it carries."""

    backend: Backend
    editor: Editor
    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, object]


@dataclass(frozen=True)
class Operation:
    """One operation. ``answer`` gives the members of the success envelope."""

    method: str
    path: str
    answer: Callable[[Call], Row]
    needs: str | None = None
    """The key scope; None where any key will do."""
    query: frozenset[str] = frozenset()
    fields: frozenset[str] | None = None
    """Fields of the body; None where no body is read."""
    required: frozenset[str] = frozenset()
    """Fields without which the body is refused."""
    keeps: bool = False
    """Whether the body is something to be kept, a feed say: then 422 lists what is wrong with it."""
    status: int = 200


@dataclass(frozen=True)
class Resource:
    """Everything that can be done at one path."""

    segments: tuple[str, ...]
    operations: Mapping[str, Operation]

    def match(self, segments: tuple[str, ...]) -> dict[str, str] | None:
        """Give the path's parameters where this is its resource, else None."""
        if len(segments) != len(self.segments):
            return None
        found: dict[str, str] = {}
        for pattern, segment in zip(self.segments, segments, strict=True):
            if pattern.startswith("{") and segment:
                found[pattern[1:-1]] = segment
            elif pattern != segment:
                return None
        return found


class Routes:
    """Finds the resource that a path names. A trailing slash names another, which there is not."""

    def __init__(self, operations: tuple[Operation, ...]) -> None:
        by_path: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            by_path.setdefault(operation.path, {})[operation.method] = operation
        # A fixed segment goes before a parameter: "/banks/link" is never the bank called "link".
        order = sorted(by_path, key=lambda path: path.replace("{", "~"))
        self._resources: dict[tuple[int, str], list[Resource]] = {}
        for path in order:
            resource = Resource(tuple(path.split("/")), by_path[path])
            self._resources.setdefault(_place(resource.segments), []).append(resource)

    def find(self, path: str) -> tuple[Resource, dict[str, str]] | None:
        """Give the resource and the parameters of a path, None where there is no such path.

        The internal surface has a few of its own, and under ``/api`` everything that the public one has.
        """
        found = self._match(path)
        if found is None and path.startswith(_INTERNAL):
            return self._match(_PUBLIC + path.removeprefix(_INTERNAL))
        return found

    def _match(self, path: str) -> tuple[Resource, dict[str, str]] | None:
        segments = tuple(path.split("/"))
        count, last = _place(segments)
        # Nearly always the last segment is fixed and tells enough.
        for place in ((count, last), (count, _PARAMETER)):
            for resource in self._resources.get(place, ()):
                found = resource.match(segments)
                if found is not None:
                    return resource, found
        return None


def _place(segments: tuple[str, ...]) -> tuple[int, str]:
    last = segments[-1]
    return len(segments), _PARAMETER if last.startswith("{") else last
