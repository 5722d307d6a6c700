"""Choose the bus: a kind and where it is come in, a bus that has not connected yet goes out."""

from pathlib import Path
from typing import Literal

from quotewatch.bus.port import Bus
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.clock import Clock, SystemClock
from quotewatch.errors import BusError

BusKind = Literal["sqlite", "pubsub"]


def open_bus(
    kind: BusKind,
    *,
    path: Path | None = None,
    project: str | None = None,
    clock: Clock | None = None,
) -> Bus:
    """Open the SQLite bus in the file `path`, or Pub/Sub of the cloud project `project`."""
    if kind == "sqlite":
        if path is None:
            raise BusError("the sqlite bus needs the path of its file: set QUOTEWATCH_DATA_DIR")
        return SqliteBus(path, clock=clock or SystemClock())
    if not project:
        raise BusError("the pubsub bus needs a cloud project: set QUOTEWATCH_PROJECT")
    # Imported only when asked for: google.pubsub_v1 takes 0.4 s, which the laptop need not pay.
    from quotewatch.bus.pubsub import PubSubBus  # noqa: PLC0415

    return PubSubBus(project)
