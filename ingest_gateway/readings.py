"""What the gateway counts in plain integers, brought to its metrics; and how healthy it is."""

from collections import Counter
from typing import TYPE_CHECKING

from quotewatch.market.windows import WINDOW_CAPACITY

if TYPE_CHECKING:
    from ingest_gateway.gateway import Gateway

_PUBLISH_SECONDS = 1.0
_RATE_SECONDS = 10.0
_STUCK_SECONDS = 10.0  # a loop that has not turned for so long is not alive

Key = tuple[str, ...]  # the metric and its label values


class Readings:
    """Reads one gateway once a second."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._published = 0.0
        self._before: Counter[Key] = Counter()
        self._rate_since: float | None = None
        self._rate_updates = 0

    def publish(self, now: float, *, force: bool = False) -> None:
        """Bring the recorder up to date, at most once a second unless forced."""
        if now - self._published < _PUBLISH_SECONDS and not force:
            return
        self._published = now
        counts = self._counts()
        recorder = self._gateway.parts.recorder
        for key, value in (counts - self._before).items():
            name, *labels = key
            recorder.inc(name, value, **dict(zip(_LABELS[name], labels, strict=True)))
        self._before = counts
        self._set_gauges()
        self._set_rate(now)

    def problems(self, now: float) -> list[str]:
        """Say why the gateway is not ready; nothing when it is."""
        gateway = self._gateway
        failing = gateway.parts.outbox.failing_streams
        found = [f"bus: {stream} cannot be published" for stream in failing]
        closed = sum(not connection.is_open for connection in gateway.connections)
        if closed:
            found.append(f"feed: {closed} of {len(gateway.connections)} connections are down")
        if not self.valid_books:
            found.append("feed: no product has a valid book")
        return found + self.stuck(now)

    def stuck(self, now: float) -> list[str]:
        """Say whether the loop has stopped turning."""
        age = now - self._gateway.ticked
        return [f"loop: stuck for {age:.0f} s"] if age > _STUCK_SECONDS else []

    @property
    def valid_books(self) -> int:
        """How many products have a valid book."""
        return sum(lane.book is not None for lane in self._gateway.lanes.values())

    def _counts(self) -> Counter[Key]:
        gateway = self._gateway
        counts: Counter[Key] = Counter()
        for kind, count in gateway.tape.counts.items():
            counts["coinbase_messages_received_total", kind] = count
        for (kind, reason), count in gateway.journal.counts.items():
            counts["gateway_events_total", kind, reason] = count
            if kind == "gap":
                counts["coinbase_sequence_gaps_total",] += count
        counts["coinbase_trades_missed_total",] = gateway.journal.missed_trades
        counts["websocket_reconnections_total",] = sum(
            max(connection.lives - 1, 0) for connection in gateway.connections
        )
        return counts

    def _set_gauges(self) -> None:
        gateway = self._gateway
        parts = gateway.parts
        lanes = gateway.lanes.values()
        values = {
            "gateway_books_valid": self.valid_books,
            "gateway_connections_open": sum(c.is_open for c in gateway.connections),
            "gateway_queue_bytes": parts.outbox.held_bytes,
            "gateway_spool_frames": parts.spool.pending_frames(),
            "trade_buffer_size": sum(lane.windows.trades for lane in lanes if lane.book),
            "trade_buffer_capacity": WINDOW_CAPACITY * len(gateway.lanes),
        }
        for name, value in values.items():
            parts.recorder.set(name, value)
        if heard_us := max(connection.heard_us for connection in gateway.connections):
            parts.recorder.set("last_update_timestamp_seconds", heard_us / 1e6)
        for lane in lanes:
            if lane.ids.known is not None:
                parts.recorder.set("coinbase_last_trade_id", lane.ids.known, product=lane.symbol)
            if lane.sequence is not None:
                parts.recorder.set("coinbase_match_sequence", lane.sequence, product=lane.symbol)

    def _set_rate(self, now: float) -> None:
        updates = self._gateway.tape.counts["l2update"]
        if self._rate_since is None:
            self._rate_since, self._rate_updates = now, updates
        elif (seconds := now - self._rate_since) >= _RATE_SECONDS:
            rate = (updates - self._rate_updates) / seconds
            self._gateway.parts.recorder.set("orderbook_updates_per_second", rate)
            self._rate_since, self._rate_updates = now, updates


_LABELS: dict[str, tuple[str, ...]] = {
    "coinbase_messages_received_total": ("type",),
    "gateway_events_total": ("kind", "reason"),
    "coinbase_sequence_gaps_total": (),
    "coinbase_trades_missed_total": (),
    "websocket_reconnections_total": (),
}
