"""The model store over every object store there is."""

import pytest

from quotewatch.learning.store import ModelStore
from quotewatch.objects.port import ObjectStore
from tests.fakes.stores import gcs, objects, objects_url
from tests.learning.racer import HORIZON_MS

__all__ = ["gcs", "objects", "objects_url", "store"]


@pytest.fixture
def store(objects: ObjectStore) -> ModelStore:
    return ModelStore(objects, HORIZON_MS)
