"""The gateway's hot path beside a floor and a peer: bytes to books, features and encoded frames.

Floor: msgspec's typed decode alone. Peer: cryptofeed, which parses and keeps the book but makes no
features and no frames. All on the same messages, one core, CPU time, in fresh processes.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import _timing, peer
from benchmarks.gateway import Gateway
from benchmarks.workloads import SOURCES, Source, Workload, load, missing
from quotewatch.coinbase import advanced, exchange

AIMS = {"X": 1.0, "S": 1.1, "A": 1.6}
_FRAME_ROWS = 1_000
_SMALL_ROWS = 10
_SMALL_FRAMES = 200
_HERE = "benchmarks.hotpath"
_ROUNDS = 4  # of fresh processes, ours and theirs by turns
_PASSES = 3  # within one process


def main() -> None:
    """Measure every workload that this machine has, and print the table."""
    rows = []
    for source in SOURCES.values():
        reason = missing(source)
        if reason:
            print(f"{source.name} ({source.title}) skipped: {reason}")
        else:
            rows.append(_compare(source))
    title = f"Hot path, us of CPU a message, frames of {_FRAME_ROWS} rows and more"
    _timing.print_table(title, rows)
    small = min((_timing.measure(_HERE, "small", "S") for _ in range(_ROUNDS)), key=_us)
    for stream in ("raw_orderbook", "features"):
        cost = small[stream]
        print(
            f"  a frame of {_SMALL_ROWS} {stream} rows: {cost['us']:.0f} us, {cost['bytes']} bytes"
        )


def _us(small: dict[str, dict[str, float]]) -> float:
    return small["features"]["us"]


def _compare(source: Source) -> dict[str, object]:
    ours, floor, theirs = [], [], []
    path = peer_path(source.dialect)
    for _ in range(_ROUNDS):
        ours.append(_timing.measure(_HERE, "ours", source.name))
        floor.append(_timing.measure(_HERE, "floor", source.name))
        if not isinstance(path, str):
            try:
                found = _timing.measure("benchmarks.peer", source.name, str(_PASSES), path=path)
                theirs.append(found["us"])
            except _timing.MeasureError as error:
                path = str(error)
    if isinstance(path, str):
        print(f"{source.name}: no peer: {path}")
    best = min(theirs) if theirs else None
    aim = AIMS.get(source.name)
    return {
        "workload": f"{source.name} {source.title}",
        "ours": min(ours),
        "floor": min(floor),
        "cryptofeed": best,
        "ratio": best / min(ours) if best else None,
        "aim": aim,
        "": "" if aim is None or best is None else "ok" if best >= aim * min(ours) else "short",
    }


def peer_path(dialect: str) -> Path | str | None:
    """Return where the peer's packages are: None is here, a text is why they are nowhere."""
    version = peer.VERSIONS[dialect]
    if version == peer.VERSIONS["advanced"]:
        return None
    folder = Path(sys.prefix) / f"cryptofeed-{version}"
    if folder.is_dir():
        return folder
    return f"cryptofeed {version} is not in {folder.name} of the environment; run `make bench`"


def _ours(workload: Workload) -> float:
    def prepare() -> Callable[[], object]:
        gateway = Gateway(workload.source)
        gateway.read(workload.opening)
        gateway.frames()
        return lambda: gateway.run(workload.messages, _FRAME_ROWS)

    return _per_message(workload, prepare)


def _floor(workload: Workload) -> float:
    decoders = {"exchange": exchange.decoder.decode, "advanced": advanced.decoder.decode}
    decode = decoders[workload.source.dialect]
    texts = [raw for raw, _ in workload.messages]

    def work() -> None:
        for text in texts:
            decode(text)

    return _per_message(workload, lambda: work)


def _per_message(workload: Workload, prepare: Callable[[], Callable[[], object]]) -> float:
    return _timing.best_cpu_seconds(prepare, _PASSES) / len(workload.messages) * 1e6


def _small(workload: Workload) -> dict[str, dict[str, float]]:
    """Encode the same few rows as a frame again and again: what a frame costs whatever is in it."""
    gateway = Gateway(workload.source)
    gateway.read(workload.opening)
    gateway.frames()
    costs: dict[str, dict[str, float]] = {}
    for stream in ("raw_orderbook", "features"):
        best = float("inf")
        size = 0
        for begin in range(0, _SMALL_FRAMES * _SMALL_ROWS, _SMALL_ROWS):
            gateway.read(workload.messages[begin : begin + _SMALL_ROWS])
            frames: list[int] = []

            def work(frames: list[int] = frames, stream: str = stream) -> None:
                frames.append(len(gateway.frame(stream).data))

            best = min(best, _timing.cpu_seconds(work))
            size = frames[0]
            gateway.frames()
        costs[stream] = {"us": best * 1e6, "bytes": size}
    return costs


_MEASURES: dict[str, Callable[[Workload], object]] = {
    "ours": _ours,
    "floor": _floor,
    "small": _small,
}

if __name__ == "__main__":
    _timing.pin()
    print(json.dumps(_MEASURES[sys.argv[1]](load(sys.argv[2]))))
