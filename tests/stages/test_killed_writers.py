"""Writers that are killed at any step, that run at once, or find the disk full: each row once."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pyiceberg.catalog import load_catalog

from quotewatch.bus.port import Message
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import topology
from quotewatch.stages.write import WriteReport
from quotewatch.tables.catalog import Tables, catalog_properties
from quotewatch.tables.ledger import Knowledge
from tests.stages.worker import Job, LateClock, opened
from tests.tables.frames import Desk, events, message, numbers, rows_in, spoilt, trades

ROOT = Path(__file__).parents[2]
STREAMS = ("raw_trades", "events")
KILLED = -9

Lineage = Counter[tuple[str, str, int, int]]


class Workers:
    """tests.stages.worker in a process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.stages.worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, folder: Path, **job: Any) -> tuple[list[int], list[dict[str, Any]]]:
        """Run a job; return how its processes ended, and their reports."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(msgspec.json.encode(Job(str(folder), **job)).decode() + "\n")
        self.process.stdin.flush()
        said: list[dict[str, Any]] = []
        for line in self.process.stdout:
            answer = json.loads(line) if line.startswith('{"') else {}  # log lines begin otherwise
            if "ended" in answer:
                return answer["ended"], said
            if "streams" in answer:
                said.append(answer["streams"])
        raise AssertionError("the worker ended")

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with closing(Workers()) as started:
        yield started


class Shop:
    """A bus with frames and empty tables, in a folder that processes share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.expected: Lineage = Counter()
        with closing(Tables(catalog_properties("", "", folder))) as tables:
            for name in ("raw_orderbook", "features", *STREAMS):
                tables.load(name)

    def publish(self, frames: int, *, epoch: str = "e", again: int = 10) -> None:
        """Publish frames of two streams, every tenth of them twice."""
        messages: list[Message] = []
        for seq in range(frames):
            made = {"events": events(2), "raw_trades": trades([2 * seq, 2 * seq + 1], epoch)}
            for name, rows in made.items():
                self.expected += Counter({(name, epoch, seq, row): 1 for row in (0, 1)})
                copies = 2 if seq % again == 0 else 1
                messages += [message(name, seq, rows, epoch=epoch)] * copies
        self.put(messages)

    def put(self, messages: list[Message]) -> None:
        made = topology()
        with closing(SqliteBus(self.folder / "bus.db")) as bus:
            bus.create(made.topics, made.subscriptions)
            for name in STREAMS:
                chosen = [each for each in messages if each.attributes["stream"] == name]
                if chosen:
                    bus.publish(name, chosen)

    def finish(self) -> WriteReport:
        """Run once more, when all leases are over."""
        with opened(self.folder, LateClock(3_600)) as stage:
            return stage.run_once()

    def found(self) -> Lineage:
        """Read the rows past all code under test."""
        properties = catalog_properties("", "", self.folder)
        counted: Lineage = Counter()
        with closing(load_catalog("quotewatch", **properties)) as catalog:
            for name in STREAMS:
                rows = rows_in(catalog.load_table(("quotewatch", name)))
                counted += Counter((name, row["epoch"], row["seq"], row["row"]) for row in rows)
        return counted

    def assert_each_once(self) -> None:
        assert self.found() == self.expected
        with (
            closing(Desk(self.folder)) as desk,
            closing(SqliteBus(self.folder / "bus.db", clock=LateClock(7_200))) as bus,
        ):
            for name in STREAMS:
                assert bus.backlog(f"{name}.write").messages == 0
                assert bus.backlog(f"{name}-dead.redrive").messages == 0
                epochs = desk.ledger(name).stream(name).epochs
                noted = {(e, seq) for e, entry in epochs.items() for seq in numbers(entry.done)}
                assert noted == {(e, seq) for stream, e, seq, _ in self.expected if stream == name}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


# kill -9

POINTS = [
    ("pull after", 1),  # the first pull is that of a stream without frames
    ("files before", 0),
    ("files after", 0),
    ("commit before", 0),
    ("commit after", 0),
    ("announce after", 0),
    ("ack before", 0),
    ("ack after", 0),  # between two streams
    ("commit before", 1),  # of the second stream
    ("commit after", 1),
    ("ack after", 1),
]


@pytest.mark.parametrize(("point", "passed"), POINTS, ids=str)
def test_killed_at_any_step_it_loses_nothing_and_stores_nothing_twice(
    workers: Workers, shop: Shop, point: str, passed: int
) -> None:
    shop.publish(3)
    ended, _ = workers.run(shop.folder, kill_at=point, kill_after=passed)
    assert ended == [KILLED]
    report = shop.finish()
    assert not report.failed
    shop.assert_each_once()


@pytest.mark.parametrize("point", ["quarantine before", "quarantine after", "commit after"])
def test_killed_around_putting_aside_it_keeps_one_copy(
    workers: Workers, shop: Shop, point: str
) -> None:
    shop.publish(1)
    bad = spoilt(message("raw_trades", 7, trades([99]), epoch="e"))
    shop.put([bad])
    ended, _ = workers.run(shop.folder, kill_at=point)
    assert ended == [KILLED]
    shop.finish()
    shop.assert_each_once()
    with closing(Desk(shop.folder)) as desk:
        assert [aside.message for aside in desk.quarantine.messages()] == [bad]
        known = desk.ledger("raw_trades").stream("raw_trades")
        assert known.know("e", 7) is Knowledge.QUARANTINED


def test_a_frame_that_kills_its_process_lets_all_others_through(
    workers: Workers, shop: Shop
) -> None:
    shop.publish(4, again=10)
    deadly = {each for each in shop.expected if each[2] == 0}
    stored = Counter({each: 1 for each in shop.expected if each not in deadly})
    for run in range(60):
        ended, _ = workers.run(shop.folder, deadly_seq=0, late_seconds=120 * run)
        assert ended == [KILLED]  # at the first stream that holds it
        if all(each in shop.found() for each in stored if each[0] == "raw_trades"):
            break
    found = Counter({each: n for each, n in shop.found().items() if each[0] == "raw_trades"})
    assert found == Counter({each: 1 for each in stored if each[0] == "raw_trades"})


# Several at once


@pytest.mark.parametrize("writers", [2, 4])
def test_several_writers_at_once_store_each_row_once(
    workers: Workers, shop: Shop, writers: int
) -> None:
    for epoch in ("e1", "e2"):
        shop.publish(20, epoch=epoch)
    ended, reports = workers.run(
        shop.folder, processes=writers, pull_messages=7, commit_rows=12, until_empty=True
    )
    assert ended == [0] * writers
    shop.finish()
    shop.assert_each_once()
    for name in STREAMS:
        inserted = sum(report[name]["inserted"] for report in reports)
        assert inserted == sum(1 for each in shop.expected if each[0] == name)


def test_some_of_them_are_killed_at_work(workers: Workers, shop: Shop) -> None:
    for epoch in ("e1", "e2"):
        shop.publish(20, epoch=epoch)
    job: dict[str, Any] = {"pull_messages": 5, "commit_rows": 10, "until_empty": True}
    ended, _ = workers.run(shop.folder, processes=3, kill_at="commit after", kill_after=2, **job)
    assert KILLED in ended
    ended, _ = workers.run(shop.folder, processes=2, **job)
    assert ended == [0, 0]
    shop.finish()
    shop.assert_each_once()


# A full disk


@pytest.mark.parametrize(
    ("point", "limit_bytes"),
    [("files", 500), ("change", 500), ("commit", 500), ("change", 6_000)],
    ids=["data file", "manifest", "metadata", "catalog"],
)
def test_on_a_full_disk_nothing_is_acked_and_rows_come_later(
    workers: Workers, shop: Shop, point: str, limit_bytes: int
) -> None:
    shop.publish(3)
    ended, [report] = workers.run(shop.folder, full_at=point, limit_bytes=limit_bytes)
    assert ended == [0]
    for name in STREAMS:
        assert re.search("disk full|disk I/O error", report[name]["error"])
        assert (report[name]["acked"], report[name]["inserted"]) == (0, 0)
        assert report[name]["failed"] == 8
    assert not shop.found()
    assert not shop.finish().failed
    shop.assert_each_once()
