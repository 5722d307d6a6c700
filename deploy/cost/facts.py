"""What the cost of a month is reckoned from: each amount once, with where it is from.

`measured` was measured on a slow machine with two cores; `set` is what Terraform or a setting says;
`assumed` is nobody's measurement yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """One amount."""

    name: str
    amount: float
    unit: str
    source: str


_BTC = "measured: recorded Advanced Trade, BTC-USD, 2026-08-09, 5 minutes"
_LIVELY = "measured: the two liveliest of ten recorded Exchange pairs, 2021-04-17, by 50 ms"
_THIN = "measured: mean of ten recorded Exchange pairs, 2021-04-17, 31 s, cut into batches of 50 ms"
_FRAMES = "measured: frames of the captures by their rows (benchmarks.cost_inputs)"
_ANSWERS = "measured: answers to frames of 1 to 1 000 made-up rows"
_TABLES = "measured: the captures, written once a minute (benchmarks.cost_inputs)"
_CALLS = "measured: calls of the stages, SQLite catalog (benchmarks.cost_inputs)"
_CLOUD = "assumed: within one region; nothing here has met the real cloud"

FACTS: Mapping[str, Fact] = {
    fact.name: fact
    for fact in (
        # What the exchange sends.
        Fact("all_products", 400, "products", "assumed: the -USD pairs; 920 with others"),
        Fact("btc_book", 18.3, "book messages/s of BTC-USD", _BTC),
        Fact("btc_changes", 7.4, "changes a book message of BTC-USD", _BTC),
        Fact("btc_trades", 2.2, "trades/s of BTC-USD", _BTC),
        Fact("lively_products", 19, "products after BTC-USD that are lively", "assumed"),
        Fact("lively_book", 17.0, "book messages/s of a lively product", _LIVELY),
        Fact("lively_changes", 4.4, "changes a book message of a lively product", _LIVELY),
        Fact("lively_trades", 1.1, "trades/s of a lively product", _LIVELY),
        Fact("thin_book", 9.1, "book messages/s of any other product", _THIN),
        Fact("thin_changes", 3.5, "changes a book message of any other product", _THIN),
        Fact("thin_trades", 0.32, "trades/s of any other product", _THIN),
        # Frames.
        Fact("frame_bytes", 760, "bytes of a frame without its rows", _FRAMES),
        Fact("message_bytes", 150, "bytes of attributes and of Pub/Sub's own a message", _FRAMES),
        Fact("book_row_bytes", 12, "bytes a row of raw_orderbook in a frame", _FRAMES),
        Fact("book_change_bytes", 4.2, "bytes a change in a frame", _FRAMES),
        Fact("trade_row_bytes", 22, "bytes a row of raw_trades in a frame", _FRAMES),
        Fact("feature_row_bytes", 28, "bytes a row of features in a frame", _FRAMES),
        Fact("event_row_bytes", 10, "bytes a row of events in a frame", _FRAMES),
        Fact("answer_row_bytes", 16.6, "bytes a row of predictions in a frame", _ANSWERS),
        Fact("high_water_seconds", 10, "s between two high waters of every product", "set"),
        Fact("announced_bytes", 300, "bytes of a message on committed", "assumed"),
        Fact("least_request_bytes", 1_000, "bytes a request to Pub/Sub counts at least", "page"),
        # Tables.
        Fact("stored_book_row", 6, "bytes a row of raw_orderbook in Parquet", _TABLES),
        Fact("stored_book_change", 7.2, "bytes a change in Parquet", _TABLES),
        Fact("stored_trade", 30, "bytes a row of raw_trades in Parquet", _TABLES),
        Fact("stored_feature", 16, "bytes a row of features in Parquet", _TABLES),
        Fact("stored_answer", 11, "bytes a row of predictions in Parquet", _TABLES),
        Fact("stored_label", 16, "bytes a row of labels in Parquet", _TABLES),
        Fact("commit_bytes", 35_000, "bytes of metadata a commit", _CALLS),
        Fact("commit_objects", 4.1, "objects a commit: data, manifest, list, metadata", _CALLS),
        Fact("gone_days", 14, "days that what was replaced is kept", "set: 7 and 7, buckets.tf"),
        Fact("requests_a_read", 2, "requests to the bucket a file read", "assumed: ask, then get"),
        # How long a call takes in the cloud.
        Fact("load_seconds", 0.10, "s that the catalog takes to show a table", _CLOUD),
        Fact("commit_seconds", 0.30, "s that the catalog takes to commit", _CLOUD),
        Fact("create_seconds", 0.08, "s to write an object", _CLOUD),
        Fact("read_seconds", 0.03, "s to read an object", _CLOUD),
        Fact("bus_seconds", 0.02, "s of a request to Pub/Sub", _CLOUD),
        Fact("least_call_seconds", 0.1, "s that a call is rounded up to", "page"),
        Fact("write_wait_seconds", 2.7, "s a call of write waits for frames that may still come",
             "reckoned: up to 1 s a stream, frames each 0.25, 2 and 10 s"),
        Fact("predict_seconds", 0.1, "s of a call of predict, published answer included",
             "measured: 5 to 14 ms without the cloud; it counts as 100"),
        Fact("model_look_seconds", 5, "s between two looks at which model is current", "set"),
        # The gateway.
        Fact("gateway_messages", 3_000, "messages/s a vCPU of the gateway is given",
             "measured: a slow core is full at 18 000; six times the average has to fit"),
        Fact("gateway_mib", 416, "MiB of the gateway with its queue full",
             "measured: 160 without; set: QUOTEWATCH_QUEUE_MB"),
        Fact("book_mib", 1, "MiB a book", "assumed: BTC-USD takes 4 with 46 000 levels"),
        Fact("gateway_room", 2, "times the memory it needs", "assumed"),
        # Around it.
        Fact("request_log_bytes", 1_000, "bytes the platform logs of a call", "assumed"),
        Fact("line_bytes", 400, "bytes of a log line of ours", "assumed"),
        Fact("gateway_lines", 10, "log lines of the gateway a minute", "assumed"),
        Fact("images_gib", 3, "GiB of images kept",
             "assumed: a deploy a week; the gateway's is 63 MB packed, without Debian's Python"),
        Fact("secrets", 1, "versions of secrets", "set"),
        Fact("alert_series", 2, "series an alert finds for a metric that it names", "assumed"),
        Fact("looks_a_month", 43_200, "looks at an alert a month", "set: one a minute"),
        Fact("naive_calls_a_second", 2_100, "calls/s a vCPU takes that does nothing else",
             "measured: an empty function"),
    )
}  # fmt: skip


def amount(name: str) -> float:
    """Return an amount."""
    return FACTS[name].amount


@dataclass(frozen=True)
class Call:
    """One way in which a function is called, and what a call does, as counted.

    Seconds are CPU: of a call, and of a row it has to do with.
    """

    function: str
    minutes: float  # from one call to the next
    memory_gib: float = 1
    seconds: float = 0.0
    row_seconds: float = 0.0
    loads: float = 0
    reads: float = 0
    commits: float = 0
    creates: float = 0  # objects beside those of commits
    lists: float = 0
    requests: float = 0  # to the bus
    waits: float = 0.0  # seconds
    lines: float = 3  # in the log


# Counted by benchmarks.cost_inputs with 18, 322 and 3 780 rows a second, three of five tables.
CALLS = (
    Call("write", 1, 1, 0.58, 2.2e-6, loads=18, reads=39, commits=5, requests=20,
         waits=amount("write_wait_seconds"), lines=8),
    # Pushed what write announces: of five tables two concern it, and the second finds nothing new.
    Call("label", 1, 1, 0.12, 4.5e-6, loads=5, reads=23, commits=1),
    Call("label", 1, 1, 0.12, loads=5, reads=23),
    Call("label", 1 / 3, lines=1),
    Call("label", 5, 1, 0.12, loads=5, reads=23),
    Call("train", 5, 1, 0.28, 3.8e-6, loads=3, reads=22, creates=2),
    Call("reconcile", 5, 1, 0.03, loads=8, reads=9),
    # Lists a folder a table: a thousand names a request.
    Call("maintain", 10, 2, 0.15, 1.3e-6, loads=35, reads=78, lists=35),
)  # fmt: skip
