"""Raw pages: rows pass undecoded only if none can belong to another account."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_banksync.api import codec, endpoints, raw_pages
from airflow_provider_banksync.exceptions import BankSyncResponseError

if TYPE_CHECKING:
    from airflow_provider_banksync.api.messages import Call, RawPage

OWN = b'"bankId":"bank","accountId":"account"'


def raw_transactions() -> Call[RawPage]:
    owner = {"bankId": "bank", "accountId": "account"}
    return raw_pages.keep_raw(endpoints.list_transactions("bank", "account"), owner)


def body(*rows: bytes, meta: bytes = b'{"cursor":"c","hasMore":false}') -> bytes:
    return b'{"success":true,"data":[%s],"meta":%s}' % (b",".join(rows), meta)


def test_rows_of_the_account_are_passed_on_as_they_came() -> None:
    call = raw_transactions()
    row = b'{%s,"amount":-0.10,"amount":1E+2,"text":"\\"accountId\\":\\"theirs\\""}' % OWN
    assert call.parse_bytes is not None
    page = call.parse_bytes(body(row, b"{%s}" % OWN))
    assert page is not None
    assert [bytes(each) for each in page.raw] == [row, b"{%s}" % OWN]
    assert (page.cursor, page.has_more) == ("c", False)


@pytest.mark.parametrize(
    "answer",
    [
        body(b'{"bankId":"bank","accountId":"theirs"}', b'{%s,"to":{"accountId":"account"}}' % OWN),
        body(b'{"bankId":"bank","accountId":"theirs"}', meta=b'{"accountId":"account","hasMore":false}'),
        body(b'{%s,"accountId":"theirs"}' % OWN),
        body(b'{"bankId":"bank","accountId":"account","bankId":"theirs"}'),
        body(b'{"bankId":"bank","account\\u0049d":"theirs"}'),
        body(b'{"bankId":"bank","accountId":null}'),
        body(b'{"bankId":"bank","accountId":7}'),
    ],
)
def test_a_row_of_another_account_is_found_in_any_answer(answer: bytes) -> None:
    call = raw_transactions()
    assert call.parse_bytes is not None
    assert call.parse_bytes(answer) is None
    with pytest.raises(BankSyncResponseError, match="cannot be attributed"):
        call.parse(codec.loads(answer))


@pytest.mark.parametrize(
    "row",
    [
        b'{%s,"to":{"accountId":"theirs"}}' % OWN,
        b'{"bankId":"b\\u0061nk","account\\u0049d":"account"}',
        b'{"amount":1}',
        b"{}",
    ],
)
def test_a_row_of_the_account_or_without_owner_is_accepted(row: bytes) -> None:
    call = raw_transactions()
    assert call.parse_bytes is not None
    page = call.parse_bytes(body(row))
    assert page is not None
    assert [bytes(each) for each in page.raw] == [row]
    assert len(call.parse(codec.loads(body(row))).raw) == 1


@pytest.mark.parametrize(
    ("row", "one", "day"),
    [
        (b'{"id":"7","date":"2026-03-01"}', "7", "2026-03-01"),
        (b"{}", None, None),
        (b'{"id":"","date":""}', None, ""),
        (b'{"id":null,"date":null}', None, None),
        (b'{"id":7,"date":20260301}', "7", None),
        (b'{"id":7.50,"date":{}}', "7.50", None),
    ],
)
def test_a_page_has_the_id_and_the_day_of_each_row(row: bytes, one: str | None, day: str | None) -> None:
    call = raw_transactions()
    assert call.parse_bytes is not None
    page = call.parse_bytes(body(row)) or call.parse(codec.loads(body(row)))
    assert (page.ids, page.days) == ([one], [day])


@pytest.mark.parametrize("meta", [b'{"cursor":"c"}', b'{"cursor":"c","hasMore":null}'])
def test_an_answer_may_not_say_whether_it_has_more(meta: bytes) -> None:
    call = raw_transactions()
    assert call.parse_bytes is not None
    for page in (call.parse_bytes(body(b"{}", meta=meta)), call.parse(codec.loads(body(b"{}", meta=meta)))):
        assert page is not None
        assert (page.cursor, page.has_more) == ("c", None)


@pytest.mark.parametrize("meta", [b"{}", b"null", b'{"count":1}', b'{"hasMore":null}'])
def test_rows_without_any_word_about_the_end_are_refused(meta: bytes) -> None:
    call = raw_transactions()
    assert call.parse_bytes is not None
    assert call.parse_bytes(body(b"{}", meta=meta)) is None
    with pytest.raises(BankSyncResponseError, match="neither hasMore nor a cursor"):
        call.parse(codec.loads(body(b"{}", meta=meta)))
    assert call.parse(codec.loads(body(meta=meta))).raw == [], "no rows: nothing can be missing"


@pytest.mark.parametrize("row", [b"[]", b"null", b"7", b'"text"'])
def test_a_row_that_is_no_object_is_left_to_the_parser(row: bytes) -> None:
    call = raw_transactions()
    assert call.parse_bytes is not None
    assert call.parse_bytes(body(b"{%s}" % OWN, row)) is None
    with pytest.raises(BankSyncResponseError):
        call.parse(codec.loads(body(row)))


@pytest.mark.parametrize(
    "answer",
    [
        b'{"success":false,"data":[]}',
        b'{"success":true,"data":{}}',
        body(b'{"text":\n"x"}'),
        body(b'{"id":"\xff"}'),
        b"<html>",
        b"",
    ],
)
def test_an_unusual_answer_is_left_to_the_parser(answer: bytes) -> None:
    parse_bytes = raw_transactions().parse_bytes
    assert parse_bytes is not None
    assert parse_bytes(answer) is None
