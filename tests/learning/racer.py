"""One process among several that share a model store: python -m tests.learning.racer URL ROLE ARG.

It says `ready`, waits for a line, does its role, and prints what came of it.
"""

import sys
from dataclasses import replace

from quotewatch.learning.document import Version
from quotewatch.learning.model import Model
from quotewatch.learning.scoring import ScoreWindow
from quotewatch.learning.store import ModelStore
from quotewatch.objects.opening import open_objects

HORIZON_MS = 500


def numbered(position: int, intercept: float = 0.5) -> Version:
    """Return a version that needed no learning."""
    model = replace(Model.fresh(HORIZON_MS, 1), position=position, intercept=intercept)
    return Version(model, {}, ScoreWindow.empty())


def create(store: ModelStore, position: str) -> str:
    """Try to be the one that stores a version."""
    return "first" if store.create(numbered(int(position))) else "second"


def advance(store: ModelStore, span: str) -> str:
    """Store and serve one version after the other; say how often `current` went backwards."""
    start, step, end = map(int, span.split(","))
    seen, backwards = "", 0
    for position in range(start, end, step):
        version = numbered(position)
        store.create(version)
        store.advance(version.model.version)
        current = store.current()
        assert current is not None
        backwards += current.version < max(seen, version.model.version)
        seen = current.version
    return f"backwards {backwards}"


def pin(store: ModelStore, positions: str) -> str:
    """Pin the versions in turn, as long as they are there; each must load afterwards."""
    pinned = 0
    for position in range(*map(int, positions.split(","))):
        version = numbered(position).model.version
        if version in store.versions():
            try:
                store.pin(version)
            except Exception as error:  # noqa: BLE001 - which one is the result
                if "does not exist" in str(error):
                    continue  # pruned before it was pinned
                return f"{type(error).__name__} {error}"
            store.load(version)
            pinned += 1
    return f"pinned {pinned > 0}"


def prune(store: ModelStore, keep: str) -> str:
    """Prune one by one until so few are left."""
    for left in range(len(store.versions()) - 1, int(keep) - 1, -1):
        store.prune(left)
    return "pruned"


ROLES = {"create": create, "advance": advance, "pin": pin, "prune": prune}


def main() -> None:
    url, role, argument = sys.argv[1:]
    objects = open_objects(url)
    store = ModelStore(objects, HORIZON_MS)
    store.versions()  # load the client and connect, so that the race is about the writes
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(f"{ROLES[role](store, argument)}\n")
    objects.close()


if __name__ == "__main__":
    main()
