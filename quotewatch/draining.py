"""Drain one stream: its frames on the bus in, committed rows and acks out.

A frame is acked after its rows, or its bytes in quarantine, are durable, never before.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from quotewatch.bus.port import Bus, Delivery
from quotewatch.bus.topology import COMMITTED, write_subscription
from quotewatch.clock import NS_PER_SECOND, Clock
from quotewatch.errors import (
    BusError,
    BusUnavailableError,
    FrameError,
    NewerSchemaError,
    ObjectError,
    QuoteWatchError,
)
from quotewatch.frames import Frame, FrameId, identify
from quotewatch.logs import get_logger
from quotewatch.message import Message
from quotewatch.metrics.latency import LATENCY, Sent, messages, until_received
from quotewatch.metrics.recorder import Recorder
from quotewatch.quarantine import Quarantine
from quotewatch.streams import RAW_ORDERBOOK, RAW_TRADES
from quotewatch.tables.commit import Committer, read_ledger
from quotewatch.tables.failures import named
from quotewatch.tables.gathering import Arrived
from quotewatch.tables.intake import Intake, frame_of
from quotewatch.tables.ledger import Seen

_log = get_logger("write")

# One commit ends at whichever comes first. Sorting and writing take about three times the rows.
COMMIT_ROWS = 250_000
COMMIT_BYTES = 96_000_000
LONGEST_AGE_SECONDS = 30.0

PULL_MESSAGES = 1_000
PULL_BYTES = 8_000_000  # encoded; ten times that when decoded, one frame at a time
NEWER_SCHEMA_SECONDS = 600  # the longest the bus allows: it waits for a deployment
FAILED_SECONDS = 5

_MESSAGES = frozenset({RAW_ORDERBOOK.name, RAW_TRADES.name})  # a row of these is one message

# How many frames share a commit by how often they were delivered: whoever kills its consumer is
# soon alone, and takes nobody along to the dead letters.
_COMPANY = {1: 1_000_000, 2: 256, 3: 64, 4: 16, 5: 4}


@dataclass
class StreamReport:
    """What happened to one stream. Rows are inserted, duplicate or failed; the rest is frames."""

    reads: int = 0
    records: int = 0
    inserted: int = 0
    duplicate: int = 0
    failed: int = 0
    quarantined: int = 0
    newer_schema: int = 0
    acked: int = 0
    commits: int = 0
    lag_seconds: float = 0.0  # age of what was read last, 0 where nothing is left
    error: str | None = None


@dataclass(frozen=True)
class Tools:
    """What a drain works with."""

    bus: Bus
    committer: Committer
    quarantine: Quarantine
    recorder: Recorder
    clock: Clock
    longest_age_seconds: float
    wait_seconds: float
    repair: Callable[[], bool]


@dataclass
class _Batch:
    """What one commit will store."""

    opened_at: float
    pulled: dict[FrameId, int] = field(default_factory=dict)  # when, in microseconds
    frames: list[Arrived] = field(default_factory=list)
    aside: list[Seen] = field(default_factory=list)
    ack_ids: list[str] = field(default_factory=list)
    attempt: int = 0  # the highest of them
    rows: int = 0
    bytes: int = 0


class Drain:
    """One stream during one call."""

    def __init__(
        self, tools: Tools, stream: str, report: StreamReport, began_ns: int, deadline: float
    ) -> None:
        self._tools = tools
        self._stream = stream
        self._subscription = write_subscription(stream)
        self._report = report
        self._began_ns = began_ns
        self._deadline = deadline
        self._intake = Intake(tools.committer, stream)
        self._batch = _Batch(0.0)

    def run(self) -> bool:
        """Pull, commit and ack until nothing older than the call is left, or time is over."""
        # Asked before anything is leased: an outage of the catalog, or a ledger that somebody hid,
        # costs no delivery attempts.
        table = self._tools.committer.tables.load(self._stream)
        with named(self._stream):
            read_ledger(table)
        done = self._read()  # at least once, however long the table took to answer
        while not done and self._tools.clock.monotonic() < self._deadline:
            done = self._read()
        self._commit()
        return done

    def _read(self) -> bool:
        """Take one pull; return whether it was the last one."""
        report, recorder = self._report, self._tools.recorder
        try:
            deliveries = self._pull()
        except QuoteWatchError:
            recorder.inc("processor_consumer_reads_total", result="error")
            raise
        report.reads += 1
        report.records += len(deliveries)
        recorder.inc("processor_consumer_reads_total", result="ok" if deliveries else "empty")
        recorder.inc("processor_consumer_records_total", len(deliveries))
        report.lag_seconds = self._lag(deliveries)
        recorder.set("processor_consumer_lag", report.lag_seconds, stream=self._stream)
        for delivery in sorted(deliveries, key=_turn):
            self._take(delivery)
        if self._batch.ack_ids and self._is_full(0):
            self._commit()  # before more is leased that would have to wait for it, or die with it
        return all(each.published_ns > self._began_ns for each in deliveries)

    def _pull(self) -> list[Delivery]:
        """Lease what waits; names that are missing are made once, where they are ours to make."""
        try:
            return self._lease()
        except BusUnavailableError:
            raise
        except BusError:
            if not self._tools.repair():
                raise
            return self._lease()

    def _lease(self) -> list[Delivery]:
        left = max(0.0, self._deadline - self._tools.clock.monotonic())
        return self._tools.bus.pull(
            self._subscription,
            max_messages=PULL_MESSAGES,
            max_bytes=PULL_BYTES,
            wait_seconds=min(self._tools.wait_seconds, left),
        )

    def _lag(self, deliveries: Sequence[Delivery]) -> float:
        if not deliveries:
            return 0.0
        oldest_ns = min(each.published_ns for each in deliveries)
        return round(max(0, self._tools.clock.now_ns() - oldest_ns) / NS_PER_SECOND, 3)

    def _take(self, delivery: Delivery) -> None:
        batch = self._batch
        if batch.ack_ids and self._is_full(delivery.attempt):
            self._commit()
            batch = self._batch
        if not batch.ack_ids:
            batch.opened_at = self._tools.clock.monotonic()
        try:
            frame = _decoded(delivery.message, self._stream)
        except NewerSchemaError as error:
            self._leave(delivery, error)
            return
        except FrameError as error:
            self._put_aside(delivery, error)
            return
        batch.ack_ids.append(delivery.ack_id)
        batch.attempt = max(batch.attempt, delivery.attempt)
        batch.frames.append(Arrived(frame, delivery.published_ns))
        batch.pulled.setdefault(frame.id, self._tools.clock.now_ns() // 1_000)
        batch.rows += frame.rows.num_rows
        batch.bytes += frame.rows.nbytes

    def _is_full(self, attempt: int) -> bool:
        batch = self._batch
        age = self._tools.clock.monotonic() - batch.opened_at
        return (
            batch.rows >= COMMIT_ROWS
            or batch.bytes >= COMMIT_BYTES
            or age >= self._tools.longest_age_seconds
            or len(batch.ack_ids) >= _COMPANY.get(max(attempt, batch.attempt, 1), 1)
        )

    def _leave(self, delivery: Delivery, error: NewerSchemaError) -> None:
        """Give back a frame that only a newer program can read."""
        self._report.newer_schema += 1
        self._report.error = str(error)
        _log.error("newer_schema", stream=self._stream, error=str(error))
        self._tools.bus.release(
            self._subscription, [delivery.ack_id], delay_seconds=NEWER_SCHEMA_SECONDS
        )

    def _put_aside(self, delivery: Delivery, error: FrameError) -> None:
        """Keep the bytes of what is no frame; the ledger notes it, where it can be named."""
        try:
            name = self._tools.quarantine.put(
                self._stream, delivery.message, delivery.published_ns, str(error)
            )
        except ObjectError as refused:  # it comes back; what can be written is written
            self._report.error = str(refused)
            _log.error("not_quarantined", stream=self._stream, error=str(refused))
            self._tools.bus.release(
                self._subscription, [delivery.ack_id], delay_seconds=FAILED_SECONDS
            )
            return
        self._report.quarantined += 1
        self._tools.recorder.inc("processor_decode_errors_total")
        _log.warning("quarantined", stream=self._stream, object=name, reason=str(error))
        self._batch.ack_ids.append(delivery.ack_id)
        seen = _seen(delivery, self._stream)
        if seen is not None:
            self._batch.aside.append(seen)

    def _commit(self) -> None:
        """Make the batch durable, say so, and only then ack it."""
        batch, self._batch = self._batch, _Batch(0.0)
        if not batch.ack_ids:
            return
        began = self._tools.clock.monotonic()
        try:
            self._store(batch)
        except Exception:
            self._report.failed += batch.rows
            self._count("failed", batch.rows)
            self._give_back(batch)
            raise
        self._tools.bus.ack(self._subscription, batch.ack_ids)
        self._report.acked += len(batch.ack_ids)
        self._tools.recorder.inc("processor_acks_total", len(batch.ack_ids))
        self._tools.recorder.observe(
            "pipeline_callback_duration_seconds",
            self._tools.clock.monotonic() - began,
            stage="writer",
        )

    def _store(self, batch: _Batch) -> None:
        began = self._tools.clock.monotonic()
        stored = self._intake.store(batch.frames, batch.aside)
        self._tools.recorder.observe(
            "processor_row_write_duration_seconds", self._tools.clock.monotonic() - began
        )
        self._time(batch, stored.fresh)
        self._report.commits += stored.snapshot_id is not None
        self._report.inserted += stored.inserted
        self._report.duplicate += stored.duplicate
        self._count("inserted", stored.inserted)
        self._count("duplicate", stored.duplicate)
        if stored.inserted and stored.snapshot_id is not None:
            self._announce(stored.snapshot_id, stored.inserted)

    def _time(self, batch: _Batch, fresh: Sequence[Arrived]) -> None:
        """Tell how long messages took from stamp to stamp; each once, however often it came.

        Here and not at the gateway, whose time belongs to the feed.
        """
        if self._stream not in _MESSAGES:
            return
        recorder, now_us = self._tools.recorder, self._tools.clock.now_ns() // 1_000
        for each in fresh:
            rows = messages(each.frame.rows)
            took, ahead = until_received(rows)
            recorder.inc("pipeline_clock_ahead_total", ahead)
            recorder.observe_all(LATENCY, took, stamp="received")
            sent = Sent(rows.column("exchange_time"))
            moments = {
                "published": each.published_ns // 1_000,
                "pulled": batch.pulled[each.frame.id],
                "committed": now_us,
            }
            for stamp, at_us in moments.items():
                recorder.observe_all(LATENCY, sent.until(at_us), stamp=stamp)

    def _announce(self, snapshot_id: int, rows: int) -> None:
        """Tell whoever waits for rows; if it is not heard, they also look by themselves."""
        said = {"table": self._stream, "rows": str(rows), "snapshot": str(snapshot_id)}
        try:
            self._tools.bus.publish(COMMITTED, [Message(msgspec.json.encode(said), said)])
        except QuoteWatchError as error:
            _log.warning("not_announced", stream=self._stream, error=str(error))

    def _give_back(self, batch: _Batch) -> None:
        try:
            self._tools.bus.release(self._subscription, batch.ack_ids, delay_seconds=FAILED_SECONDS)
        except QuoteWatchError as error:  # then they come back when their lease is over
            _log.warning("not_given_back", stream=self._stream, error=str(error))

    def _count(self, status: str, rows: int) -> None:
        self._tools.recorder.inc(
            "processor_row_writes_total", rows, table=self._stream, status=status
        )


def _turn(delivery: Delivery) -> tuple[int, float]:
    """Put first what came first; what comes again in any order, but behind.

    One message that always kills us must not always do so before the same others have their turn.
    """
    if delivery.attempt <= 1:
        return delivery.attempt, 0.0
    return delivery.attempt, random.random()  # noqa: S311 - any order will do


def _decoded(message: Message, stream: str) -> Frame:
    """Decode a frame of this stream; FrameError for whatever else it is."""
    frame = frame_of(message)
    if frame.id.stream != stream:
        raise FrameError(f"attribute stream: {frame.id.stream} on the topic {stream}")
    return frame


def _seen(delivery: Delivery, stream: str) -> Seen | None:
    try:
        identity = identify(delivery.message)
    except FrameError:
        return None
    if identity.stream != stream:
        return None
    return Seen(identity.epoch, identity.seq, delivery.published_ns)
