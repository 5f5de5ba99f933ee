"""Object stores on this machine: a server that speaks S3, and fsspec's memory."""

from __future__ import annotations

import json
import tempfile
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_banksync.tasks.destination import folder_of

try:
    from airflow.sdk.io import attach
except ImportError:  # Airflow 2
    from airflow.io.store import attach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_banksync.export.storage.folder import Folder

CONNECTION = "lake"


@dataclass
class Store:
    """A folder of a store, seen by another way than the one that is tested.

    :param url: the folder.
    :param objects: all that is in it, by its key below the folder.
    :param put: write an object, by its key below the folder.
    :param remove: remove one.
    :param arguments: what a task needs besides the URL.
    """

    url: str
    objects: Callable[[], dict[str, bytes]]
    put: Callable[[str, bytes], Any]
    remove: Callable[[str], Any]
    arguments: dict[str, Any] = field(default_factory=dict)

    def folder(self, below: str = "folder") -> Folder:
        """Return a folder in it, as a task gets it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Airflow's own, when it loads its file systems
            return folder_of(
                ObjectStoragePath(f"{self.url}/{below}", conn_id=self.arguments.get("storage_conn_id"))
            )

    def manifest(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Return the manifest that a summary names."""
        return json.loads(self.objects()[summary["manifest"].removeprefix(f"{self.url}/")])


def load_file_systems() -> None:
    """Load Airflow's file systems now. As errors, the warnings of its providers would hide every file system."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ObjectStoragePath(f"file://{tempfile.gettempdir()}").exists()


class S3:
    """A server that speaks S3, and a client of its own."""

    def __init__(self) -> None:
        import boto3
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.endpoint = "http://{}:{}".format(*self._server.get_host_and_port())
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="nobody",
            aws_secret_access_key="nothing",
        )

    def connection(self, endpoint: str | None = None) -> str:
        """Return an Airflow connection to it, as JSON. ``endpoint`` is that of a proxy."""
        extra = {"endpoint_url": endpoint or self.endpoint, "region_name": "us-east-1"}
        return json.dumps({"conn_type": "aws", "login": "nobody", "password": "nothing", "extra": extra})

    def keys(self, bucket: str) -> list[str]:
        """Return the keys of all objects."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def uploads(self, bucket: str) -> list[str]:
        """Return the keys of the uploads that have not ended."""
        answer = self.client.list_multipart_uploads(Bucket=bucket)
        return [upload["Key"] for upload in answer.get("Uploads", [])]

    def store(self, bucket: str) -> Store:
        """Return a folder in a bucket, both new."""
        self.client.create_bucket(Bucket=bucket)

        def objects() -> dict[str, bytes]:
            return {
                key.removeprefix("data/"): self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
                for key in self.keys(bucket)
            }

        return Store(
            f"s3://{bucket}/data",
            objects,
            lambda key, body: self.client.put_object(Bucket=bucket, Key=f"data/{key}", Body=body),
            lambda key: self.client.delete_object(Bucket=bucket, Key=f"data/{key}"),
            {"storage_conn_id": CONNECTION},
        )

    def stop(self) -> None:
        """Stop the server."""
        self.client.close()
        self._server.stop()


def memory() -> Iterator[Store]:
    """Give a folder of fsspec's memory file system, which Airflow takes when it is told to."""
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    attach("memory", fs=fs)

    def objects() -> dict[str, bytes]:
        return {key.removeprefix("/bucket/data/"): file.getvalue() for key, file in fs.store.items()}

    yield Store(
        "memory:///bucket/data",
        objects,
        lambda key, body: fs.pipe_file(f"/bucket/data/{key}", body),
        lambda key: fs.rm_file(f"/bucket/data/{key}"),
    )
    fs.store.clear()
