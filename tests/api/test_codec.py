"""JSON keeps every digit and character."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_banksync.api import codec


@pytest.mark.parametrize(
    "text", ["0.1", "12.50", "-0.01", "1e-8", "0.123456789012345678", "123456789012345.67", "1E400"]
)
def test_a_fraction_keeps_its_digits(text: str) -> None:
    value = codec.loads(f"[{text}]")[0]
    assert value == Decimal(text)
    assert value.as_tuple() == Decimal(text).as_tuple()
    assert codec.loads(codec.dumps(value)) == value


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_any_decimal_survives(value: Decimal) -> None:
    assert Decimal(str(codec.loads(codec.dumps([value]))[0])) == value


@given(st.integers(min_value=-(2**80), max_value=2**80))
def test_any_whole_number_survives(value: int) -> None:
    assert codec.loads(f"[{value}]") == [value]


def test_text_survives() -> None:
    text = "Crème & Söhne 🥐 שלום \u202e"
    assert codec.loads(codec.dumps({"name": text})) == {"name": text}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (rb'"caf\ud83d"', "caf\ufffd"),
        (rb'"\ude00 \ud83d\ude00 \uD83D"', "\ufffd 😀 \ufffd"),
        (rb'"\\ud83d \ud83d"', "\\ud83d \ufffd"),
        (rb'"\ud83d\ud83d\ude00\n"', "\ufffd😀\n"),
    ],
)
def test_a_lone_surrogate_is_replaced(body: bytes, text: str) -> None:
    assert codec.loads(body) == codec.loads(body.decode()) == text


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a": 1', b"\xff\xfe", b"[" * 100_000, b'{"a": 1} x'])
def test_what_is_not_json_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        codec.loads(body)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T00:00:10.5Z", 10.5),
        ("1970-01-01T00:00:10.123456789Z", 10.123456),
        ("1970-01-01T01:00:10+01:00", 10.0),
        ("1970-01-01T01:00:10+0100", 10.0),
        ("1970-01-01 00:00:10", 10.0),
        ("1970-01-01t00:00:10z", 10.0),
        ("1970-01-01T00:00:10Z\n", None),
        ("1970-01-01", None),
        ("1970-13-01T00:00:10Z", None),
        ("yesterday", None),
        (None, None),
        (12, None),
    ],
)
def test_timestamps(text: object, seconds: float | None) -> None:
    assert codec.epoch_seconds(text) == seconds


@pytest.mark.parametrize(
    ("header", "now", "seconds"),
    [
        ("7", None, 7.0),
        (" 7 ", None, 7.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 50.0, 10.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 90.0, 0.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", None, None),
        ("7, 7", 50.0, 7.0),
        ("7,7", None, 7.0),
        ("7.5", 50.0, None),
        ("soon", 50.0, None),
        ("-3", 50.0, None),
        ("", 50.0, None),
        (None, 50.0, None),
    ],
)
def test_retry_after(header: str | None, now: float | None, seconds: float | None) -> None:
    assert codec.parse_retry_after(header, now) == seconds
