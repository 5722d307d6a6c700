"""Spools in a directory: real processes, real limits of a disk."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from ingest_gateway.directory_spool import SYNC_FRAMES, DirectorySpool
from quotewatch.errors import SpoolError, is_retryable
from tests.gateway.spools import frame, identities

ROOT = Path(__file__).parents[2]


def add_forever(root: str, epoch: str) -> None:
    """Run in a child: add frames and say so after each, until killed."""
    spool = DirectorySpool(Path(root), epoch)
    seq = 0
    while True:
        spool.add(frame(seq, epoch=epoch, size=300_000))
        os.write(1, f"{seq}\n".encode())
        seq += 1


@contextmanager
def child(call: str) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    code = f"from tests.gateway import test_directory_spool as spool; spool.{call}"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout
        finally:
            process.kill()


def test_kill_9_while_adding_loses_no_frame_whose_add_returned(tmp_path: Path) -> None:
    for life, acknowledged in enumerate((1, 4, 9, 33)):
        epoch = f"life-{life}"
        witness = DirectorySpool(tmp_path, f"witness-{life}")
        with child(f"add_forever({str(tmp_path)!r}, {epoch!r})") as (process, said):
            lines = [said.readline() for _ in range(acknowledged)]
            assert list(witness.leftovers()) == []  # the child lives: its frames are its own
            assert witness.crashed_epochs() == []
            process.send_signal(signal.SIGKILL)
            lines += said.readlines()
            process.wait()
        returned = [int(line) for line in lines if line.endswith(b"\n")]

        left = list(witness.leftovers())
        # One more may have been kept whose `add` had no time to return.
        assert [one.seq for one in left][: len(returned)] == returned
        assert len(left) <= len(returned) + 1
        assert left == [frame(one.seq, epoch=epoch, size=300_000) for one in left]
        assert (witness.crashed_epochs(), witness.bad_frames) == ([epoch], 0)
        assert list(tmp_path.rglob("*.tmp")) == []
        for one in left:
            witness.forget(one)
        witness.acknowledge_crash(epoch)
        witness.close(clean=True)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def add_beyond_the_limit(root: str) -> None:
    """Run in a child: the kernel stops a write half-way, as on a full disk."""
    spool = DirectorySpool(Path(root), "e1")
    spool.add(frame(0))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    with pytest.raises(SpoolError, match="free space") as refused:
        spool.add(frame(1, size=100_000))
    assert is_retryable(refused.value)
    assert spool.pending_frames() == 1
    names = sorted(path.name for path in (Path(root) / "e1").iterdir())
    assert names == ["open", "raw_trades.000000000000.frame"]
    spool.add(frame(2))  # a small one still fits
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    spool.add(frame(1, size=100_000))
    spool.close(clean=True)


def test_a_full_disk_refuses_the_frame_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    with child(f"add_beyond_the_limit({str(tmp_path)!r})") as (process, _):
        assert process.wait() == 0
    spool = DirectorySpool(tmp_path, "e2")
    assert list(spool.leftovers()) == [frame(0), frame(1, size=100_000), frame(2)]
    spool.close(clean=True)


def test_a_disk_that_does_not_start_is_a_spool_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match="cannot start"):
        DirectorySpool(tmp_path / "file", "e1")


def test_two_living_gateways_leave_each_other_alone(tmp_path: Path) -> None:
    one, two = DirectorySpool(tmp_path, "e1"), DirectorySpool(tmp_path, "e2")
    one.add(frame(0))
    assert list(two.leftovers()) == []
    two.forget(frame(0))
    two.acknowledge_crash("e1")
    one.close(clean=False)
    assert list(two.leftovers()) == [frame(0)]
    assert two.crashed_epochs() == ["e1"]
    two.close(clean=True)


def test_one_gateway_at_a_time_takes_a_dead_epoch(tmp_path: Path) -> None:
    dead = DirectorySpool(tmp_path, "e0")
    dead.add(frame(0, epoch="e0"))
    dead.close(clean=False)
    one, two = DirectorySpool(tmp_path, "e1"), DirectorySpool(tmp_path, "e2")
    assert identities(one) == [("e0", "raw_trades", 0)]
    assert identities(two) == []
    one.close(clean=True)  # without having published it
    assert identities(two) == [("e0", "raw_trades", 0)]
    two.close(clean=True)


def test_an_epoch_lives_once(tmp_path: Path) -> None:
    first = DirectorySpool(tmp_path, "e1")
    with pytest.raises(SpoolError, match="a living process has this epoch"):
        DirectorySpool(tmp_path, "e1")
    first.close(clean=False)
    with pytest.raises(SpoolError, match="File exists"):
        DirectorySpool(tmp_path, "e1")


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "warehouse").mkdir()
    (tmp_path / "warehouse" / "half.tmp").touch()
    spool = DirectorySpool(tmp_path, "e1")
    assert list(spool.leftovers()) == []
    spool.close(clean=True)
    assert (tmp_path / "warehouse" / "half.tmp").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "warehouse"]


def test_what_a_killed_process_had_begun_is_cleaned_up(tmp_path: Path) -> None:
    DirectorySpool(tmp_path, "e1").close(clean=True)
    (tmp_path / "e2.lock").touch()  # killed before its folder
    (tmp_path / "e3.lock").touch()
    (tmp_path / "e3").mkdir()  # killed before its marker
    (tmp_path / "e3" / "raw_trades.000000000000.tmp").write_bytes(b"half")
    spool = DirectorySpool(tmp_path, "e4")
    assert spool.crashed_epochs() == []
    spool.close(clean=True)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_frames_reach_the_disk_only_once_they_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = DirectorySpool(tmp_path, "e1")
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    for seq in range(3 * SYNC_FRAMES):  # a healthy bus
        spool.add(frame(seq))
        spool.remove("raw_trades", seq)
    assert flushed == []
    for seq in range(SYNC_FRAMES + 1):  # a bus that is down
        spool.add(frame(seq))
    assert len(flushed) == SYNC_FRAMES + 1  # the frames and their folder
    spool.close(clean=True)


def test_a_frame_that_cannot_be_read_now_stays_for_later(tmp_path: Path) -> None:
    dead = DirectorySpool(tmp_path, "e1")
    dead.add(frame(0))
    dead.close(clean=False)
    (file,) = tmp_path.glob("e1/*.frame")
    kept = file.rename(tmp_path / "kept")
    file.mkdir()  # reading it fails as a bad disk does: with an OSError
    spool = DirectorySpool(tmp_path, "e2")
    with pytest.raises(SpoolError, match="tried again"):
        identities(spool)
    file.rmdir()
    kept.rename(file)
    assert identities(spool) == [("e1", "raw_trades", 0)]
    assert spool.bad_frames == 0
    spool.close(clean=True)
