"""The stores under test."""

import pytest

from quotewatch.objects.port import ObjectStore
from tests.fakes.stores import gcs, objects, objects_url

__all__ = ["gcs", "objects", "objects_url", "store", "store_url"]


@pytest.fixture
def store(objects: ObjectStore) -> ObjectStore:
    return objects


@pytest.fixture
def store_url(objects_url: str) -> str:
    return objects_url
