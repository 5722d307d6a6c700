"""The probe: one frame without rows, from a producer that is no gateway.

It goes the way of every frame of features: stored as a number in a ledger, answered by `predict`,
labelled with nothing. It has an epoch of its own, so no other frame is ever missing because of it.
"""

import pyarrow as pa

from deploy.names import TOPIC
from quotewatch.clock import new_epoch
from quotewatch.frames import Frame, FrameEncoder, FrameId
from quotewatch.message import Message
from quotewatch.streams import STREAMS

PRODUCER = "probe"  # a pushed door says in its log what it answered to this one


def probe(now_ns: int) -> tuple[str, Message]:
    """Make a probe; return its epoch, by which it is found again, and the message."""
    epoch = new_epoch(now_ns)
    nothing = pa.RecordBatch.from_pylist([], schema=STREAMS[TOPIC].schema)
    frame = Frame(FrameId(TOPIC, epoch, 0), PRODUCER, nothing, now_ns, now_ns)
    return epoch, FrameEncoder().encode(frame)
