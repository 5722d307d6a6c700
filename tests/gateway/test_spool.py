"""What was added and not removed comes back: what every kind of spool promises."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ingest_gateway.spool import DirectorySpool, Spool, open_spool
from quotewatch.errors import ObjectError, SpoolError
from tests.gateway.spools import frame, identities, open_in

Opener = Callable[[str], Spool]


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


def stored_frame_files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("raw_*") if path.is_file())


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
