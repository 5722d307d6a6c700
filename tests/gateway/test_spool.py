"""What was added and not removed comes back, whatever kills the gateway."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from structlog.testing import capture_logs

from ingest_gateway.spool import (
    SYNC_FRAMES,
    DirectorySpool,
    ObjectSpool,
    Spool,
    SpooledFrame,
    open_spool,
)
from quotewatch.bus.port import Message
from quotewatch.errors import ObjectError, ObjectStoreUnavailableError, SpoolError, is_retryable
from quotewatch.objects.local import LocalObjects

ROOT = Path(__file__).parents[2]
Opener = Callable[[str], Spool]


def frame(
    seq: int, *, stream: str = "raw_trades", epoch: str = "e1", size: int = 40
) -> SpooledFrame:
    body = f"{stream} {epoch} {seq} ".encode() * (size // 10)
    attributes = {"stream": stream, "epoch": epoch, "seq": str(seq), "producer": "gäteway"}
    return SpooledFrame(stream, epoch, seq, Message(body, attributes))


def identities(spool: Spool) -> list[tuple[str, str, int]]:
    return [(left.epoch, left.stream, left.seq) for left in spool.leftovers()]


@pytest.fixture(params=["directory", "objects"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def spools(kind: str, tmp_path: Path) -> Iterator[Opener]:
    """Open epochs that share one place; what is still open at the end is closed."""
    opened: list[Spool] = []

    def opener(epoch: str) -> Spool:
        opened.append(open_in(kind, tmp_path, epoch))
        return opened[-1]

    yield opener
    for spool in opened:
        spool.close(clean=False)


def open_in(kind: str, root: Path, epoch: str) -> Spool:
    if kind == "directory":
        return DirectorySpool(root, epoch)
    return ObjectSpool(LocalObjects(root), "spool", epoch)


def stored_frame_files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("raw_*") if path.is_file())


# What both kinds promise


def test_frames_of_a_crashed_epoch_come_back_as_they_were(spools: Opener) -> None:
    first = spools("e1")
    kept = [frame(0), frame(1), frame(7, stream="features")]
    for one in kept:
        first.add(one)
    first.close(clean=False)
    assert sorted(spools("e2").leftovers(), key=lambda left: left.seq) == kept


def test_frames_left_at_a_clean_stop_come_back_without_a_crash(spools: Opener) -> None:
    first = spools("e1")
    first.add(frame(3))
    first.close(clean=True)
    second = spools("e2")
    assert list(second.leftovers()) == [frame(3)]
    assert second.crashed_epochs() == []


def test_a_removed_frame_does_not_come_back(spools: Opener) -> None:
    first = spools("e1")
    for seq in range(3):
        first.add(frame(seq))
    first.remove("raw_trades", 1)
    first.close(clean=False)
    assert identities(spools("e2")) == [("e1", "raw_trades", 0), ("e1", "raw_trades", 2)]


def test_a_frame_can_be_read_again_until_it_is_removed(spools: Opener, tmp_path: Path) -> None:
    spool = spools("e1")
    spool.add(frame(4))
    assert spool.read("raw_trades", 4) == frame(4)
    stored_frame_files(tmp_path)[0].write_bytes(b"torn")
    with pytest.raises(SpoolError, match="damaged"):
        spool.read("raw_trades", 4)
    assert spool.bad_frames == 1
    spool.remove("raw_trades", 4)
    with pytest.raises(SpoolError, match="is not here"):
        spool.read("raw_trades", 4)


def test_threads_may_add_remove_forget_and_acknowledge_at_once(spools: Opener) -> None:
    old = spools("e0")
    for seq in range(8):
        old.add(frame(seq, epoch="e0"))
    old.close(clean=False)
    spool = spools("e1")
    left = list(spool.leftovers())
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(spool.forget, one) for one in left * 2]
        calls += [threads.submit(spool.acknowledge_crash, "e0") for _ in range(4)]
        calls += [threads.submit(spool.add, frame(seq)) for seq in [*range(100), *range(100)]]
        for call in calls:
            call.result()
        calls = [threads.submit(spool.remove, "raw_trades", seq) for seq in range(99)]
        for call in calls:
            call.result()
    assert (spool.pending_frames(), spool.crashed_epochs(), list(spool.leftovers())) == (1, [], [])
    assert spool.read("raw_trades", 99) == frame(99)


def test_removing_an_unknown_frame_changes_nothing(spools: Opener) -> None:
    spool = spools("e1")
    spool.add(frame(0))
    spool.remove("raw_trades", 99)
    spool.remove("features", 0)
    assert spool.pending_frames() == 1


def test_leftovers_come_by_epoch_then_stream_then_seq(spools: Opener) -> None:
    wanted = [
        ("e1", "raw_trades", 10**12),
        ("e2", "features", 2),
        ("e2", "features", 10**12 - 1),
        ("e2", "features", 10**12),
        ("e2", "features-dead", 0),
        ("e2", "features@500", 0),
        ("e2", "raw_trades", 1),
    ]
    for epoch in ("e2", "e1"):
        spool = spools(epoch)
        for _, stream, seq in reversed([one for one in wanted if one[0] == epoch]):
            spool.add(frame(seq, stream=stream, epoch=epoch))
        spool.close(clean=True)
    assert identities(spools("e3")) == wanted


def test_forgetting_a_leftover_lets_go_of_that_one_only(spools: Opener) -> None:
    first = spools("e1")
    first.add(frame(0))
    first.add(frame(1))
    first.close(clean=True)
    second = spools("e2")
    second.forget(next(second.leftovers()))
    second.forget(frame(0))  # a second time: nothing happens
    assert identities(second) == [("e1", "raw_trades", 1)]


def test_leftovers_can_be_forgotten_while_they_are_listed(spools: Opener) -> None:
    for epoch in ("e1", "e2"):
        spool = spools(epoch)
        for seq in range(5):
            spool.add(frame(seq, epoch=epoch))
        spool.close(clean=True)
    third = spools("e3")
    seen = 0
    for left in third.leftovers():
        third.forget(left)
        seen += 1
    assert seen == 10
    assert identities(third) == []


def test_own_frames_are_no_leftovers(spools: Opener) -> None:
    spool = spools("e1")
    spool.add(frame(0))
    assert list(spool.leftovers()) == []
    assert spool.crashed_epochs() == []


def test_a_crash_is_named_until_it_is_acknowledged(spools: Opener) -> None:
    spools("e1").close(clean=False)
    second = spools("e2")
    assert second.crashed_epochs() == ["e1"]
    second.close(clean=False)
    third = spools("e3")
    assert third.crashed_epochs() == ["e1", "e2"]
    third.acknowledge_crash("e1")
    assert third.crashed_epochs() == ["e2"]
    third.acknowledge_crash("e2")
    third.close(clean=True)
    assert spools("e4").crashed_epochs() == []


def test_acknowledging_a_crash_keeps_its_frames(spools: Opener) -> None:
    first = spools("e1")
    first.add(frame(0))
    first.close(clean=False)
    second = spools("e2")
    assert second.crashed_epochs() == ["e1"]
    second.acknowledge_crash("e1")
    assert list(second.leftovers()) == [frame(0)]


def test_pending_counts_what_this_epoch_holds(spools: Opener) -> None:
    spool = spools("e1")
    assert (spool.pending_frames(), spool.pending_bytes()) == (0, 0)
    spool.add(frame(0, size=1_000))
    alone = spool.pending_bytes()
    assert alone > len(frame(0, size=1_000).message.data)
    spool.add(frame(1, size=1_000))
    spool.add(frame(1, size=1_000))  # tried again: the same frame, counted once
    assert (spool.pending_frames(), spool.pending_bytes()) == (2, 2 * alone)
    spool.remove("raw_trades", 0)
    spool.remove("raw_trades", 1)
    assert (spool.pending_frames(), spool.pending_bytes()) == (0, 0)


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_bodies_of_any_size_survive(spools: Opener, size: int) -> None:
    first = spools("e1")
    first.add(frame(0, size=size))
    first.close(clean=True)
    assert list(spools("e2").leftovers()) == [frame(0, size=size)]


def damaged(whole: bytes) -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "torn in the preface", whole[:9]
    yield "torn in the header", whole[:30]
    yield "torn in the body", whole[:-1]
    yield "longer", whole + b"\0"
    yield "a body bit flipped", whole[:-1] + bytes([whole[-1] ^ 1])
    yield "a header bit flipped", whole[:20] + bytes([whole[20] ^ 4]) + whole[21:]
    yield "a header length changed", whole[:15] + bytes([whole[15] ^ 1]) + whole[16:]
    yield "foreign", b"x" * 500


DAMAGES = [name for name, _ in damaged(b"x" * 100)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_frame_is_set_aside_reported_and_never_fatal(
    spools: Opener, tmp_path: Path, damage: str
) -> None:
    first = spools("e1")
    for seq in range(3):
        first.add(frame(seq))
    first.close(clean=True)
    victim = stored_frame_files(tmp_path)[1]
    broken = dict(damaged(victim.read_bytes()))[damage]
    victim.write_bytes(broken)

    second = spools("e2")
    with capture_logs() as logs:
        assert identities(second) == [("e1", "raw_trades", 0), ("e1", "raw_trades", 2)]
    assert [line["event"] for line in logs] == ["spool_frame_bad"]
    assert str(logs[0]["place"]).endswith(victim.name)
    assert second.bad_frames == 1
    aside = victim.with_name(f"{victim.name}.bad")
    assert (victim.exists(), aside.read_bytes()) == (False, broken)
    assert len(identities(second)) == 2  # met once, not again
    assert second.bad_frames == 1


def test_a_frame_under_another_ones_name_is_set_aside(spools: Opener, tmp_path: Path) -> None:
    first = spools("e1")
    first.add(frame(0))
    first.close(clean=True)
    stored = stored_frame_files(tmp_path)[0]
    shutil.copy(stored, stored.with_name(stored.name.replace("000000000000", "000000000005")))
    second = spools("e2")
    assert identities(second) == [("e1", "raw_trades", 0)]
    assert second.bad_frames == 1


def test_a_frame_of_another_epoch_is_a_mistake(spools: Opener) -> None:
    with pytest.raises(ValueError, match="is of epoch e9, not e1"):
        spools("e1").add(frame(0, epoch="e9"))


@pytest.mark.parametrize("stream", ["", "a/b", "../a", "a.b", "a b"])
def test_a_stream_that_is_no_file_name_is_a_mistake(spools: Opener, stream: str) -> None:
    with pytest.raises(ValueError, match="not an identity"):
        spools("e1").add(frame(0, stream=stream))


@pytest.mark.parametrize("epoch", ["", "..", "a/b", "a.b"])
def test_an_epoch_that_is_no_file_name_is_a_mistake(spools: Opener, epoch: str) -> None:
    with pytest.raises(ValueError, match="epoch"):
        spools(epoch)


def test_closing_twice_is_closing_once(spools: Opener) -> None:
    spool = spools("e1")
    spool.close(clean=True)
    spool.close(clean=True)
    assert spools("e2").crashed_epochs() == []


# Directories: real processes, real limits


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
    code = f"from tests.gateway import test_spool; test_spool.{call}"
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


def test_who_is_eager(tmp_path: Path) -> None:
    kinds = [open_in("directory", tmp_path / "d", "e1"), open_in("objects", tmp_path / "o", "e1")]
    assert [spool.eager for spool in kinds] == [True, False]
    for spool in kinds:
        spool.close(clean=True)


def test_a_spool_opens_by_its_url(tmp_path: Path) -> None:
    for url in (str(tmp_path / "a"), f"file://{tmp_path}/b"):
        spool = open_spool(url, "e1")
        assert isinstance(spool, DirectorySpool)
        spool.close(clean=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    with pytest.raises(ObjectError, match="cannot be opened"):
        open_spool("s3://bucket/spool", "e1")


# Objects: a store that does not answer


class SilentObjects(LocalObjects):
    """A store that can be told to fail, before or after it has done what was asked."""

    fails = ""

    def create(self, name: str, data: bytes) -> int:
        if self.fails == "before":
            raise ObjectStoreUnavailableError("no answer")
        generation = super().create(name, data)
        if self.fails == "after":
            raise ObjectStoreUnavailableError("no answer")
        return generation

    def delete(self, name: str) -> None:
        if self.fails:
            raise ObjectStoreUnavailableError("no answer")
        super().delete(name)


def test_a_store_that_is_down_is_a_spool_error_to_try_again(tmp_path: Path) -> None:
    store = SilentObjects(tmp_path)
    spool = ObjectSpool(store, "spool", "e1")
    store.fails = "before"
    with pytest.raises(SpoolError, match="not kept"):
        spool.add(frame(0))
    assert spool.pending_frames() == 0
    store.fails = ""
    spool.add(frame(0))
    assert spool.pending_frames() == 1
    store.fails = "before"
    with pytest.raises(SpoolError, match="not removed"):
        spool.remove("raw_trades", 0)
    assert spool.pending_frames() == 1


@pytest.mark.parametrize("again", [True, False])
def test_a_frame_stored_without_an_answer_is_kept_once_and_removable(
    tmp_path: Path, again: bool
) -> None:
    store = SilentObjects(tmp_path)
    spool = ObjectSpool(store, "", "e1")
    store.fails = "after"
    with pytest.raises(SpoolError):
        spool.add(frame(0))
    store.fails = ""
    other = ObjectSpool(store, "", "e2")
    assert list(other.leftovers()) == [frame(0)]
    if again:
        spool.add(frame(0))
        assert spool.pending_frames() == 1
    spool.remove("raw_trades", 0)
    assert list(other.leftovers()) == []
    assert spool.pending_frames() == 0


def test_removing_a_frame_that_was_never_added_asks_nobody(tmp_path: Path) -> None:
    store = SilentObjects(tmp_path)
    spool = ObjectSpool(store, "spool", "e1")
    store.fails = "before"
    spool.remove("raw_trades", 0)


def test_whoever_starts_gets_the_frames_of_a_living_neighbour_too(tmp_path: Path) -> None:
    one = ObjectSpool(LocalObjects(tmp_path), "spool", "e1")
    one.add(frame(0))
    two = ObjectSpool(LocalObjects(tmp_path), "spool", "e2")
    (left,) = two.leftovers()
    two.forget(left)
    one.remove("raw_trades", 0)  # gone already: nothing happens
    assert (one.pending_frames(), identities(two)) == (0, [])


def test_prefixes_keep_spools_apart(tmp_path: Path) -> None:
    one = ObjectSpool(LocalObjects(tmp_path), "spool", "e1")
    one.add(frame(0))
    assert identities(ObjectSpool(LocalObjects(tmp_path), "spoo", "e2")) == []
    assert identities(ObjectSpool(LocalObjects(tmp_path), "/spool/", "e2")) != []


# Whatever happens in whatever order


class SpoolLives(RuleBasedStateMachine):
    """Add, remove, crash, stop, re-publish: what must be there is what was added and not let go."""

    kind = "directory"

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.lives = 0
        self.owed: dict[tuple[str, str, int], SpooledFrame] = {}  # what the bus has not got
        self.crashed: set[str] = set()
        self.start()

    def start(self) -> None:
        self.epoch = f"epoch-{self.lives:03d}"
        self.lives += 1
        self.spool = open_in(self.kind, self.root, self.epoch)

    @rule(stream=st.sampled_from(["features", "raw_trades"]), seq=st.integers(0, 9))
    def add(self, stream: str, seq: int) -> None:
        one = frame(seq, stream=stream, epoch=self.epoch)
        self.spool.add(one)
        self.owed[self.epoch, stream, seq] = one

    @rule(stream=st.sampled_from(["features", "raw_trades"]), seq=st.integers(0, 9))
    def remove(self, stream: str, seq: int) -> None:
        self.spool.remove(stream, seq)
        self.owed.pop((self.epoch, stream, seq), None)

    @rule(clean=st.booleans())
    def end_and_start(self, clean: bool) -> None:
        self.spool.close(clean=clean)
        self.crashed |= set() if clean else {self.epoch}
        self.start()

    @rule(count=st.integers(1, 3))
    def publish_leftovers(self, count: int) -> None:
        for left, _ in zip(self.spool.leftovers(), range(count), strict=False):
            self.spool.forget(left)
            assert self.owed.pop((left.epoch, left.stream, left.seq)) == left

    @precondition(lambda self: self.crashed)
    @rule()
    def acknowledge(self) -> None:
        self.spool.acknowledge_crash(min(self.crashed))
        self.crashed.remove(min(self.crashed))

    @invariant()
    def nothing_is_lost_and_nothing_else_comes_back(self) -> None:
        old = {key: one for key, one in self.owed.items() if key[0] != self.epoch}
        assert list(self.spool.leftovers()) == [old[key] for key in sorted(old)]
        assert self.spool.crashed_epochs() == sorted(self.crashed)
        assert self.spool.pending_frames() == len(self.owed) - len(old)

    def teardown(self) -> None:
        self.spool.close(clean=False)
        shutil.rmtree(self.root)


class ObjectSpoolLives(SpoolLives):
    kind = "objects"


LIVES = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestDirectoryLives = SpoolLives.TestCase
TestDirectoryLives.settings = LIVES
TestObjectLives = ObjectSpoolLives.TestCase
TestObjectLives.settings = LIVES
