"""The columns of every stream, once: as a frame carries them and as a table keeps them.

docs/messages.md owns their meaning. Lineage (epoch, seq, row) is not among a frame's columns: it
follows from the frame's identity and the place in it.
"""

from dataclasses import dataclass

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
    fields = [pa.field(name, kind, nullable=False) for name, kind in required.items()]
    return pa.schema(fields + [pa.field(name, kind) for name, kind in optional.items()])


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
            "conn": pa.int32(),
            "arrival": pa.int64(),
        },
        {"sequence": pa.int64()},
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

STREAMS = {stream.name: stream for stream in (RAW_ORDERBOOK, RAW_TRADES, FEATURES, EVENTS)}
