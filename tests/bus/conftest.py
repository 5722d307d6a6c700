"""Each test that asks for `place` runs on SQLite and on the official emulator."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from quotewatch.bus.port import Bus
from tests.bus.places import DEAD, TOPIC, EmulatorPlace, Place, SqlitePlace, reader


@pytest.fixture(params=["sqlite", "pubsub"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    made: Place
    if request.param == "sqlite":
        made = SqlitePlace(tmp_path)
    else:
        made = EmulatorPlace(request.getfixturevalue("pubsub_emulator"))
    yield made
    made.close()


@pytest.fixture
def bus(place: Place) -> Bus:
    """A bus with one topic, one subscription and a dead-letter topic."""
    opened = place.open()
    opened.create([TOPIC, DEAD], [reader()])
    return opened


@pytest.fixture
def sqlite_place(tmp_path: Path) -> Iterator[SqlitePlace]:
    made = SqlitePlace(tmp_path)
    yield made
    made.close()


@pytest.fixture
def emulator_place(pubsub_emulator: str) -> Iterator[EmulatorPlace]:
    made = EmulatorPlace(pubsub_emulator)
    yield made
    made.close()
