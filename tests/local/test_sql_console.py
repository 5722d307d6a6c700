"""SQL over the tables: every row once, in UTC, and nothing but the tables."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from quotewatch.errors import QueryError, SettingsError
from quotewatch.local.sql_console import Form, open_tables, run_sql
from quotewatch.tables.commit import Committer
from tests.tables.desk import frames, open_desk, store
from tests.tables.rows import compact

ROWS = 60


@pytest.fixture
def committer(tmp_path: Path) -> Iterator[Committer]:
    with open_desk(tmp_path) as opened:
        store(opened, frames("raw_trades", 3, rows=10))
        store(opened, frames("raw_trades", 3, start=3, rows=10))
        store(opened, frames("raw_orderbook", 2, rows=4))
        yield opened


def ask(committer: Committer, query: str, form: Form = "json") -> str:
    out = io.StringIO()
    assert run_sql(committer.tables, query, out, form=form) == 0
    return out.getvalue()


def answers(committer: Committer, query: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in ask(committer, query).splitlines()]


def test_every_row_is_there_once_also_after_a_compaction(committer: Committer) -> None:
    query = "SELECT count(*) AS n, count(DISTINCT trade_id) AS ids FROM raw_trades"
    assert answers(committer, query) == [{"n": ROWS, "ids": ROWS}]
    compact(committer, "raw_trades")
    assert answers(committer, query) == [{"n": ROWS, "ids": ROWS}]


def test_numbers_are_exact_and_times_are_utc(committer: Committer) -> None:
    query = "SELECT price, exchange_time, live FROM raw_trades ORDER BY trade_id LIMIT 1"
    assert answers(committer, query) == [
        {"price": "1", "exchange_time": "2026-09-04T12:00:00.000000Z", "live": True}
    ]
    (zone,) = answers(committer, "SELECT current_setting('TimeZone') AS zone")
    assert zone == {"zone": "UTC"}
    (day,) = answers(committer, "SELECT max(date_trunc('day', exchange_time)) AS d FROM raw_trades")
    assert day == {"d": "2026-09-04T00:00:00.000000Z"}


def test_tables_can_be_joined_and_nested_values_spelled(committer: Committer) -> None:
    query = (
        "SELECT changes, sum(trade_id) AS total FROM raw_orderbook b JOIN raw_trades t"
        " USING (symbol) WHERE b.seq = 0 AND b.row = 0 GROUP BY ALL"
    )
    (row,) = answers(committer, query)
    assert row["changes"] == [
        {"side": "bid", "price": "0", "size": "7"},
        {"side": "ask", "price": "1", "size": "8"},
    ]
    assert isinstance(row["total"], int)


def test_csv_has_a_header_and_plain_values(committer: Committer) -> None:
    query = "SELECT symbol, size, [1, 2] AS some, NULL AS none FROM raw_trades LIMIT 2"
    lines = list(csv.reader(io.StringIO(ask(committer, query, "csv"))))
    assert lines[0] == ["symbol", "size", "some", "none"]
    assert [line[2:] for line in lines[1:]] == [["[1, 2]", ""], ["[1, 2]", ""]]


def test_people_see_some_rows_and_how_many_there_are(committer: Committer) -> None:
    shown = ask(committer, "SELECT * FROM raw_trades", "table")
    assert shown.splitlines()[-1] == f"40 rows shown of {ROWS}; --json has all of them"
    assert len(shown.splitlines()) == 42
    assert "2026-09-04 12:00:00" in shown
    assert ask(committer, "SELECT 1 AS one", "table").splitlines()[-1] == "1 row"
    assert ask(committer, "SELECT 1 WHERE false", "table").splitlines()[-1] == "0 rows"


def test_odd_values_are_spelled_as_json_has_them(committer: Committer) -> None:
    query = "SELECT 'NaN'::FLOAT AS a, '\\xAB'::BLOB AS b, DATE '2026-01-02' AS c, {'x': 1.50} AS d"
    assert answers(committer, query) == [
        {"a": None, "b": "ab", "c": "2026-01-02", "d": {"x": "1.5"}}
    ]


def test_large_answers_stream(committer: Committer) -> None:
    shown = ask(committer, "SELECT * FROM range(5_000_000)", "table")
    assert shown.splitlines()[-1].startswith("40 rows shown of 1,")
    assert "or more" in shown


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/hostname')",
        "SELECT * FROM '/etc/hostname'",
        "SELECT * FROM read_parquet('https://example.com/a.parquet')",
        "COPY raw_trades TO 'stolen.csv'",
        "ATTACH 'other.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET python_enable_replacements = true",
        "SELECT * FROM query",
    ],
)
def test_nothing_but_the_tables_can_be_reached(
    committer: Committer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(QueryError):
        ask(committer, query)
    assert sorted(tmp_path.iterdir()) == before


def test_an_unknown_table_is_told_which_there_are(committer: Committer) -> None:
    with pytest.raises(QueryError, match="nope does not exist") as caught:
        ask(committer, "SELECT * FROM nope")
    assert str(caught.value).endswith("there are the tables raw_orderbook, raw_trades")


def test_a_mistake_is_explained_by_duckdb(committer: Committer) -> None:
    with pytest.raises(QueryError, match="syntax error"):
        ask(committer, "SELEC 1")
    with pytest.raises(QueryError, match="prize"):
        ask(committer, "SELECT prize FROM raw_trades")
    with pytest.raises(QueryError, match="Conversion"):
        ask(committer, "SELECT symbol::INT FROM raw_trades")


def test_a_file_that_is_gone_is_named(committer: Committer) -> None:
    task = next(iter(committer.tables.load("raw_trades").scan().plan_files()))
    Path(task.file.file_path.removeprefix("file://")).unlink()
    with pytest.raises(QueryError, match=Path(task.file.file_path).name):
        ask(committer, "SELECT sum(price) FROM raw_trades")


def test_no_tables_say_how_to_make_some(tmp_path: Path) -> None:
    with open_desk(tmp_path) as committer, pytest.raises(QueryError, match="demo"):
        ask(committer, "SELECT 1")


def test_looking_for_tables_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="no tables at"):
        open_tables(tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())
    with open_desk(tmp_path / "run-1") as committer:
        store(committer, frames("events", 1))
    with pytest.raises(SettingsError, match="run-1"):
        open_tables(tmp_path)
    tables = open_tables(tmp_path / "run-1")
    assert tables.find("events") is not None
    tables.close()
    monkeypatch.setenv("QUOTEWATCH_DATA_DIR", str(tmp_path / "run-1"))
    tables = open_tables(None)
    assert tables.find("events") is not None
    tables.close()
