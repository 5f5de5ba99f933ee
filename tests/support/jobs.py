"""Jobs as a server lists them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any


def job(created_at: float, **fields: Any) -> dict[str, Any]:
    created = datetime.fromtimestamp(created_at, timezone.utc).isoformat().replace("+00:00", "Z")
    return {"id": "ours", "feedId": "f", "status": "queued", "type": "manual", "createdAt": created, **fields}
