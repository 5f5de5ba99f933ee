"""Whom to believe about the server's identity."""

from __future__ import annotations

import ssl
from pathlib import Path

from airflow_provider_banksync.exceptions import BankSyncConfigError


def context(verify: bool | str) -> ssl.SSLContext | bool:
    """Read the certificates that a connection names; True and False are returned as they are.

    :param verify: path of a file or a folder of CA certificates, or whether to check against the system's.
    :raises BankSyncConfigError: they cannot be read.
    """
    if isinstance(verify, bool):
        return verify
    try:
        if Path(verify).is_dir():
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    except (OSError, ValueError) as error:
        raise BankSyncConfigError(
            f"verify in the field Extra: the CA bundle {verify!r} cannot be read: {error}.",
            hint="It must be a file of certificates in PEM form, or a folder of them.",
        ) from error
