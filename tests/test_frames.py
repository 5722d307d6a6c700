"""A frame comes back as it went, or not at all."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from quotewatch import frames
from quotewatch.errors import FrameError, FrameTooLargeError, NewerSchemaError
from quotewatch.frames import Frame, FrameEncoder, FrameId, decode, identify
from quotewatch.message import Message
from quotewatch.streams import RAW_TRADES, SCHEMA_VERSION, STREAMS

Row = dict[str, Any]
TRADE: Row = {
    "symbol": "BTC-USD",
    "trade_id": 7,
    "price": Decimal("100.5"),
    "size": Decimal("0.00000001"),
    "taker_side": "buy",
    "exchange_time": 1_786_253_022_196_708,
    "received_at": 1_786_253_022_200_000,
    "source": "ws",
    "live": True,
    "conn": 1,
    "arrival": 3,
    "sequence": None,
}


def trades(*rows: Row) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=RAW_TRADES.schema)


def frame(rows: pa.RecordBatch) -> Frame:
    return Frame(FrameId("raw_trades", "0000-ab", 5), "test", rows, 1, 2)


def message(rows: pa.RecordBatch | None = None) -> Message:
    return FrameEncoder().encode(frame(trades(TRADE) if rows is None else rows))


def relabelled(attributes: dict[str, str | None]) -> Message:
    """Return a good frame whose attributes were changed; None removes one."""
    good = message()
    changed = dict(good.attributes) | attributes
    return Message(good.data, {name: text for name, text in changed.items() if text is not None})


def test_attributes_say_what_the_contract_names() -> None:
    assert message().attributes == {
        "stream": "raw_trades",
        "producer": "test",
        "epoch": "0000-ab",
        "seq": "5",
        "rows": "1",
        "schema": str(SCHEMA_VERSION),
        "first_received_ns": "1",
        "last_received_ns": "2",
    }


decimals = st.decimals(min_value=0, max_value=10**19, places=18, allow_nan=False)


@given(prices=st.lists(decimals, max_size=20))
def test_every_row_comes_back(prices: list[Decimal]) -> None:
    rows = trades(*(TRADE | {"price": price, "trade_id": n} for n, price in enumerate(prices)))
    assert decode(message(rows)).rows.to_pylist() == rows.to_pylist()


@pytest.mark.parametrize("stream", STREAMS)
def test_a_frame_without_rows_is_a_frame(stream: str) -> None:
    rows = pa.RecordBatch.from_pylist([], schema=STREAMS[stream].schema)
    empty = Frame(FrameId(stream, "0000-ab", 0), "test", rows, 1, 1)
    assert decode(FrameEncoder().encode(empty)) == empty


def test_the_body_is_one_zstd_stream_over_arrow() -> None:
    body = zstandard.ZstdDecompressor().decompress(message().data)
    assert pa.ipc.open_stream(body).read_all().num_rows == 1


@pytest.mark.parametrize("name", ["stream", "epoch", "seq", "rows", "schema", "producer"])
def test_a_missing_attribute_is_named(name: str) -> None:
    with pytest.raises(FrameError, match=f"attribute {name}"):
        decode(relabelled({name: None}))


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"stream": "klines"}, "klines"),
        ({"seq": "-1"}, "seq"),
        ({"seq": "1.5"}, "seq"),
        ({"rows": "2"}, "1 rows in the body"),
    ],
)
def test_attributes_that_lie_are_refused(attributes: dict[str, str], says: str) -> None:
    with pytest.raises(FrameError, match=says):
        decode(relabelled({**attributes}))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"{}" + data,
        lambda _: zstandard.compress(b"not arrow"),
    ],
    ids=["empty", "cut", "prefixed", "not arrow"],
)
def test_a_body_that_is_no_frame_is_refused(spoil: Callable[[bytes], bytes]) -> None:
    good = message()
    with pytest.raises(FrameError, match="zstd over Arrow"):
        decode(replace(good, data=spoil(good.data)))


def test_a_newer_schema_is_left_for_a_newer_reader() -> None:
    with pytest.raises(NewerSchemaError, match="deploy this process again"):
        decode(relabelled({"schema": str(SCHEMA_VERSION + 1)}))


def test_an_older_frame_lacks_optional_columns_only() -> None:
    older = trades(TRADE | {"sequence": 9}).drop_columns(["sequence"])
    assert decode(message(older)).rows.to_pylist() == [trades(TRADE).to_pylist()[0]]
    with pytest.raises(FrameError, match="column price is missing"):
        decode(message(trades(TRADE).drop_columns(["price"])))


def test_a_required_value_that_is_null_is_refused() -> None:
    loose = pa.schema([field.with_nullable(True) for field in RAW_TRADES.schema])
    rows = pa.RecordBatch.from_pylist([TRADE | {"price": None}], schema=loose)
    with pytest.raises(FrameError, match="price: 1 values are missing"):
        decode(message(rows))


def test_identity_is_read_without_the_body() -> None:
    spoilt = replace(message(), data=b"spoilt")
    assert identify(spoilt) == FrameId("raw_trades", "0000-ab", 5)


def test_a_frame_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "HARD_LIMIT_BYTES", 10)
    with pytest.raises(FrameTooLargeError, match="raw_trades 0000-ab/5"):
        message()
