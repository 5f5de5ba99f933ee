"""The witness watches these tests, also when they are run alone."""

from __future__ import annotations

from tests.contract.plugin import sandbox_keeps_its_contract

__all__ = ["sandbox_keeps_its_contract"]
