"""One process among several that use a store at once: python -m tests.objects.racer URL ROLE ARG.

It says `ready`, waits for a line, does its role, and prints what came of it.
"""

import sys

from quotewatch.errors import PreconditionFailedError
from quotewatch.objects.opening import open_objects
from quotewatch.objects.port import ObjectStore


def create(store: ObjectStore, text: str) -> str:
    """Try to be the one that makes `race`."""
    try:
        store.create("race", text.encode())
    except PreconditionFailedError:
        return "lost"
    return "won"


def count(store: ObjectStore, times: str) -> str:
    """Add one to `counter`, as often as told."""
    done = 0
    while done < int(times):
        found = store.read("counter")
        assert found is not None
        try:
            store.replace("counter", b"%d" % (int(found.data) + 1), generation=found.generation)
        except PreconditionFailedError:
            continue
        done += 1
    return f"counted {done}"


def write(store: ObjectStore, kilobytes: str) -> str:
    """Replace `big` and create others, with bytes that must stay together, until killed."""
    turn = 0
    while True:
        whole = bytes([turn % 256]) * (int(kilobytes) * 1024)
        found = store.read("big")
        if found is None:
            store.create("big", whole)
        else:
            store.replace("big", whole, generation=found.generation)
        store.create(f"made/{turn:06d}", whole)
        sys.stdout.write(f"{turn}\n")
        sys.stdout.flush()
        turn += 1


ROLES = {"create": create, "count": count, "write": write}


def main() -> None:
    url, role, argument = sys.argv[1:]
    store = open_objects(url)
    store.read("warm-up")  # load the client and connect, so that the race is about the write
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(f"{ROLES[role](store, argument)}\n")
    store.close()


if __name__ == "__main__":
    main()
