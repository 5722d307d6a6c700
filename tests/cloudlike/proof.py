"""What the tables hold against what the exchange sent: what is missing, doubled, or not told of."""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import urllib3

from quotewatch.clock import US_PER_SECOND
from quotewatch.intervals import Intervals
from quotewatch.local.proof.audit import Audit, audit
from quotewatch.local.proof.evidence import gather
from quotewatch.local.proof.sources import TableFrames
from quotewatch.local.table_listing import TableReport, examine
from quotewatch.streams import FEATURES, RAW_ORDERBOOK, STREAMS, TABLES
from quotewatch.tables.catalog import Tables
from quotewatch.tables.commit import read_ledger
from quotewatch.tables.gaps import Gap, read_gaps
from tests.cloudlike import books, gateway, subscriptions
from tests.cloudlike.cloud import OBJECTS_BUCKET
from tests.cloudlike.deployment import Deployment
from tests.cloudlike.killing import Kill
from tests.cloudlike.plan import GATEWAY, HORIZON_MS
from tests.cloudlike.processes import PATIENCE_SECONDS
from tests.cloudlike.settling import done_frames, unanswered

_LABELS = "labels"
_LABELLED = f"features@{HORIZON_MS}"


@dataclass(frozen=True)
class Proof:
    """What was found. What is bad is in `losses`, in words."""

    audit: Audit
    tables: Mapping[str, TableReport]
    frames: Mapping[str, int]  # by stream
    lost_books: books.LostBooks
    unanswered: Mapping[str, str]  # frames of features without an answer, by epoch
    unlabelled: Mapping[str, int]  # frames of features before others that are labelled, by epoch
    unnamed_holes: Mapping[str, int]  # frames that are missing and in no gap, by table
    gaps: Sequence[Gap]
    dead_letters: Mapping[str, int]
    quarantined: int
    losses: list[str] = field(default_factory=list)


def prove(deployment: Deployment, kills: Sequence[Kill]) -> Proof:
    """Look at everything that was kept."""
    tables = deployment.tables
    source = TableFrames(tables)
    there = {name: table for name in TABLES if (table := tables.find(name)) is not None}
    gaps = read_gaps(there["gaps"]) if "gaps" in there else []
    proof = Proof(
        audit=audit(source, deployment.truth),
        tables=examine(there, sys.stderr),
        frames={name: _count(done_frames(tables, name, name)) for name in STREAMS},
        lost_books=books.judge(deployment.truth, gather(source), gaps),
        unanswered={epoch: str(seqs) for epoch, seqs in unanswered(tables).items()},
        unlabelled=_unlabelled(tables, _killed_epochs(deployment)),
        unnamed_holes=_unnamed_holes(tables, gaps),
        gaps=gaps,
        dead_letters=subscriptions.dead_letters(deployment.servers.addresses.bus),
        quarantined=_quarantined(deployment.servers.addresses.objects),
    )
    kills_us = [round(each.at * US_PER_SECOND) for each in kills if each.component == GATEWAY]
    proof.losses.extend(_losses(proof))
    proof.losses.extend(books.unnamed_kills(kills_us, _first_books(tables), gaps))
    return proof


def _losses(proof: Proof) -> list[str]:
    found = list(proof.audit.losses)
    known = proof.audit.gaps.open - proof.audit.gaps.too_early  # nobody knew of those yet
    if known:
        found.append(f"raw_trades: {known} were not received and not fetched")
    found += [f"{name}: {each.problem}" for name, each in proof.tables.items() if each.problem]
    counts = {
        "rows are there twice": {name: each.duplicates or 0 for name, each in proof.tables.items()},
        "frames are missing and in no gap": proof.unnamed_holes,
        "frames of features have no label behind them": proof.unlabelled,
        "dead letters": proof.dead_letters,
        "book changes are lost and in no gap": {RAW_ORDERBOOK.name: proof.lost_books.unnamed},
        "messages are in quarantine": {"objects": proof.quarantined},
    }
    found += [
        f"predictions: frames {seqs} of {epoch} have no answer"
        for epoch, seqs in proof.unanswered.items()
    ]
    return found + [
        f"{name}: {count} {what}"
        for what, by_name in counts.items()
        for name, count in by_name.items()
        if count
    ]


def _count(frames: Mapping[str, Intervals]) -> int:
    return sum(each.count for each in frames.values())


def _killed_epochs(deployment: Deployment) -> set[str]:
    """Return the epochs of gateways that were killed: nobody said where they end."""
    killed = [each for each in deployment.gateway.instances if each.killed]
    return {epoch for each in killed if (epoch := gateway.epoch_of(each)) is not None}


def _unlabelled(tables: Tables, killed: set[str]) -> dict[str, int]:
    """Count frames that could be labelled and are not.

    Of an epoch that was killed the last ones wait: their future was never seen.
    """
    labelled = done_frames(tables, _LABELS, _LABELLED)
    nothing = Intervals.none()
    found = {}
    for epoch, stored in done_frames(tables, FEATURES.name, FEATURES.name).items():
        done = labelled.get(epoch, nothing)
        left = stored - done
        if epoch in killed:
            left &= Intervals.of([(0, done.last)]) if done.last is not None else nothing
        if left:
            found[epoch] = left.count
    return found


def _unnamed_holes(tables: Tables, gaps: Sequence[Gap]) -> dict[str, int]:
    """Count the frames that the ledgers lack and no gap names."""
    nothing = Intervals.none()
    named: dict[tuple[str, str | None], Intervals] = defaultdict(Intervals.none)
    for each in gaps:
        if each.scope.kind == "frames":
            named[each.scope.stream, each.scope.epoch] |= each.span
    found: dict[str, int] = {}
    for stream in STREAMS:
        table = tables.find(stream)
        epochs = {} if table is None else read_ledger(table).stream(stream).epochs
        found[stream] = sum(
            (entry.holes() - named.get((stream, epoch), nothing)).count
            for epoch, entry in epochs.items()
        )
    return found


def _first_books(tables: Tables) -> dict[str, int]:
    """Return when each product's first stored book was received."""
    table = tables.find(RAW_ORDERBOOK.name)
    if table is None:
        return {}
    rows = table.scan(selected_fields=("symbol", "received_at")).to_arrow()
    first = rows.group_by("symbol").aggregate([("received_at", "min")])
    times = first.column("received_at_min").cast(pa.int64())
    columns: tuple[list[Any], list[Any]] = first.column("symbol").to_pylist(), times.to_pylist()
    return dict(zip(*columns, strict=True))


def _quarantined(objects: str) -> int:
    """Count the messages that were put aside, in the bucket itself."""
    url = f"{objects}/storage/v1/b/{OBJECTS_BUCKET}/o?prefix=quarantine/"
    listed = urllib3.request("GET", url, timeout=PATIENCE_SECONDS).json()
    return len(listed.get("items", ()))
