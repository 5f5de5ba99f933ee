"""Proxies of the environment: both clients use the same one, and messages hide its password."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api import endpoints
from tests.support.scripted_server import ScriptedServer, ok, reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.api.config import ClientConfig
    from tests.support.client_driver import ClientDriver

PASSWORD = "s3cr3tpw"

# Where a tunnel is refused, urllib3 2.2 and Python 3.10's asyncio forget a socket that is closed already.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _forgotten_here() -> Iterator[None]:
    """What is left over is this module's, and not the next one's."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def proxy() -> Iterator[ScriptedServer]:
    server = ScriptedServer([ok([{"id": "by proxy"}])])
    yield server
    server.close()


def port(server: ScriptedServer) -> int:
    return urlsplit(server.url).port or 0


@pytest.mark.parametrize("form", ["http://127.0.0.1:{}", "127.0.0.1:{}", "http://user:s3cr3tpw@127.0.0.1:{}"])
def test_each_form_of_its_address(
    driver: ClientDriver,
    proxy: ScriptedServer,
    config: ClientConfig,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    monkeypatch.setenv("http_proxy", form.format(port(proxy)))
    assert driver.run(config, endpoints.list_feeds()) == [{"id": "by proxy"}]
    assert ("proxy-authorization" in proxy.seen[0].headers) is (PASSWORD in form)
    assert "authorization" not in proxy.seen[0].headers


@pytest.mark.parametrize(
    ("except_for", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.0/8", "127.0.0.1"),
        ("other, localhost:{}", "localhost"),
        (".0.0.1,localhost", "localhost"),
        ("*", "127.0.0.1"),
    ],
)
def test_no_proxy_in_each_of_its_forms(
    driver: ClientDriver,
    proxy: ScriptedServer,
    server: ScriptedServer,
    config: ClientConfig,
    monkeypatch: pytest.MonkeyPatch,
    except_for: str,
    host: str,
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", except_for.format(port(server)))
    server.script = [ok([{"id": "direct"}])]
    here = replace(config, base_url=f"http://{host}:{port(server)}")
    assert driver.run(here, endpoints.list_feeds()) == [{"id": "direct"}]
    assert proxy.seen == []
    monkeypatch.setenv("no_proxy", "127.0.0.2,10.0.0.0/8,localhost:1,elsewhere")
    assert driver.run(here, endpoints.list_feeds()) == [{"id": "by proxy"}]


def test_a_proxy_that_refuses_did_no_work_and_shows_no_password(
    driver: ClientDriver, proxy: ScriptedServer, config: ClientConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.script = [reply(407, b"", Proxy_Authenticate="Basic")] * 9
    monkeypatch.setenv("https_proxy", f"http://user:{PASSWORD}@127.0.0.1:{port(proxy)}")
    far = replace(config, base_url="https://banksync.invalid", max_retries=1)
    with pytest.raises(x.BankSyncConnectionError, match=r"could not connect .*407.*proxy") as caught:
        driver.run(far, endpoints.trigger_sync("f"))
    assert not caught.value.ambiguous
    assert PASSWORD not in f"{caught.value} {caught.value!r} {caught.value.hint}"
    assert len(proxy.seen) == 2, "it was tried again: it had not been sent"


def test_a_407_to_a_plain_request_names_the_proxy(
    driver: ClientDriver, proxy: ScriptedServer, config: ClientConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.script = [reply(407, b"<html>Access denied</html>")]
    monkeypatch.setenv("http_proxy", proxy.url)
    with pytest.raises(x.BankSyncConnectionError, match="407, a proxy requires"):
        driver.run(replace(config, max_retries=0), endpoints.list_feeds())


@pytest.mark.parametrize("where", ["127.0.0.1:1", "no.such.invalid:1", "bad host:1"])
def test_a_proxy_that_is_not_there(
    driver: ClientDriver, config: ClientConfig, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setenv("http_proxy", f"http://user:{PASSWORD}@{where}")
    with pytest.raises(x.BankSyncError) as caught:
        driver.run(replace(config, max_retries=0), endpoints.trigger_sync("f"))
    assert PASSWORD not in f"{caught.value} {caught.value!r}"


def test_a_kind_that_cannot_be_used_is_refused_for_good(
    driver: ClientDriver, config: ClientConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", f"socks5://user:{PASSWORD}@127.0.0.1:1")
    with pytest.raises(x.BankSyncConfigError, match="the proxy of the environment") as caught:
        driver.run(config, endpoints.list_feeds())
    assert PASSWORD not in str(caught.value)
    assert driver.sleeps == []
