"""What a run came to: one JSON object for programs, a short table for people."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from quotewatch.local.proof.audit import Audit
from quotewatch.local.settling import Settled
from quotewatch.local.tally import Tally
from quotewatch.streams import PREDICTIONS

Summary = dict[str, Any]

_TO_JUDGE = 20  # rows of each kind, below which a score says nothing


def summarize(
    seconds: float,
    tally: Tally,
    audit: Audit | None = None,
    injected: Mapping[str, int] | None = None,
    settled: Settled | None = None,
) -> Summary:
    """Put a run into one object. A key is absent where its part does not exist."""
    summary: Summary = {"seconds": round(seconds, 3)}
    if audit is not None:
        summary["sent"] = _sorted(audit.sent)
    summary["frames"] = {
        name: {"frames": stream.frames, "rows": stream.rows, "bytes": stream.bytes}
        for name, stream in tally.streams.items()
    }
    if settled is not None:
        summary["stored"] = settled.stored
        summary["missing"] = settled.missing  # the audit, where there is one, knows better
    if audit is not None:
        summary |= _proof(audit, injected or {})
        if settled is not None:  # what the exchange's truth knows nothing of
            summary["missing"][PREDICTIONS.name] = settled.missing.get(PREDICTIONS.name, 0)
            summary["duplicates"] |= settled.doubled
    if settled is not None and settled.models:
        summary["model"] = _model(settled.models)
    if settled is not None and settled.losses:
        summary.setdefault("loss", []).extend(settled.losses)
    summary["rejected"] = _sorted(tally.count_events("reject"))
    summary["latency_ms"] = {
        "p50": tally.latency.percentile(0.50),
        "p99": tally.latency.percentile(0.99),
    }
    return summary


def _proof(audit: Audit, injected: Mapping[str, int]) -> Summary:
    unknowable = ("too_early", "too_late")
    gaps = {k: v for k, v in asdict(audit.gaps).items() if v or k not in unknowable}
    proof: Summary = {
        "missing": dict(audit.missing),
        "duplicates": dict(audit.duplicates),
        "gaps": gaps,
        "cut_off": audit.cut_off,
        "injected": _sorted(
            {**injected, **audit.faults}
        ),  # what it did to connections, to messages
    }
    if any(audit.unexpected.values()):
        proof["unexpected"] = audit.unexpected
    if audit.losses:
        proof["loss"] = list(audit.losses)
    return proof


def _model(models: Mapping[str, Any]) -> Summary:
    """Tell how the model of the first horizon did; those of others stand beside it."""
    told = {horizon: _told(each) for horizon, each in models.items()}
    first, *others = told
    return {**told[first], **({"horizons": told} if others else {})}


def _told(model: Mapping[str, Any]) -> Summary:
    kinds = ("test_then_train", "served")
    scores = {kind: (model["scores"].get(kind) or {}).get("all") or {} for kind in kinds}
    return {
        "version": model["version"],
        "labels": model["labels"],
        "ready": model["ready"],
        **{kind: scores[kind] or None for kind in kinds},
        "base_rate": scores["test_then_train"].get("base_rate"),
    }


def write_summary(path: Path, summary: Summary) -> None:
    """Write the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(summary, indent=2) + "\n")
    beside.replace(path)


def show_summary(console: Console, summary: Summary, places: Mapping[str, Path]) -> None:
    """Print findings, where everything is, and what to try next."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _findings(summary).items():
        table.add_row(name, escape(text))
    for name, path in places.items():
        table.add_row(name, escape(str(path)))
    console.print(table, highlight=False)
    for loss in summary.get("loss", ()):
        console.print(f"[bold red]LOSS[/] {escape(loss)}", highlight=False, soft_wrap=True)


def _findings(summary: Summary) -> dict[str, str]:
    found = {"ran": f"{summary['seconds']:.1f} s"}
    if "sent" in summary:
        total = sum(summary["sent"].values())
        found["sent"] = f"{total:,} messages: {_listed(summary['sent'])}"
    stored = summary.get("stored", {})
    for name, stream in summary["frames"].items():
        kilobytes = stream["bytes"] / 1e3
        found[name] = f"{stream['rows']:,} rows in {stream['frames']:,} frames, {kilobytes:,.0f} KB"
        if name in stored:
            found[name] += f"; {stored[name]:,} rows in the table"
    if "missing" in summary:
        found["missing"] = _verdict(summary["missing"])
    if "duplicates" in summary:
        found["duplicates"] = _verdict(summary["duplicates"])
        found["gaps"] = _gaps(summary["gaps"])
        found["injected"] = _listed(summary["injected"]) or "no faults"
        found["cut off"] = f"{summary['cut_off']} messages, unread when their connection broke"
    if "model" in summary:
        found |= _learnt(summary["model"])
    found["rejected"] = _listed(summary["rejected"]) or "nothing"
    p50, p99 = summary["latency_ms"]["p50"], summary["latency_ms"]["p99"]
    if p50 is not None:
        found["latency"] = f"received to on the bus: p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    return found


def _learnt(model: Mapping[str, Any]) -> dict[str, str]:
    """Tell what was learnt, each score beside that of the base rate."""
    if model["version"] is None:
        return {"model": "nothing was learnt: no labels yet"}
    ready = "" if model["ready"] else "; not ready: it needs 100 labels of each kind"
    found = {"model": f"{model['version']}: {model['labels']:,} labels learnt{ready}"}
    for kind in ("test_then_train", "served"):
        scores = model[kind]
        if scores and scores["n"]:
            found[kind.replace("_", " ")] = _scores(scores)
    return found


def _scores(scores: Mapping[str, Any]) -> str:
    base = scores.get("base_rate_only") or {}
    shown = {"AUC": "auc", "Brier": "brier", "balanced accuracy": "balanced_accuracy"}
    parts = [
        f"{name} {_number(scores.get(key))} (base rate: {_number(base.get(key))})"
        for name, key in shown.items()
    ]
    few = min(scores["positives"], scores["n"] - scores["positives"]) < _TO_JUDGE
    judged = "too few to judge" if few else ", ".join(parts)
    return f"{scores['n']:,} rows, {scores['base_rate']:.1%} moved: {judged}"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"


def _verdict(counts: Mapping[str, int]) -> str:
    bad = {name: count for name, count in counts.items() if count}
    return _listed(bad) or f"0 in {', '.join(counts)}"


def _gaps(gaps: Mapping[str, int]) -> str:
    if not gaps["injected"]:
        return "no trade was kept from the gateway"
    early, late = gaps.get("too_early", 0), gaps.get("too_late", 0)
    tail = f", {early} older than the first one heard of" if early else ""
    tail += f", {late} newer than the last one heard of" if late else ""
    return (
        f"{gaps['injected']} trades kept from the gateway: {gaps['detected']} noticed{tail};"
        f" {gaps['healed']} came later, {gaps['open']} are open"
    )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: counts[name] for name in sorted(counts) if counts[name]}
