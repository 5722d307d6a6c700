"""What a run came to: one JSON object for programs, a short table for people."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from quotewatch.intervals import Intervals
from quotewatch.local.settling import Settled
from quotewatch.local.summary import Summary, summarize
from quotewatch.local.tally import StreamTally, Tally
from tests.cloudlike.calls import Call
from tests.cloudlike.counters import Exports
from tests.cloudlike.deployment import Deployment
from tests.cloudlike.killing import Kill
from tests.cloudlike.plan import HORIZON_MS
from tests.cloudlike.proof import Proof


@dataclass(frozen=True)
class Outcome:
    """All that is known at the end."""

    seconds: float
    kills: Sequence[Kill]
    proof: Proof
    exports: Exports
    exit_codes: Mapping[str, int | None]
    stray_files: Sequence[str]
    losses: Sequence[str]


def summary_of(deployment: Deployment, outcome: Outcome) -> Summary:
    """Put a run into one object: what the demo says of one, and what only this one knows."""
    proof = outcome.proof
    stored = {name: each.rows for name, each in proof.tables.items()}
    settled = Settled(
        stored=stored,
        missing={"predictions": sum(Intervals.parse(s).count for s in proof.unanswered.values())},
        losses=(),
        models=_models(deployment),
        doubled={name: each.duplicates or 0 for name, each in proof.tables.items()},
    )
    tally = _tally(proof.frames, stored)
    summary = summarize(outcome.seconds, tally, proof.audit, deployment.faults(), settled)
    del summary["latency_ms"]  # nobody stood at the bus with a watch
    for frames in summary["frames"].values():
        del frames["bytes"]
    summary["rejected"] = dict(proof.audit.rejected)
    summary["missing"]["labels"] = sum(proof.unlabelled.values())
    return {
        **summary,
        "kills": [asdict(each) for each in outcome.kills],
        "instances": {name: len(c.instances) for name, c in deployment.components.items()},
        "calls": _calls(deployment.calls.all()),
        "lost_books": asdict(proof.lost_books),
        "gaps_by_state": _gaps(proof),
        "unnamed_holes": dict(proof.unnamed_holes),
        "dead_letters": dict(proof.dead_letters),
        "quarantined": proof.quarantined,
        "exports": asdict(outcome.exports),
        "exit_codes": dict(outcome.exit_codes),
        "stray_files": list(outcome.stray_files),
        "unused_grants": deployment.accounts.unused(),
        "loss": list(outcome.losses),
    }


def _tally(frames: Mapping[str, int], stored: Mapping[str, int]) -> Tally:
    tally = Tally()
    for name, count in frames.items():
        tally.streams[name] = StreamTally(frames=count, rows=stored.get(name, 0))
    return tally


def _models(deployment: Deployment) -> dict[str, Any]:
    """Return what `train` said last."""
    told = [each for each in deployment.calls.of("train") if each.ok and each.report]
    if not told or told[-1].report is None:
        return {}
    models: dict[str, Any] = told[-1].report["horizons"]
    return models if models[str(HORIZON_MS)]["scores"] else {}


def _calls(calls: Sequence[Call]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for call in calls:
        each = counts.setdefault(call.function, Counter())
        each["ok" if call.ok else "failed"] += 1
        each["broken"] += call.broken
        each[f"{call.status}"] += 1
    return {name: dict(+counts[name]) for name in sorted(counts)}


def _gaps(proof: Proof) -> dict[str, int]:
    counts = Counter(f"{each.scope.kind} {each.state}" for each in proof.gaps)
    return dict(sorted(counts.items()))


def show(console: Console, summary: Summary, places: Mapping[str, object]) -> None:
    """Print what matters."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ("rows", "frames", "missing", "duplicates", "exported")
    table.add_column("table", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    for name, rows in summary["stored"].items():
        frames = summary["frames"].get(name, {}).get("frames", "")
        found = [summary[each].get(name, "") for each in ("missing", "duplicates")]
        told = summary["exports"]["rows_told"].get(name, "")
        table.add_row(name, *(f"{each:,}" if isinstance(each, int) else each
                              for each in (rows, frames, *found, told)))  # fmt: skip
    console.print(table, highlight=False)
    for name, text in {**_findings(summary), **places}.items():
        console.print(f"[bold]{name}[/] {escape(str(text))}", highlight=False, soft_wrap=True)
    for loss in summary["loss"]:
        console.print(f"[bold red]LOSS[/] {escape(loss)}", highlight=False, soft_wrap=True)


def _findings(summary: Summary) -> dict[str, str]:
    killed = Counter(each["component"] for each in summary["kills"])
    at_work = sum(each["at_work"] for each in summary["kills"])
    calls = summary["calls"]
    lost, exports = summary["lost_books"], summary["exports"]
    return {
        "sent": _listed(summary["sent"]),
        "kills": f"{killed.total()}, {at_work} at work: {_listed(killed)}",
        "calls": "; ".join(f"{name} {_listed(each)}" for name, each in calls.items()),
        "gaps": f"{_listed(summary['gaps_by_state'])}; trades {_listed(summary['gaps'])}",
        "books": f"{lost['changes']} changes lost, {lost['unnamed']} of them in no gap",
        "exports": f"{sum(exports['tasks'].values())} tasks, {exports['exact']} counters compared,"
        f" {exports['refused']} refused",
        "model": _model(summary.get("model")),
    }


def _model(model: Mapping[str, Any] | None) -> str:
    return f"{model['version']}: {model['labels']:,} labels" if model else "none"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none"
