"""Spools and frames as the spool tests need them."""

from pathlib import Path

from ingest_gateway.spool import DirectorySpool, ObjectSpool, Spool, SpooledFrame
from quotewatch.message import Message
from quotewatch.objects.local import LocalObjects


def frame(
    seq: int, *, stream: str = "raw_trades", epoch: str = "e1", size: int = 40
) -> SpooledFrame:
    body = f"{stream} {epoch} {seq} ".encode() * (size // 10)
    attributes = {"stream": stream, "epoch": epoch, "seq": str(seq), "producer": "gäteway"}
    return SpooledFrame(stream, epoch, seq, Message(body, attributes))


def identities(spool: Spool) -> list[tuple[str, str, int]]:
    return [(left.epoch, left.stream, left.seq) for left in spool.leftovers()]


def open_in(kind: str, root: Path, epoch: str) -> Spool:
    if kind == "directory":
        return DirectorySpool(root, epoch)
    return ObjectSpool(LocalObjects(root), "spool", epoch)
