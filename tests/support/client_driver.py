"""Both clients behind one interface."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.http.async_client import AsyncClient
from airflow_provider_banksync.api.http.client import Client

if TYPE_CHECKING:
    from airflow_provider_banksync.api.config import ClientConfig
    from airflow_provider_banksync.api.rate_limit.limiter import RateLimiter


@dataclass
class ClientDriver:
    """Sends calls and drives flows through one of the two clients."""

    kind: str
    sleeps: list[float]
    limiter: RateLimiter

    def run(self, config: ClientConfig, what: Any) -> Any:
        """Send a call or drive a flow, and return its result."""
        is_call = hasattr(what, "request")
        if self.kind == "requests":
            with Client(config) as client:
                return client.send(what).value if is_call else client.run(what)

        async def main() -> Any:
            async with AsyncClient(config) as client:
                return (await client.send(what)).value if is_call else await client.run(what)

        return asyncio.run(main())
