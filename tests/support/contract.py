"""The contract of the API, an OpenAPI document, and checks of requests and responses against it."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonschema_rs import Draft202012Validator

    from airflow_provider_banksync.sandbox.http.wire import SandboxResponse

FILE = Path(__file__).with_name("contract.yaml")
VARIABLE = "SANDBOX_CONTRACT_BREACHES"
"""The environment variable that names the file for breaches."""


class Contract:
    """An OpenAPI document that requests and responses are checked against."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        #: By the identity of the schema, a part of the document. To write it out takes longer than the check.
        self._validators: dict[int, Draft202012Validator] = {}

    @classmethod
    def load(cls) -> Contract:
        """Read the contract."""
        import yaml

        return cls(yaml.safe_load(FILE.read_text(encoding="utf-8")))

    def operations(self) -> set[tuple[str, str]]:
        """Return method and path of every operation."""
        methods = {"get", "post", "put", "delete", "patch"}
        return {
            (method.upper(), path)
            for path, item in self.document["paths"].items()
            for method in set(item) & methods
        }

    def check_response(
        self,
        method: str,
        path: str,
        status: int,
        media_type: str | None,
        headers: Mapping[str, str],
        body: bytes,
    ) -> str | None:
        """Return how a response to the operation at this path breaks the contract, or None."""
        responses = self.document["paths"][path][method.lower()]["responses"]
        if str(status) not in responses:
            return f"{status} is not among {', '.join(sorted(responses))}"
        response = self._resolve_ref(responses[str(status)])
        for name, header in response.get("headers", {}).items():
            if header.get("required") and name not in headers:
                return f"{status} lacks the header {name}"
        kind = (media_type or "").partition(";")[0]
        if kind not in response["content"]:
            return f"{status} came as {kind or 'nothing'}, and not as {', '.join(response['content'])}"
        schema = response["content"][kind]["schema"]
        content = json.loads(body) if kind == "application/json" else body.decode()
        return self._violation(schema, content)

    def check_request(self, method: str, path: str, body: bytes) -> str | None:
        """Return how the JSON body of a request breaks the contract, or None."""
        operation = self.document["paths"][path][method.lower()]
        if "requestBody" not in operation:
            return "no body is expected" if body else None
        if not body:
            return "a body is required" if operation["requestBody"].get("required") else None
        return self._violation(
            operation["requestBody"]["content"]["application/json"]["schema"], json.loads(body)
        )

    def _resolve_ref(self, node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in node:
            return node
        found: Any = self.document
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return self._resolve_ref(found)

    def _violation(self, schema: dict[str, Any], content: object) -> str | None:
        key = id(schema)
        if key not in self._validators:
            from jsonschema_rs import Draft202012Validator

            whole = {**schema, "components": self.document["components"]}
            self._validators[key] = Draft202012Validator(whole, validate_formats=True)
        for error in self._validators[key].iter_errors(content):
            place = "/".join(map(str, error.instance_path)) or "the body"
            return f"{place}: {error.message}"
        return None


@cache
def _shared() -> Contract:
    return Contract.load()


def check_response(method: str, path: str, response: SandboxResponse) -> str | None:
    """Return how a sandbox's response breaks the contract, or None. Writes the breach into the file."""
    violation = _shared().check_response(
        method, path, response.status, response.media_type, response.headers, response.body
    )
    if violation is None:
        return None
    line = f"{method} {path}: {violation}"
    with Path(os.environ[VARIABLE]).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    return line
