"""What stands in a model store, in short words."""

from quotewatch.learning.store import ModelStore
from tests.learning.racer import numbered

VERSIONS = "models/500ms/versions/"
CURRENT = "models/500ms/current"


def name_of(position: int) -> str:
    return f"001-{position:09d}"


def stored(store: ModelStore, *positions: int) -> None:
    for position in positions:
        assert store.create(numbered(position))


def served(store: ModelStore) -> tuple[str, bool] | None:
    current = store.current()
    return None if current is None else (current.version, current.pinned)
