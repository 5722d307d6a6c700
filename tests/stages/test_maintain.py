"""The stage: every table has its turn, whatever happens to the others or beside it."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from quotewatch.metrics.recorder import Recorder
from quotewatch.resources import Resources
from quotewatch.settings import load_settings
from quotewatch.stages import maintain
from quotewatch.stages.maintain import MaintainStage, TableReport
from quotewatch.tables import commit
from quotewatch.tables.commit import SNAPSHOTS_KEPT, Committer, read_ledger
from tests.tables.desk import (
    DAY_SECONDS,
    NOON_NS,
    NOON_S,
    DeskClock,
    RunningClock,
    assert_rows,
    data_files,
    frame,
    frames,
    open_desk,
    store,
    store_each,
)

YESTERDAY_S = NOON_S - DAY_SECONDS


@pytest.fixture
def clock() -> DeskClock:
    return DeskClock()


@pytest.fixture
def committer(tmp_path: Path, clock: DeskClock) -> Iterator[Committer]:
    with open_desk(tmp_path, clock) as opened:
        yield opened


@pytest.fixture
def stage(committer: Committer, clock: DeskClock) -> MaintainStage:
    return MaintainStage(committer, Recorder("test"), clock, orphan_hours=24)


def _age(folder: Path) -> None:
    for each in folder.rglob("*"):
        os.utime(each, (YESTERDAY_S - 1, YESTERDAY_S - 1))


def test_one_call_expires_sweeps_and_compacts(
    committer: Committer, stage: MaintainStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = frames("features", SNAPSHOTS_KEPT + 2, at_s=YESTERDAY_S)
    with monkeypatch.context() as patched:
        patched.setattr(commit, "SNAPSHOTS_KEPT", 1_000)
        store_each(committer, given)
    table = committer.tables.load("features")
    ledger = read_ledger(table)
    _age(Path(table.location()))
    orphan = Path(table.location(), "data", "orphan.parquet")
    orphan.write_text("12345")
    os.utime(orphan, (YESTERDAY_S - 1, YESTERDAY_S - 1))
    report = stage.run_once()
    features = report.tables["features"]
    assert (features.expired, features.groups, features.into_files) == (2, 1, 1)
    assert features.compacted_files == SNAPSHOTS_KEPT + 2
    assert not orphan.exists()
    assert features.swept_bytes > 5
    assert (features.skipped, features.error, report.failed) == (None, None, False)
    assert read_ledger(committer.tables.load("features")) == ledger
    assert_rows(committer, given)


def test_a_second_call_does_nothing(committer: Committer, stage: MaintainStage) -> None:
    store_each(committer, frames("events", 3, at_s=YESTERDAY_S))
    stage.run_once()
    before = committer.tables.load("events").metadata_location
    assert stage.run_once().tables == {"events": TableReport()}
    assert committer.tables.load("events").metadata_location == before


def test_tables_that_were_never_made_are_not_made(
    committer: Committer, stage: MaintainStage
) -> None:
    assert stage.run_once().tables == {}
    assert committer.tables.find("events") is None


@pytest.mark.parametrize("damage", ["{}", "", "no json"])
def test_a_table_that_fails_fails_the_call_and_holds_up_no_other(
    committer: Committer, stage: MaintainStage, damage: str
) -> None:
    store_each(committer, frames("raw_orderbook", 3, at_s=YESTERDAY_S))
    given = frames("events", 3, at_s=YESTERDAY_S)
    store_each(committer, given)
    Path(committer.tables.load("raw_orderbook").metadata_location).write_text(damage)
    report = stage.run_once()
    assert report.failed
    assert report.tables["raw_orderbook"].error is not None
    assert report.tables["events"].groups == 1
    assert report.tables["events"].error is None
    assert_rows(committer, given)


def test_a_data_file_that_is_gone_fails_the_table_and_changes_nothing(
    committer: Committer, stage: MaintainStage
) -> None:
    store_each(committer, frames("events", 3, at_s=YESTERDAY_S))
    table = committer.tables.load("events")
    Path(data_files(table)[0]).unlink()
    report = stage.run_once()
    assert "events" in str(report.tables["events"].error)
    assert committer.tables.load("events").metadata_location == table.metadata_location


def test_time_is_shared_and_what_is_left_is_said(
    committer: Committer, clock: DeskClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at the clock costs a second: nobody has time for eight groups."""
    for stream in ("features", "events"):
        days = [YESTERDAY_S - DAY_SECONDS * day for day in range(8)]
        store_each(committer, [frame(stream, seq, at_s=days[seq % 8]) for seq in range(16)])

    def monotonic(self: DeskClock) -> float:
        self.seconds += 1
        return self.seconds

    monkeypatch.setattr(DeskClock, "monotonic", monotonic)
    names = ("features", "events")
    stage = MaintainStage(
        committer, Recorder("test"), clock, orphan_hours=24, budget_seconds=16, names=names
    )
    report = stage.run_once()
    for name in names:
        assert report.tables[name].groups >= 1
        assert "groups left" in str(report.tables[name].skipped)
    assert not report.failed
    monkeypatch.undo()
    again = MaintainStage(
        committer, Recorder("test"), clock, orphan_hours=24, names=names
    ).run_once()
    assert all(each.skipped is None for each in again.tables.values())


def test_a_writer_is_not_disturbed(tmp_path: Path) -> None:
    clock = RunningClock()
    given = [frame("events", seq, at_s=YESTERDAY_S - DAY_SECONDS * (seq % 2)) for seq in range(20)]
    done = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            with open_desk(tmp_path, clock) as own:
                store_each(own, given)
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)
        finally:
            done.set()

    writer = threading.Thread(target=write)
    writer.start()
    with open_desk(tmp_path, clock) as own:
        stage = MaintainStage(own, Recorder("test"), clock, orphan_hours=24)
        reports = [stage.run_once()]
        while not done.is_set():
            reports.append(stage.run_once())
        writer.join()
        reports.append(stage.run_once())
        assert failures == []
        assert not any(each.failed for each in reports)
        assert_rows(own, given)
        assert store(own, given).inserted == 0
        assert len(data_files(own.tables.load("events"))) == 2


_KILLED = """
import os, signal, sys
from pathlib import Path
from quotewatch.metrics.recorder import Recorder
from quotewatch.stages.maintain import MaintainStage
from quotewatch.tables import upkeep
from tests.tables.desk import DeskClock, desk

write_files = upkeep.write_files

def killed(*given):
    write_files(*given)
    os.kill(os.getpid(), signal.SIGKILL)

upkeep.write_files = killed
MaintainStage(
    desk(Path(sys.argv[1])), Recorder("test"), DeskClock(), orphan_hours=24
).run_once()
"""


def test_what_a_killed_run_leaves_is_swept_once_it_is_old(
    committer: Committer, stage: MaintainStage, clock: DeskClock, tmp_path: Path
) -> None:
    given = frames("events", 3, at_s=YESTERDAY_S)
    store_each(committer, given)
    killed = subprocess.run([sys.executable, "-c", _KILLED, tmp_path], check=False)
    assert killed.returncode == -signal.SIGKILL
    folder = Path(committer.tables.load("events").location())
    live = {Path(each).name for each in data_files(committer.tables.load("events"))}
    (orphan,) = [each for each in (folder / "data").iterdir() if each.name not in live]
    assert stage.run_once().tables["events"].groups == 1
    assert orphan.exists()  # it might belong to a run that is still at it
    clock.ns = orphan.stat().st_mtime_ns + 24 * 3_600 * 10**9 + 1
    assert stage.run_once().tables["events"].swept_files >= 1
    assert not orphan.exists()
    assert_rows(committer, given)


def test_the_settings_decide_when_an_orphan_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUOTEWATCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("QUOTEWATCH_ORPHAN_HOURS", "1")
    clock = DeskClock()
    resources = Resources(load_settings(), clock)
    try:
        store(resources.committer, frames("events", 1))
        orphan = Path(resources.tables.load("events").location(), "data", "orphan.parquet")
        orphan.write_text("12345")
        clock.ns = orphan.stat().st_mtime_ns + 3_599 * 10**9
        assert maintain.build(resources).run_once().tables["events"].swept_files == 0
        clock.ns += 2 * 10**9
        report = maintain.build(resources).run_once()
    finally:
        resources.close()
    assert report.tables["events"].swept_files >= 1
    assert not orphan.exists()
    assert report.plain()["tables"]["events"]["swept_files"] >= 1


def test_the_clock_of_the_desk_is_behind_the_files(clock: DeskClock, tmp_path: Path) -> None:
    """What these tests write is young unless they say otherwise."""
    (tmp_path / "file").touch()
    assert (tmp_path / "file").stat().st_mtime_ns > clock.now_ns() == NOON_NS
