"""The contract of the API, and a check of what the sandbox says against it.

Only for tests: it needs PyYAML and jsonschema-rs, which the extra ``dev`` brings. With the environment variable
``SANDBOX_CONTRACT_BREACHES`` naming a file, every sandbox of this process and its children checks each of its own
answers; a breach becomes a line in that file and a 500 for the client. Faults are exempt: they are meant to be wrong.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonschema_rs import Draft202012Validator

    from airflow_provider_banksync.sandbox.answer import Answer

FILE = Path(__file__).with_name("contract.yaml")
VARIABLE = "SANDBOX_CONTRACT_BREACHES"


class Contract:
    """An OpenAPI document that requests and responses can be held against."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self._validators: dict[str, Draft202012Validator] = {}

    @classmethod
    def load(cls) -> Contract:
        """Read the contract that this package carries."""
        import yaml

        return cls(yaml.safe_load(FILE.read_text(encoding="utf-8")))

    def operations(self) -> set[tuple[str, str]]:
        """Give method and path of every operation."""
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
        """Say what is wrong with a response to the operation at this path of the contract, None where nothing is."""
        responses = self.document["paths"][path][method.lower()]["responses"]
        if str(status) not in responses:
            return f"{status} is not among {', '.join(sorted(responses))}"
        response = self._follow(responses[str(status)])
        for name, header in response.get("headers", {}).items():
            if header.get("required") and name not in headers:
                return f"{status} lacks the header {name}"
        kind = (media_type or "").partition(";")[0]
        if kind not in response["content"]:
            return f"{status} came as {kind or 'nothing'}, and not as {', '.join(response['content'])}"
        schema = response["content"][kind]["schema"]
        content = json.loads(body) if kind == "application/json" else body.decode()
        return self._complaint(schema, content)

    def check_request(self, method: str, path: str, body: bytes) -> str | None:
        """Say what is wrong with the JSON body of a request, None where nothing is."""
        operation = self.document["paths"][path][method.lower()]
        if "requestBody" not in operation:
            return "no body is expected" if body else None
        if not body:
            return "a body is required" if operation["requestBody"].get("required") else None
        return self._complaint(
            operation["requestBody"]["content"]["application/json"]["schema"], json.loads(body)
        )

    def _follow(self, thing: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in thing:
            return thing
        found: Any = self.document
        for step in thing["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return self._follow(found)

    def _complaint(self, schema: dict[str, Any], content: object) -> str | None:
        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            from jsonschema_rs import Draft202012Validator

            whole = {**schema, "components": self.document["components"]}
            self._validators[key] = Draft202012Validator(whole, validate_formats=True)
        for error in self._validators[key].iter_errors(content):
            place = "/".join(map(str, error.instance_path)) or "the body"
            return f"{place}: {error.message}"
        return None


class Witness:
    """Watches one sandbox and writes its breaches of the contract into a file."""

    def __init__(self, breaches: Path) -> None:
        self._breaches = breaches
        self._contract = _shared()

    def complaint(self, method: str, path: str, answer: Answer) -> str | None:
        """Say what is wrong with an answer to the operation at this path, and write it down."""
        wrong = self._contract.check_response(
            method, path, answer.status, answer.media_type, answer.headers, answer.body
        )
        if wrong is None:
            return None
        line = f"{method} {path}: {wrong}"
        with self._breaches.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        return line


def witness() -> Witness | None:
    """Give the witness that the environment asks for, None where it asks for none."""
    breaches = os.environ.get(VARIABLE)
    return Witness(Path(breaches)) if breaches else None


@cache
def _shared() -> Contract:
    return Contract.load()
