"""How faults change what a correct answer says: its decoded envelope, in one place.

A fault gets an ``Answer`` and changes it. ``rewrite`` decodes the body before, and encodes it after. Numbers keep
every digit, and a compressed body stays compressed.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.sandbox.clock import format_timestamp, parse_moment, to_milliseconds
from airflow_provider_banksync.sandbox.errors import SandboxError
from airflow_provider_banksync.sandbox.exact_json import decode, encode
from airflow_provider_banksync.sandbox.world.seed import Seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider_banksync.sandbox.http.wire import SandboxResponse

_SEED = Seed(0)
_DAY = timedelta(days=1)
_DAY_TEXT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER = re.compile(r"-?[0-9]+([.][0-9]+)?")
_ENDLESS_CURSOR = re.compile(r"endless-([1-9][0-9]{0,8})")
_REMEMBERED = 10_000
"""The pages that ``overlap`` remembers, so that a long benchmark does not fill the memory."""
ENDLESS = ("same", "all", "none")
"""What the pages after the last one can hold."""


@dataclass(frozen=True)
class Exchange:
    """The request of an answer, and what a fault may remember between the requests of its rule."""

    method: str
    path: str
    query: Mapping[str, str]
    now: datetime
    """The sandbox's time."""
    memory: dict[str, Any]


@dataclass
class Answer:
    """A decoded answer. A fault changes ``status`` and ``envelope``."""

    status: int
    envelope: dict[str, Any]
    exchange: Exchange

    @property
    def rows(self) -> list[dict[str, Any]] | None:
        """The rows of a list, or None if the answer is no list."""
        data = self.envelope.get("data")
        return data if isinstance(data, list) else None

    @property
    def meta(self) -> dict[str, Any]:
        """The answer's ``meta``; empty if it has none."""
        meta = self.envelope.get("meta")
        return meta if isinstance(meta, dict) else {}

    def set_rows(self, rows: list[dict[str, Any]], *, adjust_count: bool = True) -> None:
        """Change the rows of a list, and the count of rows if it has one."""
        self.envelope["data"] = rows
        if adjust_count and "count" in self.meta:
            self.envelope["meta"] = {**self.meta, "count": len(rows)}

    def objects(self, member: str = "data") -> Iterator[dict[str, Any]]:
        """Yield each row of a list, or the one object of any other answer."""
        data = self.envelope.get(member)
        for each in data if isinstance(data, list) else [data]:
            if isinstance(each, dict):
                yield each

    def share_of_objects(self, fault: str, share: float) -> Iterator[dict[str, Any]]:
        """Yield a share of the objects, in each read the same ones."""
        for each in self.objects():
            if _SEED.draws("share", fault, each.get("id") or encode(each)).chance(share):
                yield each


def rewrite(
    response: SandboxResponse, change: Callable[[Answer], None], exchange: Exchange
) -> SandboxResponse:
    """Apply a change to a response. A response that is not JSON stays as it is."""
    gzipped = "Content-Encoding" in response.headers
    body = gzip.decompress(response.body) if gzipped else response.body
    # The media type does not tell: another fault may have changed it.
    envelope = decode(body) if body.startswith(b"{") else None
    if not isinstance(envelope, dict):
        return response
    answer = Answer(response.status, envelope, exchange)
    change(answer)
    body = encode(answer.envelope)
    return replace(response, status=answer.status, body=gzip.compress(body, mtime=0) if gzipped else body)


def edit(answer: Answer, fields: dict[str, object], share: float) -> None:
    """Change these fields."""
    for each in answer.share_of_objects("edited", share):
        each.update(fields)


def shift(answer: Answer, seconds: dict[str, float], share: float) -> None:
    """Move these times and days."""
    for each in answer.share_of_objects("shifted", share):
        for name, offset in seconds.items():
            if isinstance(each.get(name), str):
                each[name] = _shift_text(each[name], timedelta(seconds=offset))


def hide_new(answer: Answer, seconds: float) -> None:
    """Answer a GET as a replica does that is behind: without what was created in the last seconds."""
    if answer.exchange.method != "GET":
        return
    visible_until = answer.exchange.now - timedelta(seconds=seconds)
    new = [each for each in answer.objects() if _created_after(each, visible_until)]
    if answer.rows is not None:
        answer.envelope["data"] = [row for row in answer.rows if row not in new]
    elif new:
        kind = answer.exchange.path.split("/")[-2].removesuffix("s").capitalize()
        answer.status, answer.envelope = 404, {"success": False, "error": f"{kind} not found"}


def retype(answer: Answer, forms: dict[str, str], share: float) -> None:
    """Send these fields as another type."""
    for each in answer.share_of_objects("retyped", share):
        for name, form in forms.items():
            if each.get(name) is not None:
                each[name] = FORMS[form](each[name])


def shorten(answer: Answer, rows: int, adjust_count: bool) -> None:
    """Keep only the first rows of a list."""
    if answer.rows is not None:
        answer.set_rows(answer.rows[:rows], adjust_count=adjust_count)


def add_rows(answer: Answer, number: int, fields: dict[str, object]) -> None:
    """Add copies of the first row of a list, with these fields."""
    if answer.rows:
        first = answer.rows[0]
        copies = [{**first, "id": f"{first.get('id')}x{index}", **fields} for index in range(1, number + 1)]
        answer.set_rows([*answer.rows, *copies])


def set_meta(answer: Answer, fields: dict[str, object]) -> None:
    """Change fields of ``meta``."""
    if "data" in answer.envelope:
        answer.envelope["meta"] = {**answer.meta, **fields}


def remove_member(answer: Answer, name: str, field: str | None = None) -> None:
    """Remove a member of the envelope, or a field of it."""
    if field is None:
        answer.envelope.pop(name, None)
        return
    for each in answer.objects(name):
        each.pop(field, None)


def overlap(answer: Answer, number: int) -> None:
    """Begin a page some rows early. Remembers the last rows of each page under its cursor."""
    if answer.rows is None or "cursor" not in answer.meta:
        return
    memory = answer.exchange.memory
    answer.set_rows([*memory.get(answer.exchange.query.get("cursor", ""), []), *answer.rows])
    memory[answer.meta["cursor"]] = answer.rows[-number:]
    if len(memory) > _REMEMBERED:
        del memory[next(iter(memory))]


def continue_forever(answer: Answer, rows: str) -> None:
    """Add pages after the last one. Remembers the pages of each account, or only the last."""
    exchange = answer.exchange
    pages = exchange.memory.setdefault(exchange.path, [])
    cursor = exchange.query.get("cursor", "")
    found = _ENDLESS_CURSOR.fullmatch(cursor)
    if found and pages:
        number = int(found[1])
        answer.status, answer.envelope = 200, dict(pages[(number - 1) % len(pages)])
        if rows == "none":
            answer.set_rows([])
    elif answer.rows is None or "hasMore" not in answer.meta:
        return
    else:
        number = 0
        if rows != "all" or not cursor:
            pages.clear()
        pages.append(dict(answer.envelope))
    if number or not answer.meta["hasMore"]:
        new = f"endless-{number + 1}"
        set_meta(answer, {"hasMore": True, "cursor": new})
        answer.envelope["links"] = {"self": exchange.path, "next": f"{exchange.path}?cursor={new}"}


def _as_text(value: object) -> object:
    return value if isinstance(value, str) else encode(value).decode()


def _as_number(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, str):
        return value
    if _NUMBER.fullmatch(value):
        return Decimal(value)
    moment = _parse_day_or_time(value)
    return value if moment is None else to_milliseconds(moment) // 1000


def _as_timestamp(value: object) -> object:
    moment = _parse_day_or_time(value) if isinstance(value, str) else None
    return value if moment is None else format_timestamp(moment)


FORMS: dict[str, Callable[[object], object]] = {
    "text": _as_text,
    "number": _as_number,
    "timestamp": _as_timestamp,
    "object": lambda value: {"value": value},
}
"""The types that ``retype`` knows."""


def _parse_day_or_time(text: str) -> datetime | None:
    try:
        return parse_moment(f"{text}T00:00:00Z" if _DAY_TEXT.fullmatch(text) else text)
    except SandboxError:
        return None


def _created_after(row: dict[str, Any], moment: datetime) -> bool:
    try:
        return parse_moment(str(row.get("createdAt"))) > moment
    except SandboxError:
        return False


def _shift_text(text: str, offset: timedelta) -> str:
    moment = _parse_day_or_time(text)
    if moment is None:
        return text
    if _DAY_TEXT.fullmatch(text):
        return (moment + offset // _DAY * _DAY).date().isoformat()
    return format_timestamp(moment + offset)
