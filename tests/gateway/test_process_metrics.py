"""What the gateway counts reaches Cloud Monitoring, its last values included."""

import asyncio
import signal
import time
from pathlib import Path

import grpc  # type: ignore[import-untyped]  # grpcio carries no types
import pytest

from ingest_gateway.__main__ import _exporting as exporting_until
from quotewatch.metrics.cloud_monitoring import Exporter
from tests.fakes.monitoring import MonitoringFake
from tests.gateway.processes import endless, process, until
from tests.gateway.running import feed
from tests.metrics.desk import open_desk
from tests.servers.prometheus import check_metrics

RECEIVED = "coinbase_messages_received_total"


def number(fake: MonitoringFake, name: str, **labels: str) -> float:
    value = fake.latest(name, **labels)
    assert isinstance(value, int | float)
    return value


def exporting(fake: MonitoringFake) -> dict[str, str]:
    return {"QUOTEWATCH_MONITORING": f"grpc://{fake.address}"}


def test_the_last_counts_are_exported_on_the_way_out(tmp_path: Path) -> None:
    sent: list[int] = []

    async def scenario(fake: MonitoringFake) -> float:
        async with (
            feed(endless(sent)) as url,
            process(tmp_path, url, **exporting(fake)) as gateway,
        ):
            await until(lambda: f'{RECEIVED}{{environment="local",type="l2update"}}'
                        in gateway.get("/metrics")[1])  # fmt: skip
            assert check_metrics(gateway.get("/metrics")[1].encode()) == []
            began = time.monotonic()
            assert await gateway.end(signal.SIGTERM) == 0
            return time.monotonic() - began

    with MonitoringFake() as fake:
        seconds = asyncio.run(scenario(fake))
        rows = number(fake, "gateway_rows_total", stream="raw_orderbook")
        assert rows == sum(number(fake, RECEIVED, type=kind) for kind in ("l2update", "snapshot"))
        assert number(fake, "gateway_queue_bytes") == 0
        assert number(fake, "gateway_events_total", kind="final") > 0
        assert fake.refusals == []
    assert seconds < 10, "the platform kills after ten seconds"


@pytest.mark.parametrize("bad_day", ["slow", "down", "denied"])
def test_a_gateway_leaves_in_time_whatever_monitoring_does(tmp_path: Path, bad_day: str) -> None:
    sent: list[int] = []

    async def scenario(fake: MonitoringFake) -> tuple[float, int]:
        async with (
            feed(endless(sent)) as url,
            process(tmp_path, url, **exporting(fake)) as gateway,
        ):
            await until(lambda: len(sent) > 100 and gateway.lines("snapshot"))
            began = time.monotonic()
            code = await gateway.end(signal.SIGTERM)
            assert gateway.lines("stopped")[0]["safe"] is True
            assert len(gateway.lines("metrics_export_failed")) == 1
            return time.monotonic() - began, code

    with MonitoringFake() as fake:
        if bad_day == "slow":
            fake.slow(600)
        elif bad_day == "down":
            fake.always_fail(grpc.StatusCode.UNAVAILABLE)
        else:
            fake.deny()
        seconds, code = asyncio.run(scenario(fake))
    assert code == 0
    assert seconds < 15  # ten and what a busy machine takes


def test_a_gateway_that_dies_of_an_error_exports_its_last_counts() -> None:
    async def die(exporter: Exporter) -> None:
        async with exporting_until(exporter, asyncio.Event()):
            raise RuntimeError("of ours")

    with open_desk() as desk:
        recorder = desk.recorder()
        desk.time.pass_by(60)
        recorder.inc("gateway_spool_failures_total", 3)
        with pytest.raises(RuntimeError, match="of ours"):
            asyncio.run(die(desk.exporter(recorder)))
        assert desk.fake.latest("gateway_spool_failures_total") == 3
