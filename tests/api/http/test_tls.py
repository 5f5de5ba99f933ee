"""Certificates are checked against the system's authorities or those of the connection."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trustme

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.config import ClientConfig
from airflow_provider_banksync.api.http.tls_and_proxies import CA_VARIABLES
from tests.support.scripted_server import KEY, ScriptedServer, ok

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.client_driver import ClientDriver


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def https(certificate: trustme.LeafCert) -> ScriptedServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return ScriptedServer(script=[ok([{"id": "f"}])] * 20, tls=context)


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[ScriptedServer]:
    server = https(authority.issue_cert("127.0.0.1", "localhost"))
    yield server
    server.close()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def config_for(server: ScriptedServer, verify: bool | str) -> ClientConfig:
    return ClientConfig(secret=KEY, base_url=server.url, timeout=5, max_retries=1, verify=verify)


def test_an_unknown_authority_is_refused_before_the_key_leaves(
    driver: ClientDriver, server: ScriptedServer
) -> None:
    with pytest.raises(x.BankSyncCertificateError, match="verify in the field Extra") as caught:
        driver.run(config_for(server, True), endpoints.list_feeds())
    assert "certificate" in str(caught.value).lower()
    assert caught.value.permanent, "another try would end the same"
    assert (server.seen, driver.sleeps) == ([], [])


def test_the_authorities_of_a_bundle(driver: ClientDriver, server: ScriptedServer, bundle: Path) -> None:
    assert driver.run(config_for(server, str(bundle)), endpoints.list_feeds()) == [{"id": "f"}]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    """A bundle of another authority."""
    path = tmp_path / "strangers.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


def trusted(driver: ClientDriver, server: ScriptedServer, verify: bool | str = True) -> bool:
    try:
        driver.run(config_for(server, verify), endpoints.list_feeds())
    except x.BankSyncCertificateError:
        return False
    return True


@pytest.mark.parametrize("variable", CA_VARIABLES[:3])
def test_the_authorities_of_a_variable(
    driver: ClientDriver, server: ScriptedServer, bundle: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(bundle))
    assert trusted(driver, server)


def test_the_connection_comes_first_then_the_variables_in_order(
    driver: ClientDriver,
    server: ScriptedServer,
    bundle: Path,
    strangers: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in reversed(CA_VARIABLES[:3]):
        monkeypatch.setenv(variable, str(strangers))
        assert not trusted(driver, server), variable
        assert trusted(driver, server, verify=str(bundle))
        monkeypatch.setenv(variable, str(bundle))
        assert trusted(driver, server), variable
        assert not trusted(driver, server, verify=str(strangers))


def test_the_system_and_certifi_are_trusted_together(
    driver: ClientDriver,
    server: ScriptedServer,
    bundle: Path,
    strangers: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system, certifi = strangers, strangers
    monkeypatch.setattr("certifi.where", lambda: str(certifi))
    monkeypatch.setattr(
        "ssl.SSLContext.load_default_certs", lambda self, _: self.load_verify_locations(str(system))
    )
    assert not trusted(driver, server)
    system = bundle
    assert trusted(driver, server)
    system, certifi = strangers, bundle
    assert trusted(driver, server)
    monkeypatch.setenv("SSL_CERT_FILE", str(strangers))
    assert not trusted(driver, server), "a variable replaces both"


def test_a_variable_that_names_no_bundle(
    driver: ClientDriver, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
    with pytest.raises(x.BankSyncConfigError, match=r"environment variable REQUESTS_CA_BUNDLE.*bundle\.pem"):
        driver.run(config_for(server, True), endpoints.list_feeds())
    assert server.seen == []


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_verify_false_is_stronger_than_a_variable(
    driver: ClientDriver, server: ScriptedServer, strangers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(strangers))
    assert trusted(driver, server, verify=False)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl names the files of such a folder")
def test_the_authorities_of_a_folder(
    driver: ClientDriver, server: ScriptedServer, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", str(bundle)], check=True, capture_output=True, text=True
    )
    folder = bundle.parent / "authorities"
    folder.mkdir()
    bundle.rename(folder / f"{named.stdout.strip()}.0")
    assert driver.run(config_for(server, str(folder)), endpoints.list_feeds()) == [{"id": "f"}]
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    assert trusted(driver, server)


def test_a_certificate_of_another_host(driver: ClientDriver, authority: trustme.CA, bundle: Path) -> None:
    server = https(authority.issue_cert("bank.example"))
    with pytest.raises(x.BankSyncConnectionError):
        driver.run(config_for(server, str(bundle)), endpoints.list_feeds())
    assert server.seen == []
    server.close()


def test_a_bundle_of_other_authorities(driver: ClientDriver, server: ScriptedServer, strangers: Path) -> None:
    with pytest.raises(x.BankSyncConnectionError):
        driver.run(config_for(server, str(strangers)), endpoints.list_feeds())
    assert server.seen == []


@pytest.mark.parametrize("content", [b"", b"no certificate"], ids=["empty", "text"])
def test_a_bundle_that_cannot_be_read_is_named(
    driver: ClientDriver, server: ScriptedServer, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "broken.pem"
    path.write_bytes(content)
    with pytest.raises(x.BankSyncConfigError, match=r"broken\.pem"):
        driver.run(config_for(server, str(path)), endpoints.list_feeds())
    path.unlink()
    with pytest.raises(x.BankSyncConfigError, match=r"broken\.pem"):
        driver.run(config_for(server, str(path)), endpoints.list_feeds())


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")  # which is urllib3's word, and true
def test_verify_false_accepts_any_certificate(driver: ClientDriver, server: ScriptedServer) -> None:
    assert driver.run(config_for(server, False), endpoints.list_feeds()) == [{"id": "f"}]


def test_plain_http_to_a_tls_port(driver: ClientDriver, server: ScriptedServer) -> None:
    plain = replace(config_for(server, True), base_url=server.url.replace("https", "http"))
    with pytest.raises(x.BankSyncConnectionError):
        driver.run(plain, endpoints.list_feeds())


# asyncio of Python 3.10 leaves a connection open when its TLS breaks.
@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
@pytest.mark.filterwarnings("ignore:.*_SSLProtocolTransport:pytest.PytestUnraisableExceptionWarning")
def test_what_breaks_after_the_handshake_may_have_done_its_work(
    driver: ClientDriver, authority: trustme.CA, bundle: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    requests: list[bytes] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listener.accept()
                except OSError:
                    return
                below = socket.socket(fileno=os.dup(plain.fileno()))
                with below, context.wrap_socket(plain, server_side=True) as connection:
                    requests.append(connection.recv(65536))
                    below.sendall(b"this is not TLS, and no answer either")

        threading.Thread(target=serve, daemon=True).start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        config = ClientConfig(secret=KEY, base_url=url, timeout=2, max_retries=2, verify=str(bundle))
        with pytest.raises(x.BankSyncConnectionError) as caught:
            driver.run(config, endpoints.trigger_sync("f"))
    assert caught.value.ambiguous
    assert len(requests) == 1, "a sync that may have begun is not simply sent again"
