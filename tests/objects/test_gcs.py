"""What only GCS does: answers that are refusals, outages, or never come."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from quotewatch.errors import (
    ObjectError,
    ObjectStoreUnavailableError,
    PreconditionFailedError,
    is_retryable,
)
from quotewatch.objects.gcs import GcsObjects
from tests.fakes.gcs import FakeGcs

ROOT = Path(__file__).parents[2]
CALLS: dict[str, tuple[str, Callable[[GcsObjects], object]]] = {
    "create": ("POST", lambda store: store.create("new", b"data")),
    "replace": ("POST", lambda store: store.replace("object", b"data", generation=1)),
    "read": ("GET", lambda store: store.read("object")),
    "names": ("GET", lambda store: list(store.names(""))),
    "delete": ("DELETE", lambda store: store.delete("object")),
}


@pytest.fixture(params=sorted(CALLS))
def call(request: pytest.FixtureRequest) -> tuple[str, Callable[[GcsObjects], object]]:
    return CALLS[str(request.param)]


def opened(bucket: str = "bucket", *, timeout_seconds: float = 10.0) -> closing[GcsObjects]:
    return closing(GcsObjects(bucket, "prefix", timeout_seconds=timeout_seconds))


@pytest.mark.parametrize("fault", [408, 409, 429, 500, 502, 503, 504, "dropped", "silent"])
def test_an_outage_is_worth_another_try(
    gcs: FakeGcs, call: tuple[str, Callable[[GcsObjects], object]], fault: int | str
) -> None:
    method, use = call
    gcs.fail(method, fault, times=100)  # type: ignore[arg-type]
    with opened(timeout_seconds=0.3) as store, pytest.raises(ObjectStoreUnavailableError) as told:
        use(store)
    assert is_retryable(told.value)
    assert "gs://bucket/prefix/" in str(told.value)


@pytest.mark.parametrize("fault", [503, 429, "dropped", "garbled"])
def test_a_read_outlives_a_short_outage(gcs: FakeGcs, fault: int | str) -> None:
    with opened() as store:
        store.create("object", b"data")
        gcs.fail("GET", fault)  # type: ignore[arg-type]
        found = store.read("object")
        assert found is not None
        assert found.data == b"data"
        gcs.fail("GET", 503)
        assert list(store.names("")) == ["object"]


@pytest.mark.parametrize("fault", [503, "dropped", "silent"])
def test_a_create_stored_without_an_answer_is_unknown_and_never_another_writers(
    gcs: FakeGcs, fault: int | str
) -> None:
    gcs.fail("POST", fault, when="after")  # type: ignore[arg-type]
    with opened(timeout_seconds=1.0) as store:
        with pytest.raises(ObjectStoreUnavailableError):
            store.create("object", b"mine")
        found = store.read("object")  # what the port tells the caller to do
    assert found is not None
    assert found.data == b"mine"
    assert [line for line in gcs.seen if line.startswith("POST")] == [
        "POST /upload/storage/v1/b/bucket/o"
    ]


def test_a_replacement_is_sent_once_too(gcs: FakeGcs) -> None:
    with opened() as store:
        generation = store.create("object", b"1")
        gcs.fail("POST", 503, when="after")
        with pytest.raises(ObjectStoreUnavailableError):
            store.replace("object", b"2", generation=generation)
        with pytest.raises(PreconditionFailedError, match="gs://bucket/prefix/object"):
            store.replace("object", b"2", generation=generation)


def test_a_missing_bucket_is_named_with_its_cure(
    gcs: FakeGcs, call: tuple[str, Callable[[GcsObjects], object]]
) -> None:
    assert gcs.url
    with opened("elsewhere") as store, pytest.raises(ObjectError, match="create it") as refused:
        call[1](store)
    assert "bucket elsewhere does not exist" in str(refused.value)
    assert type(refused.value) is ObjectError


def test_a_denied_bucket_is_named_with_its_cure(
    gcs: FakeGcs, call: tuple[str, Callable[[GcsObjects], object]]
) -> None:
    gcs.denied.add("bucket")
    with opened() as store, pytest.raises(ObjectError, match=r"storage\.objectUser") as refused:
        call[1](store)
    assert "bucket bucket denied" in str(refused.value)
    assert type(refused.value) is ObjectError


def test_a_listing_goes_through_every_page(gcs: FakeGcs) -> None:
    names = [f"object-{number:02d}" for number in range(10)]
    with opened() as store:
        for name in names:
            store.create(name, b"")
        gcs.seen.clear()
        assert list(store.names("object-")) == names
    assert gcs.seen == ["GET /storage/v1/b/bucket/o"] * 4


def test_nothing_connects_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    with opened(timeout_seconds=0.3) as store, pytest.raises(ObjectStoreUnavailableError):
        store.read("object")


def test_an_emulator_without_a_scheme_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "localhost:4443")
    with opened() as store, pytest.raises(ObjectError, match="write http://localhost:4443"):
        store.read("object")


def test_missing_credentials_are_named_with_their_cure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with opened() as store, pytest.raises(ObjectError, match="application-default login"):
        store.read("object")


def test_one_machine_never_loads_the_cloud_client(tmp_path: Path) -> None:
    code = (
        "import sys; from quotewatch.objects.opening import open_objects; "
        f"open_objects({str(tmp_path)!r}).create('object', b''); "
        "sys.exit('google.cloud.storage' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
