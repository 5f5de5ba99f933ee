"""Redaction removes secrets, keeps harmless text, and is fast."""

from __future__ import annotations

import time

import pytest

from airflow_provider_banksync.api.redaction import redact


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("account 12345678 is closed", "account ••••5678 is closed"),
        ("account 123456789012x is closed", "account ••••9012x is closed"),
        ("card 4111-1111-1111-1111 or 4111 1111 1111 1112", "card ••••1111 or ••••1112"),
        ("IBAN GB29 NWBK 6016 1331 9268 19 is closed", "IBAN ••••6819 is closed"),
        ("IBAN GB29NWBK60161331926819 is closed", "IBAN ••••6819 is closed"),
        ("IBAN de89370400440532013000 is closed", "IBAN ••••3000 is closed"),
        ("sort code 20-00-00, account 55779911", "sort code 20-00-00, account ••••9911"),
        ("at http://user:pa@ss@proxy:1/ and https://b@c", "at http://***@proxy:1/ and https://***@c"),
        ("<p class='x'>no</p><br/>way <!-- hidden", "no way"),
        ("key bsk_live_abc-9 is revoked, and bsk_abc", "key *** is revoked, and ***"),
        (
            "sent Authorization: Bearer eyJhbGciOi.eyJzdWIi.c2ln-_x= to the bank",
            "sent Authorization: Bearer *** to the bank",
        ),
        (
            "\x1b[31mred\x1b[0m \x1b]0;title\x07text\x1b]8;;https://x\x1b\\link \x9b1mbold\x00\r\n\tend\x7f",
            "red textlink 1mbold end",
        ),
    ],
)
def test_secrets_are_masked(words: str, shown: str) -> None:
    assert redact(words) == shown


@pytest.mark.parametrize(
    "words",
    [
        "from 2026-01-31 to 31-01-2026, at 2026-01-31T10:00:00.123456789Z",
        "12 2026-01-31 5",
        "2026-01-31 10:00:00+00:00",
        "id 550e8400-e29b-41d4-a716-446655440000, feed_0123456789, 64f1c0ffee12345678",
        "1234567 rows read, 1200 of 1300 written, https://api.banksync.io:443/v1",
        "startDate must be < endDate and > 0",
        "the bearer of this card, Müller & Söhne, 日本",
    ],
)
def test_dates_and_short_numbers_stay(words: str) -> None:
    assert redact(words) == words


@pytest.mark.parametrize(
    "words",
    [
        "1" * 12_000 + "a",
        "1 " * 500_000,
        "<" * 1_000_000,
        "//" * 500_000,
        "GB29 " * 200_000,
        "ab12345678" * 100_000,
        "2026-01-" * 100_000,
        "\x1b]" * 500_000,
        "bearer " * 200_000,
    ],
)
def test_redaction_is_fast_for_any_text(words: str) -> None:
    began = time.process_time()
    assert len(redact(words)) <= 301
    assert time.process_time() - began < 5, "what grows with the square of the length takes minutes"


def test_a_control_character_does_not_hide_a_secret() -> None:
    assert redact("key sec\x00ret\x1b[0m!", "secret") == "key ***!"


def test_a_secret_at_the_cut_is_masked_completely() -> None:
    token = "T" + "abcdefghij" * 6
    for length in range(230, 310):
        assert "Tabc" not in redact("x" * length + token, token)
    assert "1234" not in redact(f"{'word ' * 818}123456789012 {'word ' * 100}")
