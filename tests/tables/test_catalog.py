"""Tables are made once, gain columns, keep what makes them safe; a foreign one is left alone."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.transforms import DayTransform

from quotewatch.errors import TableError, TableUnavailableError
from quotewatch.streams import TABLES
from quotewatch.tables.catalog import NAMESPACE, Tables, catalog_properties
from quotewatch.tables.commit import Committer
from quotewatch.tables.intake import Intake
from tests.tables.frames import EPOCH, Desk, arrived, assert_each_once, events

ROOT = Path(__file__).parents[2]
EVENTS = TABLES["events"]
WIDER = replace(EVENTS, schema=EVENTS.schema.append(pa.field("mood", pa.string())))
RETRIES = "commit.retry.num-retries"


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    with closing(Tables(catalog_properties("", "", tmp_path))) as made:
        yield made


# Settings


@pytest.mark.parametrize(
    ("catalog", "warehouse", "expected"),
    [
        ("", "", {"type": "sql", "warehouse": "/data/warehouse"}),
        ("", "gs://b", {"type": "sql", "warehouse": "gs://b"}),
        (
            "postgresql+psycopg://h/db",
            "gs://b",
            {"type": "sql", "uri": "postgresql+psycopg://h/db", "warehouse": "gs://b"},
        ),
        ("http://h:1", "", {"type": "rest", "uri": "http://h:1"}),
        ("https://h", "w", {"type": "rest", "uri": "https://h", "warehouse": "w"}),
        ('{"type": "rest", "uri": "u", "n": 1}', "", {"type": "rest", "uri": "u", "n": "1"}),
        (' {"uri": "u"}', "", {"uri": "u", "warehouse": "/data/warehouse"}),
        ('{"type": "rest", "warehouse": "own"}', "w", {"type": "rest", "warehouse": "own"}),
    ],
)
def test_settings_become_properties(catalog: str, warehouse: str, expected: dict[str, str]) -> None:
    given = catalog_properties(catalog, warehouse, Path("/data"))
    if not catalog:
        assert given.pop("uri").startswith("sqlite:////data/catalog.db?timeout=")
    assert given == expected


def test_nothing_connects_and_nothing_is_made_before_it_is_asked_for(tmp_path: Path) -> None:
    tables = Tables(catalog_properties("", "", tmp_path / "new"))
    tables.close()
    assert not (tmp_path / "new").exists()


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "with space & ünicode"
    with closing(Tables(catalog_properties("", "", folder))) as tables:
        tables.load("events")
    assert (folder / "catalog.db").is_file()


def test_it_opens_again_after_it_was_closed(tables: Tables) -> None:
    made = tables.load("events").metadata.table_uuid
    tables.close()
    tables.close()
    assert tables.load("events").metadata.table_uuid == made


def test_a_catalog_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    away = Tables(catalog_properties("", "", tmp_path / "file"))
    with pytest.raises(TableUnavailableError, match="events:"):
        away.load("events")
    away.close()


# Making


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_made_as_its_layout_says(tables: Tables, name: str) -> None:
    assert tables.find(name) is None
    made = tables.load(name)
    layout = TABLES[name]
    assert [each.name for each in made.schema().fields] == layout.schema.names
    required = [each.name for each in made.schema().fields if each.required]
    assert required == [each.name for each in layout.schema if not each.nullable]
    [day] = made.spec().fields
    assert isinstance(day.transform, DayTransform)
    assert made.schema().find_column_name(day.source_id) == layout.day_of
    assert made.properties[RETRIES] == "0"
    assert made.metadata.format_version == 2
    found = tables.find(name)
    assert found is not None
    assert found.metadata.table_uuid == made.metadata.table_uuid


AT_ONCE = """
import os, sys
from pathlib import Path
from quotewatch.tables.catalog import Tables, catalog_properties

def make(folder, start):
    os.read(start, 1)
    tables = Tables(catalog_properties("", "", folder))
    os.write(1, f"{tables.load('events').metadata.table_uuid} ".encode())  # at once
    tables.close()

for round in range(6):
    start, gun = os.pipe()
    for _ in range(3):
        if not os.fork():
            os.close(gun)
            try:
                make(Path(sys.argv[1]) / str(round), start)
            finally:
                os._exit(0)
    os.close(start)
    os.close(gun)  # nothing is connected yet; now all of them are, at one moment
    for _ in range(3):
        os.wait()
"""


def test_processes_may_make_a_table_at_once(tmp_path: Path) -> None:
    """Forked, so that they start together; some times, because it is a matter of luck."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", AT_ONCE, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=90,
    )
    assert sorted(Counter(done.stdout.split()).values()) == [3] * 6, done.stderr


# Columns


def test_a_newer_program_adds_columns_and_an_older_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Desk(tmp_path)) as old, closing(Desk(tmp_path)) as new:
        Intake(old.committer, "events").store([arrived("events", 0, events(1))])
        with monkeypatch.context() as deployed:
            deployed.setitem(TABLES, "events", WIDER)
            assert "mood" in new.tables.load("events").schema().column_names
        stored = Intake(old.committer, "events").store([arrived("events", 1, events(1))])
        assert stored.inserted == 1
        assert [row["mood"] for row in old.rows("events")] == [None, None]
        assert_each_once(old, "events", [(EPOCH, 0, 0), (EPOCH, 1, 0)])


def test_a_new_column_is_optional_whatever_the_layout_says(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tables.load("events")
    strict = EVENTS.schema.append(pa.field("mood", pa.string(), nullable=False))
    monkeypatch.setitem(TABLES, "events", replace(EVENTS, schema=strict))
    with closing(Tables(catalog_properties("", "", tmp_path))) as newer:
        field = newer.load("events").schema().find_field("mood")
    assert not field.required


# Safety


@pytest.mark.parametrize("again", ["another process", "the same process"])
def test_a_retry_behind_our_back_is_switched_off_again(
    tables: Tables, tmp_path: Path, again: str
) -> None:
    table = tables.load("events")
    with table.transaction() as transaction:
        transaction.set_properties({RETRIES: "4", "theirs": "kept"})
    with closing(Tables(catalog_properties("", "", tmp_path))) as other:
        found = (tables if again == "the same process" else other).load("events")
    assert found.properties[RETRIES] == "0"
    assert found.properties["theirs"] == "kept"


def foreign(tables: Tables, *columns: pa.Field, by_day: bool = True) -> None:  # type: ignore[type-arg]
    tables.catalog.create_namespace_if_not_exists(NAMESPACE)
    made = tables.catalog.create_table((NAMESPACE, "events"), pa.schema(list(columns)))
    if by_day:
        with made.update_spec() as spec:
            spec.add_field("received_at", DayTransform(), "received_at_day")


def test_a_foreign_table_of_the_same_name_is_refused_and_left_as_it_was(tables: Tables) -> None:
    time = EVENTS.schema.field("received_at")
    foreign(tables, pa.field("kind", pa.int32()), time)
    before = tables.catalog.load_table((NAMESPACE, "events")).metadata_location
    for _ in range(2):
        with pytest.raises(TableError, match=r"events: column kind is int32, expected string.*\?"):
            tables.load("events")
    assert tables.catalog.load_table((NAMESPACE, "events")).metadata_location == before


def test_a_table_that_is_not_cut_by_day_is_refused(tables: Tables) -> None:
    foreign(tables, *EVENTS.schema, by_day=False)
    with pytest.raises(TableError, match=r"events: .*received_at"):
        tables.load("events")


def test_a_refused_table_names_the_stream_that_waits(tmp_path: Path) -> None:
    with closing(Desk(tmp_path).open()) as desk:
        foreign(desk.tables, pa.field("kind", pa.int32()), by_day=False)
        report = desk.write()
        assert "another catalog" in str(report.streams["events"].error)
        assert not report.streams["raw_trades"].error


def test_properties_may_be_given_as_json(tmp_path: Path) -> None:
    given = {"type": "sql", "uri": f"sqlite:///{tmp_path}/own.db"}
    with closing(Tables(catalog_properties(json.dumps(given), "", tmp_path))) as tables:
        Intake(Committer(tables), "events").store([arrived("events", 0, events(2))])
        assert tables.load("events").scan().to_arrow().num_rows == 2
    assert (tmp_path / "own.db").is_file()
