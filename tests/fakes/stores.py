"""Object stores to test on, as fixtures: a directory, and the real GCS client against a fake."""

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
def objects_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "gs":
        request.getfixturevalue("gcs")
        return "gs://bucket/some/prefix"
    return f"file://{tmp_path}/objects"


@pytest.fixture
def objects(objects_url: str) -> Iterator[ObjectStore]:
    with closing(open_objects(objects_url)) as opened:
        yield opened
