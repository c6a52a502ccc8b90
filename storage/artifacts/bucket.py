"""Artifacts in an S3-compatible or Google bucket, under a prefix."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound

from storage.artifacts.entry import Artifacts, Entry
from storage.errors import ArtifactError, ArtifactNotStored


class S3Artifacts(Artifacts):
    """Optuna's artifact protocol over S3. Credentials and endpoint come from the environment, as for every AWS tool
    (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`, ...), never from the URL."""

    def __init__(self, bucket: str, prefix: str) -> None:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise ArtifactError(f"s3://{bucket} needs boto3: pip install 'lobtuna[s3]'") from None
        self.bucket, self.prefix = bucket, prefix
        retries = Config(retries={"max_attempts": 8, "mode": "standard"}, connect_timeout=10, read_timeout=60)
        self.client: Any = boto3.client("s3", config=retries)

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The object's bytes. Raises `ArtifactNotFound`."""
        try:
            body = self._call("get_object", Key=self.prefix + artifact_id)["Body"].read()
        except self.client.exceptions.NoSuchKey:
            raise ArtifactNotFound(f"artifact {artifact_id} is not in s3://{self.bucket}/{self.prefix}") from None
        return io.BytesIO(body)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """One put, which S3 makes visible whole or not at all."""
        self._call("put_object", Key=self.prefix + artifact_id, Body=content_body.read())

    def remove(self, artifact_id: str) -> None:
        """Delete the object; S3 does not say whether it was there."""
        self._call("delete_object", Key=self.prefix + artifact_id)

    def entries(self) -> Iterator[Entry]:
        """Every object under the prefix."""
        now = datetime.now(UTC)
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        for page in pages:
            for item in page.get("Contents", []):
                age = (now - item["LastModified"]).total_seconds()
                yield Entry(item["Key"].removeprefix(self.prefix), item["Size"], age)

    def _call(self, method: str, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self.client, method)(Bucket=self.bucket, **arguments)
        except self.client.exceptions.NoSuchKey:
            raise
        except (BotoCoreError, ClientError) as error:
            raise ArtifactNotStored(f"s3://{self.bucket}: {error}") from error


class GoogleArtifacts(Artifacts):
    """Optuna's artifact protocol over Google Cloud Storage, with the machine's default credentials."""

    def __init__(self, bucket: str, prefix: str) -> None:
        try:
            from google.auth.exceptions import DefaultCredentialsError
            from google.cloud import storage
        except ImportError:
            raise ArtifactError(f"gs://{bucket} needs its library: pip install 'lobtuna[gs]'") from None
        try:
            self.bucket: Any = storage.Client().bucket(bucket)
        except DefaultCredentialsError:
            raise ArtifactError(
                f"gs://{bucket}: no Google credentials here; run gcloud auth application-default login"
            ) from None
        self.prefix = prefix

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The object's bytes. Raises `ArtifactNotFound`."""
        from google.cloud.exceptions import NotFound

        try:
            return io.BytesIO(self.bucket.blob(self.prefix + artifact_id).download_as_bytes())
        except NotFound:
            raise ArtifactNotFound(f"artifact {artifact_id} is not in gs://{self.bucket.name}") from None

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """One upload, visible whole or not at all."""
        blob = self.bucket.blob(self.prefix + artifact_id)
        blob.upload_from_string(content_body.read(), content_type="application/octet-stream")

    def remove(self, artifact_id: str) -> None:
        """Delete the object. Raises `ArtifactNotFound`."""
        from google.cloud.exceptions import NotFound

        try:
            self.bucket.blob(self.prefix + artifact_id).delete()
        except NotFound:
            raise ArtifactNotFound(f"artifact {artifact_id} is not in gs://{self.bucket.name}") from None

    def entries(self) -> Iterator[Entry]:
        """Every object under the prefix."""
        now = datetime.now(UTC)
        for blob in self.bucket.client.list_blobs(self.bucket, prefix=self.prefix):
            age = (now - blob.updated).total_seconds()
            yield Entry(blob.name.removeprefix(self.prefix), blob.size, age)
