"""What pyproject.toml declares its lower bounds for; `make matrix` runs this at the bounds."""

from __future__ import annotations

import ast
import importlib
import inspect
from decimal import Decimal
from pathlib import Path

import aiohttp
import msgspec
import pytest
import requests
import tenacity
import urllib3

import airflow_provider_banksync

SDK = "airflow.providers.common.compat.sdk"


def names_taken_from_the_sdk():
    """Every name that the package imports from common.compat.sdk, wherever it does so."""
    for file in Path(airflow_provider_banksync.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == SDK:
                yield from (alias.name for alias in node.names)


@pytest.mark.filterwarnings("default")  # on Airflow's own deprecations we have no say
@pytest.mark.parametrize("name", sorted(set(names_taken_from_the_sdk())))
def test_common_compat_has(name):
    # Many of these imports are for the type checker alone, and would not be missed until it ran.
    assert getattr(importlib.import_module(SDK), name) is not None


def test_common_compat_reads_a_connection_without_blocking():
    from airflow.providers.common.compat.connection import get_async_connection

    assert inspect.iscoroutinefunction(get_async_connection)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18446744073709551616", 2**64),
        ("19610218161862421705", 19610218161862421705),
        ("-9223372036854775809", -(2**63) - 1),
        ("10000000000000000000000000000000000000007", 10**40 + 7),
        ("12345678901234567890.123456789012345", Decimal("12345678901234567890.123456789012345")),
        ("-0.10", Decimal("-0.10")),
        ("1E+400", Decimal("1E+400")),
    ],
)
def test_msgspec_keeps_every_digit_both_ways(text, value):
    decoded = msgspec.json.Decoder(float_hook=Decimal).decode(text)
    assert (decoded, type(decoded)) == (value, type(value))
    assert msgspec.json.Encoder(decimal_format="number").encode(decoded) == text.encode()


def test_tenacity_can_stop_before_a_wait_that_is_too_long():
    waiting = tenacity.Retrying(
        stop=lambda state: state.idle_for + state.upcoming_sleep > 1,
        wait=tenacity.wait_fixed(2),
        reraise=True,
    )
    with pytest.raises(ZeroDivisionError):
        waiting(lambda: 1 / 0)
    assert waiting.statistics["attempt_number"] == 1


def test_urllib3_gives_what_there_is():
    assert hasattr(urllib3.HTTPResponse, "read1")


def test_aiohttp_tells_a_connect_that_timed_out_from_a_read():
    assert issubclass(aiohttp.ConnectionTimeoutError, aiohttp.ServerTimeoutError)


def test_a_requests_session_chooses_the_connection_by_its_tls_settings():
    # What 2.32 brought: before it, the first request's `verify` held for the whole session.
    assert hasattr(requests.adapters.HTTPAdapter, "get_connection_with_tls_context")
