"""What the frames of real captures weigh on the bus, beside the raw JSON that they carry.

Windows as in production, driven by the times at which the captures were received: 250 ms for
features, 2 s for the other streams. Each body is also compressed at zstd level 3.
"""

import time
from collections import Counter
from dataclasses import dataclass, field

import zstandard

from benchmarks import _timing
from benchmarks.gateway import Gateway
from benchmarks.workloads import SOURCES, Message, Source, load, missing
from quotewatch.streams import CAPTURED

AIM = 0.25  # raw_orderbook and raw_trades, of the raw JSON
_WINDOW_US = dict.fromkeys(CAPTURED, 2_000_000) | {"features": 250_000}
_LEVELS = (1, 3)
_RAW = ("raw_orderbook", "raw_trades")


@dataclass(slots=True)
class _Weighed:
    """Bytes and CPU time by stream and zstd level."""

    frames: Counter[str] = field(default_factory=Counter)
    bytes: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: dict[int, float] = field(default_factory=lambda: dict.fromkeys(_LEVELS, 0.0))


def main() -> None:
    """Weigh every capture this machine has, and print the tables."""
    streams: list[dict[str, object]] = []
    levels: list[dict[str, object]] = []
    for source in SOURCES.values():
        if source.capture is None:
            continue
        reason = missing(source)
        if reason:
            print(f"{source.name} ({source.title}) skipped: {reason}")
            continue
        streams.extend(_tables(source, levels))
    _timing.print_table("Bytes on the bus, snapshots included, zstd level 1", streams)
    _timing.print_table("zstd level 1 and 3 over the same bodies", levels)


def _tables(source: Source, levels: list[dict[str, object]]) -> list[dict[str, object]]:
    workload = load(source.name)
    messages = workload.opening + workload.messages
    raw = sum(len(text) for text, _ in messages)
    weighed = _weigh(Gateway(source), messages)
    rows: list[dict[str, object]] = []
    for stream in (*CAPTURED, "raw_orderbook + raw_trades"):
        parts = _RAW if "+" in stream else (stream,)
        size = sum(weighed.bytes[part, 1] for part in parts)
        rows.append(
            {
                "capture": source.name,
                "stream": stream,
                "frames": sum(weighed.frames[part] for part in parts),
                "bytes a message": size / len(messages),
                "raw JSON a message": raw / len(messages),
                "of raw JSON": size / raw,
                "aim": AIM if "+" in stream else None,
            }
        )
    for level in _LEVELS:
        size = sum(weighed.bytes[stream, level] for stream in CAPTURED)
        levels.append(
            {
                "capture": source.name,
                "level": level,
                "bytes a message": size / len(messages),
                "of level 1": size / sum(weighed.bytes[stream, 1] for stream in CAPTURED),
                "us a message": weighed.seconds[level] / len(messages) * 1e6,
            }
        )
    return rows


def _weigh(gateway: Gateway, messages: list[Message]) -> _Weighed:
    weighed = _Weighed()
    due = {stream: messages[0][1] + window for stream, window in _WINDOW_US.items()}
    for raw, received_us in messages:
        for stream, at_us in due.items():
            if received_us >= at_us:
                due[stream] = received_us + _WINDOW_US[stream]
                _close(gateway, stream, weighed)
        gateway.reader.read(raw, received_us)
    for stream in CAPTURED:
        _close(gateway, stream, weighed)
    return weighed


def _close(gateway: Gateway, stream: str, weighed: _Weighed) -> None:
    if not gateway.tape.rows_of(stream):
        return
    body = zstandard.ZstdDecompressor().decompress(gateway.frame(stream).data)
    weighed.frames[stream] += 1
    for level, compressor in _COMPRESSORS.items():
        began = time.process_time()
        packed = compressor.compress(body)
        weighed.seconds[level] += time.process_time() - began
        weighed.bytes[stream, level] += len(packed)


_COMPRESSORS = {level: zstandard.ZstdCompressor(level=level) for level in _LEVELS}
