"""Open the object store that a URL names: gs://bucket/prefix, file:///path, or a plain path."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from quotewatch.errors import ObjectError
from quotewatch.objects.local import LocalObjects
from quotewatch.objects.port import ObjectStore


def open_objects(url: str) -> ObjectStore:
    """Return the store; nothing connects before its first call."""
    if not url.startswith("gs://"):
        return LocalObjects(local_path(url))
    # Imported here because the client takes half a second to load and one machine needs none.
    from quotewatch.objects.gcs import GcsObjects  # noqa: PLC0415

    bucket, _, prefix = url.removeprefix("gs://").partition("/")
    if not bucket:
        raise ObjectError(f"{url!r} names no bucket: write gs://bucket/prefix")
    return GcsObjects(bucket, prefix.strip("/"))


def local_path(url: str) -> Path:
    """Return the path of a file URL or of a plain path; ObjectError for any other scheme."""
    if "://" not in url:
        if not url:
            raise ObjectError("the place of the objects is empty: write a path, file:/// or gs://")
        return Path(url).expanduser()
    host = urlsplit(url).netloc
    if not url.startswith("file://") or host not in ("", "localhost"):
        raise ObjectError(f"{url!r} cannot be opened: write file:///absolute/path or gs://bucket")
    return Path(unquote(url.removeprefix("file://").removeprefix(host)))
