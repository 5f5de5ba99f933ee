"""Pages that are passed on without a look into their rows: only where no row can be another account's."""

from __future__ import annotations

import pytest

from airflow_provider_banksync.api import codec, pages
from airflow_provider_banksync.exceptions import BankSyncResponseError

OURS = b'"bankId":"bank","accountId":"ours"'


def body(*rows: bytes, meta: bytes = b'{"cursor":"c","hasMore":false}') -> bytes:
    return b'{"success":true,"data":[%s],"meta":%s}' % (b",".join(rows), meta)


def test_rows_of_the_account_are_passed_on_as_they_came() -> None:
    call = pages.list_transactions("bank", "ours")
    row = b'{%s,"amount":-0.10,"amount":1E+2,"text":"\\"accountId\\":\\"theirs\\""}' % OURS
    assert call.scan is not None
    page = call.scan(body(row, b"{%s}" % OURS))
    assert page is not None
    assert [bytes(each) for each in page.raw] == [row, b"{%s}" % OURS]
    assert (page.cursor, page.has_more) == ("c", False)
    assert page.owner == {}, "nobody has to look again"


@pytest.mark.parametrize(
    "answer",
    [
        body(b'{"bankId":"bank","accountId":"theirs"}', b'{%s,"to":{"accountId":"ours"}}' % OURS),
        body(b'{"bankId":"bank","accountId":"theirs"}', meta=b'{"accountId":"ours"}'),
        body(b'{%s,"accountId":"theirs"}' % OURS),
        body(b'{"bankId":"bank","accountId":"ours","bankId":"theirs"}'),
        body(b'{"bankId":"bank","account\\u0049d":"theirs"}'),
        body(b'{"bankId":"bank","accountId":null}'),
        body(b'{"bankId":"bank","accountId":7}'),
    ],
)
def test_a_row_of_another_account_is_not_hidden_by_what_is_beside_it(answer: bytes) -> None:
    call = pages.list_transactions("bank", "ours")
    assert call.scan is not None
    assert call.scan(answer) is None
    with pytest.raises(BankSyncResponseError, match="cannot be attributed"):
        call.parse(codec.loads(answer))


@pytest.mark.parametrize(
    "row",
    [
        b'{%s,"to":{"accountId":"theirs"}}' % OURS,
        b'{"bankId":"b\\u0061nk","account\\u0049d":"ours"}',
        b'{"amount":1}',
        b"{}",
    ],
)
def test_a_row_of_the_account_or_of_nobody_is_passed_on_however_it_says_so(row: bytes) -> None:
    call = pages.list_transactions("bank", "ours")
    assert call.scan is not None
    page = call.scan(body(row))
    assert page is not None
    assert [bytes(each) for each in page.raw] == [row]
    assert len(call.parse(codec.loads(body(row))).raw) == 1


def test_rows_that_are_taken_apart_anyway_are_checked_then() -> None:
    call = pages.list_transactions("bank", "ours", unchecked=True)
    assert call.scan is not None
    row = b'{"accountId":"theirs"}'
    page = call.scan(body(row))
    assert page is not None
    assert [bytes(each) for each in page.raw] == [row]
    assert page.owner == {"bankId": "bank", "accountId": "ours"}
    assert (page.cursor, page.has_more) == ("c", False)


@pytest.mark.parametrize("row", [b"[]", b"null", b"7", b'"text"'])
def test_a_row_that_is_no_object_is_left_to_the_parser(row: bytes) -> None:
    call = pages.list_transactions("bank", "ours")
    assert call.scan is not None
    assert call.scan(body(b"{%s}" % OURS, row)) is None
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
def test_what_is_no_page_is_left_to_the_parser_that_says_why(answer: bytes) -> None:
    for unchecked in (True, False):
        scan = pages.list_transactions("bank", "ours", unchecked=unchecked).scan
        assert scan is not None
        assert scan(answer) is None
