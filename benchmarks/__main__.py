"""List the benchmarks, run those named, all by default."""

import sys

from benchmarks import _timing, bytes_on_bus, end_to_end, hotpath, receivers

_BENCHMARKS = {
    "hotpath": hotpath,
    "bytes_on_bus": bytes_on_bus,
    "receivers": receivers,
    "end_to_end": end_to_end,
}


def main(names: list[str]) -> int:
    """Run the benchmarks; return the exit status."""
    unknown = [name for name in names if name not in _BENCHMARKS]
    for name, module in _BENCHMARKS.items():
        mark = "*" if name in names or not names else " "
        print(f"{mark} {name:<14}{(module.__doc__ or '').splitlines()[0]}")
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}.")
        return 2
    print(_timing.machine_facts())
    for name in names or _BENCHMARKS:
        _BENCHMARKS[name].main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
