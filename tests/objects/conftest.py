"""The stores under test: a directory, and the real GCS client against a strict fake of its API."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from quotewatch.objects.opening import open_objects
from quotewatch.objects.port import ObjectStore
from tests.fakes.gcs import FakeGcs


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGcs]:
    with FakeGcs("bucket", page_size=3) as fake:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake.url)
        yield fake


@pytest.fixture(params=["file", "gs"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "gs":
        request.getfixturevalue("gcs")
        return "gs://bucket/some/prefix"
    return f"file://{tmp_path}/objects"


@pytest.fixture
def store(store_url: str) -> Iterator[ObjectStore]:
    with closing(open_objects(store_url)) as opened:
        yield opened
