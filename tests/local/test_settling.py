"""The end of a run: what somebody held when it died is waited for, and nothing is lost by that."""

from contextlib import closing
from pathlib import Path

from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import PREDICT, topology
from quotewatch.local.settling import settle
from quotewatch.local.stack import own_settings
from tests.tables.frames import message, row_of


def test_a_frame_that_comes_again_later_is_answered_before_the_end(tmp_path: Path) -> None:
    settings = own_settings(tmp_path)
    made = topology()
    with closing(SqliteBus(settings.bus_path)) as bus:
        bus.create(made.topics, made.subscriptions)
        for seq in range(2):
            bus.publish("features", [message("features", seq, [row_of("features")] * 3)])
        failed = bus.pull(PREDICT, max_messages=2)
        bus.release(PREDICT, [each.ack_id for each in failed], delay_seconds=2)
        settled = settle(settings, bus, heal_seconds=0.1)
    assert settled.losses == ()
    assert settled.missing["predictions"] == 0
