"""Certificates: checked, against the system's authorities or the ones that the connection names."""

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
from tests.api.conftest import KEY, ScriptedServer, ok

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.api.conftest import Face


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def https(certificate: trustme.LeafCert) -> ScriptedServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return ScriptedServer(script=[ok([{"id": "f"}])] * 9, tls=context)


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


def test_an_unknown_authority_is_refused_before_the_key_leaves(face: Face, server: ScriptedServer) -> None:
    with pytest.raises(x.BankSyncCertificateError, match="verify in the field Extra") as caught:
        face.run(config_for(server, True), endpoints.list_feeds())
    assert "certificate" in str(caught.value).lower()
    assert caught.value.permanent, "another try would end the same"
    assert (server.seen, face.waits) == ([], [])


def test_the_authorities_of_a_bundle(face: Face, server: ScriptedServer, bundle: Path) -> None:
    assert face.run(config_for(server, str(bundle)), endpoints.list_feeds()) == [{"id": "f"}]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl names the files of such a folder")
def test_the_authorities_of_a_folder(face: Face, server: ScriptedServer, bundle: Path) -> None:
    named = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", str(bundle)], check=True, capture_output=True, text=True
    )
    folder = bundle.parent / "authorities"
    folder.mkdir()
    bundle.rename(folder / f"{named.stdout.strip()}.0")
    assert face.run(config_for(server, str(folder)), endpoints.list_feeds()) == [{"id": "f"}]


def test_a_certificate_of_another_host(face: Face, authority: trustme.CA, bundle: Path) -> None:
    server = https(authority.issue_cert("bank.example"))
    with pytest.raises(x.BankSyncConnectionError):
        face.run(config_for(server, str(bundle)), endpoints.list_feeds())
    assert server.seen == []
    server.close()


def test_a_bundle_of_strangers(face: Face, server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "strangers.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    with pytest.raises(x.BankSyncConnectionError):
        face.run(config_for(server, str(path)), endpoints.list_feeds())
    assert server.seen == []


@pytest.mark.parametrize("content", [b"", b"no certificate"], ids=["empty", "text"])
def test_a_bundle_that_cannot_be_read_is_named(
    face: Face, server: ScriptedServer, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "broken.pem"
    path.write_bytes(content)
    with pytest.raises(x.BankSyncConfigError, match=r"broken\.pem"):
        face.run(config_for(server, str(path)), endpoints.list_feeds())
    path.unlink()
    with pytest.raises(x.BankSyncConfigError, match=r"broken\.pem"):
        face.run(config_for(server, str(path)), endpoints.list_feeds())


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")  # which is urllib3's word, and true
def test_who_asks_not_to_verify_gets_it(face: Face, server: ScriptedServer) -> None:
    assert face.run(config_for(server, False), endpoints.list_feeds()) == [{"id": "f"}]


def test_plain_http_to_a_tls_port(face: Face, server: ScriptedServer) -> None:
    plain = replace(config_for(server, True), base_url=server.url.replace("https", "http"))
    with pytest.raises(x.BankSyncConnectionError):
        face.run(plain, endpoints.list_feeds())


# asyncio of Python 3.10 leaves a connection open when its TLS breaks.
@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
@pytest.mark.filterwarnings("ignore:.*_SSLProtocolTransport:pytest.PytestUnraisableExceptionWarning")
def test_what_breaks_after_the_handshake_may_have_done_its_work(
    face: Face, authority: trustme.CA, bundle: Path
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
            face.run(config, endpoints.trigger_sync("f"))
    assert caught.value.ambiguous
    assert len(requests) == 1, "a sync that may have begun is not simply sent again"
