"""List the benchmarks, run those named, all but the long ones by default.

What follows a single name as `--option value` is for that one: `soak --seconds 600`.
"""

import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

from benchmarks import (
    _timing,
    bytes_on_bus,
    cost_inputs,
    end_to_end,
    feed_to_prediction,
    freshness,
    hotpath,
    instrumentation,
    label,
    latency,
    metric_export,
    predict,
    receivers,
    soak,
    table_bytes,
    table_growth,
    trade_lookup,
    train,
    write_path,
)

_BENCHMARKS: Mapping[str, ModuleType] = {
    "hotpath": hotpath,
    "instrumentation": instrumentation,
    "metric_export": metric_export,
    "bytes_on_bus": bytes_on_bus,
    "receivers": receivers,
    "end_to_end": end_to_end,
    "write_path": write_path,
    "table_growth": table_growth,
    "trade_lookup": trade_lookup,
    "table_bytes": table_bytes,
    "label": label,
    "train": train,
    "predict": predict,
    "feed_to_prediction": feed_to_prediction,
    "freshness": freshness,
    "latency": latency,
    "cost_inputs": cost_inputs,
    "soak": soak,
}
_TAKE_OPTIONS = frozenset({"freshness", "latency", "soak"})
_ONLY_WHEN_NAMED = frozenset({"cost_inputs", "soak"})


def main(arguments: Sequence[str]) -> int:
    """Run the benchmarks; return the exit status."""
    names, options = _split(arguments)
    chosen = names or [name for name in _BENCHMARKS if name not in _ONLY_WHEN_NAMED]
    for name, module in _BENCHMARKS.items():
        mark = "*" if name in chosen else " "
        print(f"{mark} {name:<19}{(module.__doc__ or '').splitlines()[0]}")
    refusal = _refusal(names, options)
    if refusal:
        print(refusal)
        return 2
    print(_timing.machine_facts())
    return max(_run(name, options) for name in chosen)


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part the names from the options that follow them."""
    first = next((at for at, each in enumerate(arguments) if each.startswith("-")), len(arguments))
    return list(arguments[:first]), list(arguments[first:])


def _refusal(names: Sequence[str], options: Sequence[str]) -> str | None:
    unknown = [name for name in names if name not in _BENCHMARKS]
    if unknown:
        return f"There is no benchmark {', '.join(unknown)}."
    if options and (len(names) != 1 or names[0] not in _TAKE_OPTIONS):
        takers = " or ".join(sorted(_TAKE_OPTIONS))
        return f"{options[0]}: options follow one name, {takers}; like: soak --seconds 600"
    return None


def _run(name: str, options: Sequence[str]) -> int:
    run = _BENCHMARKS[name].main
    status: int | None = run(options) if name in _TAKE_OPTIONS else run()
    return status or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
