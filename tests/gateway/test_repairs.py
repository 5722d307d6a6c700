"""Nobody publishes while topics are being made: what is taken then would be dropped."""

import threading
from concurrent.futures import ThreadPoolExecutor

from ingest_gateway.repairs import Repairs
from quotewatch.errors import BusError

PATIENCE_SECONDS = 30.0
A_MOMENT = 0.05  # what must not happen is given this long to happen


def test_a_repair_waits_for_who_publishes_and_holds_up_who_would() -> None:
    repairing, end_repair = threading.Event(), threading.Event()

    def repair() -> bool:
        repairing.set()
        return end_repair.wait(PATIENCE_SECONDS)

    repairs = Repairs(repair)

    def publish() -> bool:
        with repairs.publishing():
            return end_repair.is_set()

    with ThreadPoolExecutor(2) as threads:
        with repairs.publishing() as repaired:
            mending = threads.submit(repairs.mend, repaired)
            assert not repairing.wait(A_MOMENT)
        assert repairing.wait(PATIENCE_SECONDS)
        publishing = threads.submit(publish)
        assert not publishing.done()
        end_repair.set()
        assert mending.result(PATIENCE_SECONDS) is True
        assert publishing.result(PATIENCE_SECONDS) is True


def test_one_repair_serves_all_who_were_refused_before_it() -> None:
    calls: list[str] = []

    def repair() -> bool:
        calls.append("repair")
        return True

    repairs = Repairs(repair)
    seen: list[int] = []
    for _ in range(4):
        with repairs.publishing() as repaired:
            seen.append(repaired)
    assert [repairs.mend(repaired) for repaired in seen] == [True] * 4
    assert calls == ["repair"]
    with repairs.publishing() as repaired:
        pass
    repairs.mend(repaired)  # refused again, after the repair
    assert calls == ["repair", "repair"]


def test_a_repair_that_does_not_work_says_so_and_is_tried_again() -> None:
    def fail() -> bool:
        raise BusError("refused")

    for repair in (lambda: False, fail):
        repairs = Repairs(repair)
        for _ in range(2):
            with repairs.publishing() as repaired:
                pass
            assert repairs.mend(repaired) is False
