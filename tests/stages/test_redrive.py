"""`redrive` stores what was put aside once it can be read, and says why the rest stays."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.exceptions import ServiceUnavailableError

from quotewatch import draining as drains
from quotewatch.bus.port import Message
from quotewatch.bus.topology import dead_letter_topic
from quotewatch.errors import FrameError
from quotewatch.frames import Frame
from quotewatch.stages import redrive as redrives
from quotewatch.streams import SCHEMA_VERSION
from quotewatch.tables import intake as intakes
from quotewatch.tables.ledger import Knowledge
from tests.tables.frames import (
    EPOCH,
    Desk,
    Faults,
    assert_each_once,
    events,
    message,
    spoilt,
    trades,
)

EVENT = message("events", 0, events(2))
LINEAGE = [(EPOCH, 0, 0), (EPOCH, 0, 1)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with closing(Desk(tmp_path)) as made:
        yield made.open()


@pytest.fixture
def old_version(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Put EVENT aside by a version that cannot read it; undo it to deploy one that can."""

    def refuse(_: Message) -> Frame:
        raise FrameError("this version cannot read it")

    for module in (drains, redrives):
        monkeypatch.setattr(module, "frame_of", refuse)
    desk.publish(EVENT)
    assert desk.write().streams["events"].quarantined == 1
    return monkeypatch


def known(desk: Desk) -> Knowledge:
    return desk.ledger("events").stream("events").know(EPOCH, 0)


def test_nothing_to_do_is_said(desk: Desk) -> None:
    report = desk.redrive()
    assert (report.found, report.failed) == (0, False)


def test_what_can_be_read_now_is_stored_and_leaves(
    desk: Desk, old_version: pytest.MonkeyPatch
) -> None:
    assert known(desk) is Knowledge.QUARANTINED
    old_version.undo()
    report = desk.redrive()
    assert (report.found, report.redriven, report.inserted, report.left) == (1, 1, 2, {})
    assert known(desk) is Knowledge.DONE
    assert list(desk.quarantine.messages()) == []
    assert_each_once(desk, "events", LINEAGE)
    assert desk.redrive().found == 0


def test_what_still_cannot_be_read_stays_and_says_why(
    desk: Desk, old_version: pytest.MonkeyPatch
) -> None:
    report = desk.redrive()
    [aside] = desk.quarantine.messages()
    assert report.failed
    assert report.left == {aside.name: "this version cannot read it"}
    assert (report.redriven, known(desk)) == (0, Knowledge.QUARANTINED)
    old_version.undo()
    assert desk.redrive().inserted == 2


@pytest.mark.parametrize(
    "bad",
    [
        spoilt(EVENT),
        Message(EVENT.data),
        message("raw_trades", 0, trades([-1])),
        message("events", 0, events(1), schema=SCHEMA_VERSION + 1),
    ],
    ids=["not arrow", "no attributes", "a negative trade", "a newer schema"],
)
def test_what_no_table_can_take_stays(desk: Desk, bad: Message) -> None:
    desk.quarantine.put("events", bad, 1, "reason")
    good = message("events", 1, events(1))
    desk.quarantine.put("events", good, 1, "reason")
    report = desk.redrive()
    assert (report.found, report.redriven, len(report.left)) == (2, 1, 1)
    assert [aside.message for aside in desk.quarantine.messages()] == [bad]
    assert not desk.write().failed  # no table was spoilt by it


def test_a_mistake_of_ours_costs_one_message(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[[Message], Frame] = intakes.frame_of

    def frame_of(given: Message) -> Frame:
        if given.attributes["seq"] == "0":
            raise ZeroDivisionError("a mistake in the program")
        return real(given)

    monkeypatch.setattr(redrives, "frame_of", frame_of)
    for seq in range(3):
        desk.quarantine.put("events", message("events", seq, events(1)), 1, "reason")
    report = desk.redrive()
    assert report.redriven == 2
    assert list(report.left.values()) == ["ZeroDivisionError: a mistake in the program"]


def test_a_frame_on_the_wrong_topic_goes_where_it_belongs(desk: Desk) -> None:
    desk.publish(EVENT, topic="features")
    assert desk.write().streams["features"].quarantined == 1
    assert desk.redrive().inserted == 2
    assert_each_once(desk, "events", LINEAGE)
    assert desk.rows("features") == []


def test_killed_between_the_commit_and_the_removal_it_stores_nothing_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.quarantine.put("events", EVENT, 1, "reason")

    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(desk.quarantine, "remove", killed)
        with pytest.raises(Killed):
            desk.redrive()
    report = desk.redrive()
    assert (report.redriven, report.inserted, report.duplicate) == (1, 0, 2)
    assert list(desk.quarantine.messages()) == []
    assert_each_once(desk, "events", LINEAGE)


def test_what_came_meanwhile_by_the_bus_is_not_stored_again(
    desk: Desk, old_version: pytest.MonkeyPatch
) -> None:
    old_version.undo()
    desk.publish(EVENT)
    assert desk.write().streams["events"].inserted == 2
    assert desk.redrive().duplicate == 2
    assert_each_once(desk, "events", LINEAGE)


# Dead letters


def bury(desk: Desk, *messages: Message) -> None:
    for each in messages:
        desk.publish(each, topic=dead_letter_topic("events"))


def test_dead_letters_are_stored_and_acked(desk: Desk) -> None:
    bury(desk, EVENT, message("events", 1, events(1)), EVENT)
    report = desk.redrive()
    assert (report.found, report.redriven, report.inserted, report.duplicate) == (3, 3, 3, 2)
    assert desk.dead("events") == 0
    assert_each_once(desk, "events", [*LINEAGE, (EPOCH, 1, 0)])


def test_dead_letters_that_cannot_be_read_are_kept_and_tried_once_a_call(desk: Desk) -> None:
    bury(desk, spoilt(EVENT), EVENT, spoilt(message("events", 5, events(1))))
    for _ in range(2):
        report = desk.redrive()
        assert len(report.left) == 2
        assert all(place.startswith("events-dead.redrive ") for place in report.left)
        assert desk.dead("events") == 2
    assert_each_once(desk, "events", LINEAGE)


def test_a_catalog_that_is_away_does_not_make_it_go_round_for_ever(desk: Desk) -> None:
    """Each try outlasts the lease of the one before, which then comes again."""
    desk.tables.load("events")
    bury(desk, *[message("events", seq, events(1)) for seq in range(3)])
    Faults(desk.tables, *[("before", ServiceUnavailableError("503"))] * 100_000)
    report = desk.redrive()
    assert report.found <= 3
    assert report.failed
    assert desk.dead("events") == 3
