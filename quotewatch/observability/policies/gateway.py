"""Alerts on the gateway: that it is there, hears, has books, and gets rid of its frames."""

from quotewatch.market.windows import WINDOW_CAPACITY
from quotewatch.observability.conditions import (
    absent,
    grown,
    grown_without,
    keeps_growing,
    not_shrinking,
    older,
    present,
    series,
)
from quotewatch.observability.policy import Policy

_CONNECTIONS = series("gateway_connections_open")
_BOOKS = series("gateway_books_valid")
_CAPACITY = series("trade_buffer_capacity")
_LOST = ("queue_full", "encode_failed", "too_large", "spool_unreadable")

GATEWAY = (
    Policy(
        "gateway-silent", "no message from Coinbase although the gateway runs", "CRITICAL",
        "The gateway is there and has heard nothing for ${gateway_silent_seconds} s, or nothing"
        " since it began. A frozen gateway looks the same.",
        f"{older(series('last_update_timestamp_seconds'), 'gateway_silent_seconds', 60)}"
        f" and on () {present(_CONNECTIONS, 5)}",
        for_seconds=120,
    ),
    Policy(
        "gateway-gone", "nothing is heard of the gateway", "CRITICAL",
        "No metrics of a gateway came for ten minutes, or ever. It does not run, or its metrics"
        " do not arrive: how the feed is cannot be said.",
        absent(_CONNECTIONS, 5),
        for_seconds=300,
    ),
    Policy(
        "no-book-valid", "no product has a valid book", "CRITICAL",
        "The gateway runs and has no valid book of any product: no features, no predictions.",
        f"max(max_over_time({_BOOKS.over(5)})) < 1",
        for_seconds=300,
    ),
    Policy(
        "books-missing", "some products have no valid book", "WARNING",
        "For half an hour there was no moment at which all products had a valid book.",
        # A product has one window, so their capacity tells how many products there are.
        f"max(max_over_time({_BOOKS.over(30)}))"
        f" < max(max_over_time({_CAPACITY.over(30)})) / {WINDOW_CAPACITY}",
        for_seconds=1_800,
    ),
    Policy(
        "publish-failing", "the gateway publishes nothing", "CRITICAL",
        "Publish calls fail, and for ten minutes none has succeeded. Frames wait in the spool.",
        grown_without(
            series("gateway_publish_failures_total"), series("gateway_bytes_published_total"), 10
        ),
        for_seconds=300,
    ),
    Policy(
        "frames-waiting", "what waits for the bus does not get less", "ERROR",
        "There are more than ${waiting_frames} frames in the spool, or ${waiting_bytes} bytes in"
        " memory, and in ten minutes they became no fewer. One stream may fail while others go.",
        f"{not_shrinking(series('gateway_spool_frames'), 'waiting_frames', 10)}"
        f" or on () {not_shrinking(series('gateway_queue_bytes'), 'waiting_bytes', 10)}",
        for_seconds=300,
    ),
    Policy(
        "spool-failing", "the spool takes no frames", "WARNING",
        "Frames wait in memory instead of in the spool, for more than a quarter of an hour."
        " Nothing is lost unless the gateway dies now.",
        keeps_growing(series("gateway_spool_failures_total"), 15),
        for_seconds=300,
    ),
    Policy(
        "rows-dropped", "the gateway dropped rows", "CRITICAL",
        "Rows that were received will not be stored. They stand in `events` as `drop`.",
        grown(series("gateway_events_total", kind="drop", reason=_LOST), 60, ["reason"]),
    ),
)  # fmt: skip
