"""Artifacts in an S3-compatible or Google bucket, under a prefix."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound

from storage.artifacts.entry import Artifacts, Entry
from storage.errors import ArtifactError, ArtifactNotStored

ATTEMPTS = 8  # of one call to S3, before the caller is told; with growing pauses they take about half a minute


class S3Artifacts(Artifacts):
    """Optuna's artifact protocol over S3. Credentials and endpoint come from the environment, as for every AWS tool
    (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`, ...), never from the URL.

    Every call raises `ArtifactNotStored` where the bucket cannot be reached or refuses it.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise ArtifactError(f"s3://{bucket} needs boto3: pip install 'lobtuna[s3]'") from None
        self.bucket, self.prefix = bucket, prefix
        retries = Config(retries={"max_attempts": ATTEMPTS, "mode": "standard"}, connect_timeout=10, read_timeout=60)
        self.client: Any = boto3.client("s3", config=retries)

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The object's bytes. Raises `ArtifactNotFound`."""
        with self._reached():
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=self.prefix + artifact_id)
            except self.client.exceptions.NoSuchKey:
                raise ArtifactNotFound(f"artifact {artifact_id} is not in s3://{self.bucket}/{self.prefix}") from None
            return io.BytesIO(answer["Body"].read())  # the line may break in the middle

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """One put, which S3 makes visible whole or not at all."""
        with self._reached():
            self.client.put_object(Bucket=self.bucket, Key=self.prefix + artifact_id, Body=content_body.read())

    def remove(self, artifact_id: str) -> None:
        """Delete the object; S3 does not say whether it was there."""
        with self._reached():
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + artifact_id)

    def entries(self) -> Iterator[Entry]:
        """Every object under the prefix."""
        now = datetime.now(UTC)
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        with self._reached():
            items = [item for page in pages for item in page.get("Contents", [])]
        for item in items:
            age = (now - item["LastModified"]).total_seconds()
            yield Entry(item["Key"].removeprefix(self.prefix), item["Size"], age)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise ArtifactNotStored(f"s3://{self.bucket}: {error}") from error


class GoogleArtifacts(Artifacts):
    """Optuna's artifact protocol over Google Cloud Storage, with the machine's default credentials.

    Every call raises `ArtifactNotStored` where the bucket cannot be reached or refuses it.
    """

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
        with self._reached(artifact_id):
            return io.BytesIO(self.bucket.blob(self.prefix + artifact_id).download_as_bytes())

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """One upload, visible whole or not at all."""
        blob = self.bucket.blob(self.prefix + artifact_id)
        with self._reached(artifact_id):
            blob.upload_from_string(content_body.read(), content_type="application/octet-stream")

    def remove(self, artifact_id: str) -> None:
        """Delete the object. Raises `ArtifactNotFound`."""
        with self._reached(artifact_id):
            self.bucket.blob(self.prefix + artifact_id).delete()

    def entries(self) -> Iterator[Entry]:
        """Every object under the prefix."""
        now = datetime.now(UTC)
        with self._reached():
            blobs = list(self.bucket.client.list_blobs(self.bucket, prefix=self.prefix))
        for blob in blobs:
            age = (now - blob.updated).total_seconds()
            yield Entry(blob.name.removeprefix(self.prefix), blob.size, age)

    @contextmanager
    def _reached(self, artifact_id: str | None = None) -> Iterator[None]:
        """Errors of Google's library as ours; one that says "not found" is about `artifact_id`, if there is one."""
        from google.api_core.exceptions import GoogleAPIError, NotFound
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        try:
            yield
        except (GoogleAPIError, GoogleAuthError, RequestException) as error:
            if isinstance(error, NotFound) and artifact_id is not None:
                raise ArtifactNotFound(f"artifact {artifact_id} is not in gs://{self.bucket.name}") from None
            raise ArtifactNotStored(f"gs://{self.bucket.name}: {error}") from error
