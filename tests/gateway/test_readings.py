"""What the gateway reads off itself, at its end."""

import asyncio
from pathlib import Path

from tests.gateway.running import feed, running, settings_for
from tests.gateway.test_outbox_days import FlakyBus, busy
from tests.metrics.exported import exported, one

AT_REST = ("gateway_queue_bytes", "gateway_spool_frames", "gateway_connections_open")


def test_after_the_end_nothing_waits_and_nothing_is_connected(tmp_path: Path) -> None:
    async def scenario() -> None:
        bus = FlakyBus(tmp_path / "bus.db")
        async with feed(busy) as url, running(tmp_path, settings_for(url), bus=bus) as gateway:
            value = gateway.recorder.value
            await gateway.until(lambda: all(value(name) for name in AT_REST))
            bus.down = False
        for name in AT_REST:
            assert exported(gateway.recorder)[name] == one(0)
        bus.close()

    asyncio.run(scenario())
