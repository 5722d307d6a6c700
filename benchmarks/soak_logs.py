"""What the processes of a soak complained of, by kind: errors that pass are no loss, yet seen."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_VARYING = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{20,}|\d+|/\S+")
_SHOWN = 110


def complaints(data: Path) -> list[dict[str, object]]:
    """Count the error lines of all logs."""
    found: Counter[tuple[str, str, str]] = Counter()
    for log in sorted(data.glob("*.log")):
        for entry in _entries(log):
            if entry.get("level") in {"error", "critical"}:
                text = str(entry.get("error") or entry.get("exception") or "")
                kind = _VARYING.sub("…", text)[:_SHOWN]
                found[log.stem.rstrip("-0123456789"), str(entry["event"]), kind] += 1
    return [
        {"process": name, "event": event, "times": times, "error": kind}
        for (name, event, kind), times in found.most_common()
    ]


def redelivered(data: Path) -> int:
    """Count the rows that writers found stored already."""
    return sum(
        int(entry["duplicate"])
        for log in data.glob("write-*.log")
        for entry in _entries(log)
        if entry.get("event") == "drained"
    )


def _entries(log: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines that are JSON; kills cut some off."""
    for line in log.read_bytes().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "event" in entry:
            yield entry
