"""`python -m ingest_gateway`: the gateway alone, configured by the environment."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable

from ingest_gateway.connection import Connect
from ingest_gateway.gateway import Gateway, Parts
from ingest_gateway.outbox import Outbox, producer_name
from ingest_gateway.preflight import take_port, take_spool
from ingest_gateway.receiver import Receiver, open_websocket
from quotewatch.bus.opening import open_bus
from quotewatch.bus.port import Bus
from quotewatch.bus.topology import topology
from quotewatch.clock import SystemClock, new_epoch
from quotewatch.errors import BusUnavailableError, QuoteWatchError
from quotewatch.logs import configure_logs, get_logger
from quotewatch.metrics.cloud_monitoring import Exporter
from quotewatch.metrics.opening import open_exporter
from quotewatch.metrics.recorder import Recorder
from quotewatch.settings import Settings, load_settings, unknown_variables

_UNSAFE = 1  # exit code: something captured is neither on the bus nor in the spool
_TURN_SECONDS = 0.0005
_GO_SECONDS = 8.0  # from SIGTERM on; the platform kills after 10
GATEWAY = "gateway"
_REFUSED = 2  # exit code: did not start

_log = get_logger("gateway")


def main() -> int:
    """Run until SIGTERM or SIGINT; exit 0 when everything captured is safe."""
    configure_logs()
    try:
        settings = load_settings()
        for name, meant in unknown_variables().items():
            _log.warning("unknown_setting", name=name, did_you_mean=meant)
        # Never closed: that would wait for a name lookup that hangs, whatever SIGTERM says.
        return asyncio.Runner().run(_serve(settings))
    except QuoteWatchError as error:
        sys.stderr.write(f"{error}\n")
        return _REFUSED


async def _serve(settings: Settings) -> int:
    clock = SystemClock()
    epoch = new_epoch(clock.now_ns())
    recorder = Recorder(settings.environment, (GATEWAY,))
    exporter = open_exporter(settings, recorder, GATEWAY)
    _log.info("settings", epoch=epoch, **settings.shown())
    with contextlib.ExitStack() as opened:
        health = opened.enter_context(contextlib.closing(take_port(settings)))
        bus = open_bus(settings.bus, path=settings.bus_path, project=settings.project)
        opened.enter_context(contextlib.closing(bus))
        create = _creator(bus, settings)
        create()
        spool = take_spool(settings, epoch)
        outbox = Outbox(
            bus, spool, recorder, clock, epoch=epoch,
            producer=producer_name(os.environ, socket.gethostname()),
            memory_bytes=settings.queue_mb * 1_000_000, repair=create,
        )  # fmt: skip
        parts = Parts(outbox, spool, recorder, clock, _connector(settings))
        gateway = Gateway(settings, parts, epoch)
        health.start(
            alive=lambda: gateway.readings.stuck(clock.monotonic()),
            ready=lambda: gateway.readings.problems(clock.monotonic()),
            metrics=recorder.exposition,
        )
        _log.info("listening", port=health.port)
        stop = _stop_on_signals()
        opened.callback(recorder.leave, settings.metrics_file)
        async with _exporting(exporter, stop):
            safe = await gateway.run(stop)
    _log.info("stopped", epoch=epoch, safe=safe)
    return 0 if safe else _UNSAFE


@contextlib.asynccontextmanager
async def _exporting(exporter: Exporter | None, stop: asyncio.Event) -> AsyncIterator[None]:
    """Export meanwhile; and last of all, however it ends, within what is left of the time to go."""
    if exporter is None:
        yield
        return
    exporter.start()
    told = asyncio.create_task(_hold(exporter, stop))
    try:
        yield
    finally:
        stop.set()
        left = await told + _GO_SECONDS - time.monotonic()
        await asyncio.to_thread(exporter.close, left)


async def _hold(exporter: Exporter, stop: asyncio.Event) -> float:
    """Keep the last export for what is known last; return when it was time to go."""
    await stop.wait()
    exporter.hold()
    return time.monotonic()


def _connector(settings: Settings) -> Connect:
    """Return what opens one connection to the feed."""

    async def connect() -> Receiver:
        return await open_websocket(
            settings.effective_feed_url, settings.max_message_mb * 1_000_000
        )

    return connect


def _creator(bus: Bus, settings: Settings) -> Callable[[], bool]:
    """Return what creates missing topics: on this machine we do, in the cloud Terraform does."""
    wanted = topology(settings.ack_deadline_s)

    def create() -> bool:
        if settings.bus == "pubsub" and not os.environ.get("PUBSUB_EMULATOR_HOST"):
            return False
        try:
            bus.create(wanted.topics, wanted.subscriptions)
        except BusUnavailableError as error:
            _log.warning("bus_unavailable", error=str(error))
            return False
        return True

    return create


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # What start-up made stays: a full collection over the cloud libraries pauses reading for 10 ms.
    gc.collect()
    gc.freeze()
    # Encoding gives the interpreter back and forth with reading some thirty times a page. With the
    # default of 5 ms a turn, a features frame came 100 ms later at 5 000 messages a second.
    sys.setswitchinterval(_TURN_SECONDS)
    return stop


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # threads that hang in a lookup or a call are left behind, their work is safe
