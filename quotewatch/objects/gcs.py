"""Objects in one bucket of Google Cloud Storage, below one prefix.

Writes are conditional on the generation and sent once; reads and listings are repeated for up to
`timeout_seconds`. Lost: nothing whose call returned. GCS takes about one write a second to the same
name and answers 429 to more, which is an ObjectStoreUnavailableError here.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, TypeVar

import urllib3
from google.api_core import exceptions as answers
from google.api_core.retry import Retry, if_exception_type
from google.auth import exceptions as credentials

# google-cloud-storage carries no type hints at all.
from google.cloud import storage  # type: ignore[attr-defined]
from google.resumable_media import DataCorruption

from quotewatch.errors import ObjectError, ObjectStoreUnavailableError, PreconditionFailedError
from quotewatch.objects.port import StoredObject, check_name, check_prefix

Result = TypeVar("Result")
_PASSING = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,  # "edited during the operation. Please try again."
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)


class GcsObjects:
    """The objects of gs://bucket/prefix, with the credentials of this environment.

    STORAGE_EMULATOR_HOST (http://host:port) sends everything there, without credentials.
    """

    def __init__(self, bucket: str, prefix: str = "", *, timeout_seconds: float = 10.0) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._timeout = timeout_seconds
        # Not the client's own retry: it drops the responses it repeats without closing them, and
        # does not repeat a download whose checksum is wrong.
        self._again = Retry(
            predicate=if_exception_type(ObjectStoreUnavailableError),
            initial=0.1,
            maximum=2.0,
            timeout=timeout_seconds,
        )
        self._client: Any = None
        self._connecting = threading.Lock()  # two clients would be one that nobody closes

    def create(self, name: str, data: bytes) -> int:
        """Store a new object; PreconditionFailedError if the name is taken."""
        return self._upload(name, data, generation=0)

    def replace(self, name: str, data: bytes, *, generation: int) -> int:
        """Replace the object of that generation; PreconditionFailedError if it moved on."""
        return self._upload(name, data, generation=generation)

    def read(self, name: str) -> StoredObject | None:
        """Return the object, or None where there is none."""
        return self._patiently(lambda: self._read(name))

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names that start with `prefix`, in order."""
        yield from self._patiently(lambda: self._names(prefix))

    def delete(self, name: str) -> None:
        """Remove the object; nothing happens where there is none."""
        with self._named_errors(name):
            try:
                # Sent once: a repetition could remove what somebody created in between.
                self._blob(name).delete(timeout=self._timeout, retry=None)
            except answers.NotFound as error:
                if _is_bucket_missing(error):
                    raise

    def close(self) -> None:
        """Let go of connections. Safe to call twice; a later call connects again."""
        with self._connecting:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _upload(self, name: str, data: bytes, *, generation: int) -> int:
        with self._named_errors(name):
            blob = self._blob(name)
            # retry=None: the client would repeat a write that was stored but never answered, get
            # 412 for its own object, and tell us another writer was first. Sent once, a 412 means
            # what it says and silence means "unknown", which the caller resolves by reading.
            blob.upload_from_string(
                data,
                content_type="application/octet-stream",
                if_generation_match=generation,
                timeout=self._timeout,
                checksum="crc32c",
                retry=None,
            )
            return int(blob.generation)

    def _patiently(self, read: Callable[[], Result]) -> Result:
        """Repeat a read while GCS does not answer; what it says last counts."""
        try:
            return self._again(read)()
        except answers.RetryError as error:
            raise error.cause from error

    def _read(self, name: str) -> StoredObject | None:
        with self._named_errors(name):
            blob = self._blob(name)
            try:
                data = blob.download_as_bytes(timeout=self._timeout, retry=None)
            except answers.NotFound as error:
                if _is_bucket_missing(error):
                    raise
                return None
            # The generation comes with the answer's headers, so it is that of these bytes.
            return StoredObject(name, data, int(blob.generation))

    def _names(self, prefix: str) -> list[str]:
        with self._named_errors(prefix):
            listing = self._connected().list_blobs(
                self._bucket,
                prefix=self._prefix + check_prefix(prefix),
                fields="items(name),nextPageToken",
                timeout=self._timeout,
                retry=None,
            )
            return [blob.name.removeprefix(self._prefix) for blob in listing]

    def _blob(self, name: str) -> Any:  # noqa: ANN401 - google-cloud-storage has no types
        return self._connected().bucket(self._bucket).blob(self._prefix + check_name(name))

    def _connected(self) -> Any:  # noqa: ANN401 - google-cloud-storage has no types
        with self._connecting:
            self._client = self._client or _connect()
            return self._client

    @contextlib.contextmanager
    def _named_errors(self, name: str) -> Iterator[None]:
        """Turn what the client raises into the errors of the port."""
        place = f"gs://{self._bucket}/{self._prefix}{name}"
        try:
            yield
        except answers.GoogleAPICallError as error:
            raise self._refusal(place, error) from error
        except (urllib3.exceptions.HTTPError, DataCorruption) as error:
            raise _no_answer(place, error) from error
        except credentials.GoogleAuthError as error:
            if error.retryable or isinstance(error, credentials.TransportError):
                raise _no_answer(place, error) from error
            raise ObjectError(
                f"{place}: no usable credentials ({error}); run `gcloud auth application-default "
                "login`, or give this service an account"
            ) from error
        except OSError as error:  # requests' errors and sockets' own are all of this kind
            raise _no_answer(place, error) from error

    def _refusal(self, place: str, error: answers.GoogleAPICallError) -> ObjectError:
        code = error.code or 0
        if code == HTTPStatus.PRECONDITION_FAILED:
            return PreconditionFailedError(f"{place}: another writer was first; read it again")
        if code in _PASSING or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _no_answer(place, error)
        if code in (HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED):
            return ObjectError(
                f"{place}: access to bucket {self._bucket} denied; grant this service "
                f"roles/storage.objectUser on it ({error})"
            )
        if code == HTTPStatus.NOT_FOUND:
            return ObjectError(
                f"{place}: bucket {self._bucket} does not exist; create it (terraform apply) or "
                f"correct QUOTEWATCH_OBJECTS ({error})"
            )
        return ObjectError(f"{place}: refused with {code} ({error})")


def _connect() -> Any:  # noqa: ANN401 - google-cloud-storage has no types
    emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
    if emulator and "://" not in emulator:
        # The client would fail with "no connection adapters", which looks like an outage.
        raise ObjectError(f"STORAGE_EMULATOR_HOST={emulator}: write http://{emulator}")
    # Since 3.17 the client asks for the bucket's metadata from a thread of its own, for labels of
    # traces we do not take: one more request and one more permission.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    return storage.Client()  # takes anonymous credentials for an emulator


def _no_answer(place: str, error: Exception) -> ObjectStoreUnavailableError:
    return ObjectStoreUnavailableError(f"{place}: no answer ({error}); try again")


def _is_bucket_missing(error: answers.NotFound) -> bool:
    """Tell the two 404 apart. A missing object says "No such object: bucket/name"."""
    return "bucket does not exist" in str(error)
