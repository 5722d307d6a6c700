"""The model store over a directory, and over the real GCS client against a strict fake."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from quotewatch.learning.store import ModelStore
from quotewatch.objects.opening import open_objects
from quotewatch.objects.port import ObjectStore
from tests.fakes.gcs import FakeGcs
from tests.learning.racer import HORIZON_MS


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGcs]:
    with FakeGcs("bucket", page_size=3) as fake:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake.url)
        yield fake


@pytest.fixture(params=["file", "gs"])
def objects_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "gs":
        request.getfixturevalue("gcs")
        return "gs://bucket/some/prefix"
    return f"file://{tmp_path}/objects"


@pytest.fixture
def objects(objects_url: str) -> Iterator[ObjectStore]:
    with closing(open_objects(objects_url)) as opened:
        yield opened


@pytest.fixture
def store(objects: ObjectStore) -> ModelStore:
    return ModelStore(objects, HORIZON_MS)
