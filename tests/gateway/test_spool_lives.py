"""Whatever happens to a spool in whatever order, exactly what is owed comes back."""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.gateway.spools import frame, open_in

if TYPE_CHECKING:
    from ingest_gateway.spool import SpooledFrame


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
