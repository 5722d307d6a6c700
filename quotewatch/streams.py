"""The columns of every stream, once: as a frame carries them and as a table keeps them.

docs/messages.md owns their meaning. Lineage (epoch, seq, row) is not among a frame's columns: it
follows from the frame's identity and the place in it.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1  # +1 whenever a reader of the version before could misread a frame

# 20 digits before the point, 18 after: nothing Coinbase sends is rounded or refused.
DECIMAL = pa.decimal128(38, 18)
TIME = pa.timestamp("us", tz="UTC")

CHANGES = pa.list_(
    pa.field(
        "element",
        pa.struct(
            [
                pa.field("side", pa.string(), nullable=False),
                pa.field("price", DECIMAL, nullable=False),
                pa.field("size", DECIMAL, nullable=False),
            ]
        ),
        nullable=False,
    )
)


@dataclass(frozen=True, slots=True)
class Stream:
    """One topic, one table: its name and its columns."""

    name: str
    schema: pa.Schema


def _schema(required: dict[str, pa.DataType], optional: dict[str, pa.DataType]) -> pa.Schema:
    fields: list[pa.Field[Any]] = []
    fields += [pa.field(name, kind, nullable=False) for name, kind in required.items()]
    fields += [pa.field(name, kind) for name, kind in optional.items()]
    return pa.schema(fields)


RAW_ORDERBOOK = Stream(
    "raw_orderbook",
    _schema(
        {
            "symbol": pa.string(),
            "book": pa.int32(),
            "kind": pa.string(),
            "changes": CHANGES,
            "received_at": TIME,
            "conn": pa.int32(),
            "arrival": pa.int64(),
        },
        {"exchange_time": TIME, "feed_seq": pa.int64()},
    ),
)

RAW_TRADES = Stream(
    "raw_trades",
    _schema(
        {
            "symbol": pa.string(),
            "trade_id": pa.int64(),
            "price": DECIMAL,
            "size": DECIMAL,
            "taker_side": pa.string(),
            "exchange_time": TIME,
            "received_at": TIME,
            "source": pa.string(),
            "live": pa.bool_(),
        },
        # A trade that was fetched over REST came with no connection.
        {"conn": pa.int32(), "arrival": pa.int64(), "sequence": pa.int64()},
    ),
)

FEATURES = Stream(
    "features",
    _schema(
        {
            "symbol": pa.string(),
            "book": pa.int32(),
            "exchange_time": TIME,
            "received_at": TIME,
            "conn": pa.int32(),
            "arrival": pa.int64(),
            "best_bid": DECIMAL,
            "best_ask": DECIMAL,
            "mid": pa.float64(),
            "spread_bps": pa.float32(),
            "imbalance": pa.float32(),
            "depth": pa.float64(),
            "microprice_bps": pa.float32(),
            "order_flow_imbalance": pa.float64(),
        },
        {"volatility": pa.float32(), "trade_imbalance": pa.float32()},
    ),
)

EVENTS = Stream(
    "events",
    _schema(
        {
            "kind": pa.string(),
            "received_at": TIME,
            "conn": pa.int32(),
            "arrival": pa.int64(),
        },
        {
            "at": TIME,
            "symbol": pa.string(),
            "book": pa.int32(),
            "stream": pa.string(),
            "from_id": pa.int64(),
            "to_id": pa.int64(),
            "count": pa.int64(),
            "reason": pa.string(),
        },
    ),
)

PREDICTIONS = Stream(
    "predictions",
    _schema(
        {
            # Of the features row that it answers: with several horizons each row has several.
            "row": pa.int32(),
            "symbol": pa.string(),
            "exchange_time": TIME,
            "received_at": TIME,
            "horizon_ms": pa.int32(),
            "model_version": pa.string(),
            "probability": pa.float64(),
            "prediction": pa.int32(),
            "predicted_at": TIME,
        },
        {},
    ),
)

# What the gateway writes; `predict` answers to it.
CAPTURED = {stream.name: stream for stream in (RAW_ORDERBOOK, RAW_TRADES, FEATURES, EVENTS)}
STREAMS = {**CAPTURED, PREDICTIONS.name: PREDICTIONS}

# Where a row comes from: the producer's life, the frame in it, the place in the frame.
_LINEAGE: "list[pa.Field[Any]]" = [
    pa.field("epoch", pa.string(), nullable=False),
    pa.field("seq", pa.int64(), nullable=False),
    pa.field("row", pa.int32(), nullable=False),
]
LINEAGE = pa.schema(_LINEAGE)
REST_EPOCH = "rest"  # of trades that no frame brought

# What a model is asked, beside the prices: as `features` has it, so do `labels`.
FEATURE_COLUMNS = (
    "spread_bps", "imbalance", "depth", "volatility", "trade_imbalance", "microprice_bps",
    "order_flow_imbalance",
)  # fmt: skip

_LABELS = pa.schema(
    [
        *(FEATURES.schema.field(name) for name in ("symbol", "book", "exchange_time")),
        *(FEATURES.schema.field(name) for name in ("received_at", "conn", "arrival")),
        *_schema(
            {
                "horizon_ms": pa.int32(),
                "label": pa.int32(),
                "mid": pa.float64(),
                "mid_at_horizon": pa.float64(),
                "labeled_at": TIME,
                "batch": pa.int64(),  # counts the commits of its horizon
                "best_bid": DECIMAL,
                "best_ask": DECIMAL,
            },
            {},
        ),
        *(FEATURES.schema.field(name) for name in FEATURE_COLUMNS),
        *LINEAGE,
    ]
)

_GAPS = _schema(
    {
        "gap_id": pa.string(),
        "stream": pa.string(),
        "kind": pa.string(),
        "state": pa.string(),
        "at": TIME,
        "by": pa.string(),
    },
    {
        "symbol": pa.string(),
        "from_id": pa.int64(),
        "to_id": pa.int64(),
        "missing": pa.int64(),
        "from_time": TIME,
        "to_time": TIME,
        "epoch": pa.string(),  # the life it was lost in; there is no lineage, reconcile wrote it
        "reason": pa.string(),
    },
)


@dataclass(frozen=True, slots=True)
class TableLayout:
    """One table: its columns, the time it is cut into days by, and the order within a file."""

    name: str
    schema: pa.Schema
    day_of: str
    sort: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """What no two rows share; nothing where rows came in no frames."""
        by_horizon = ("horizon_ms",) if "horizon_ms" in self.schema.names else ()
        return (*LINEAGE.names, *by_horizon) if "seq" in self.schema.names else ()


def _table(stream: Stream, day_of: str, *sort: str) -> TableLayout:
    lineage = [field for field in LINEAGE if field.name not in stream.schema.names]
    fields: list[pa.Field[Any]] = [*stream.schema, *lineage]
    return TableLayout(stream.name, pa.schema(fields), day_of, sort)


TABLES = {
    table.name: table
    for table in (
        _table(RAW_ORDERBOOK, "received_at", "symbol", "exchange_time", "arrival"),
        _table(RAW_TRADES, "exchange_time", "symbol", "exchange_time", "trade_id"),
        _table(FEATURES, "received_at", "symbol", "exchange_time", "arrival"),
        _table(EVENTS, "received_at", "symbol", "received_at", "arrival"),
        _table(PREDICTIONS, "received_at", "symbol", "exchange_time", "seq"),
        TableLayout("labels", _LABELS, "received_at", ("symbol", "exchange_time", "arrival")),
        TableLayout("gaps", _GAPS, "at", ("stream", "symbol", "at")),
    )
}
