"""Random kills for as long as asked, then every row counted: crashes, rows, missing, duplicates.

Real `stage` processes beside a publisher, each ended with -9 at random moments. 3 % of the frames
come twice, some are unreadable, some trades come from two gateways, the order is lost. --seconds,
--bus pubsub (the official emulator), --writers, --rate (frames a second), --seed, --orphan-seconds.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path

from benchmarks import _timing, pubsub_emulator
from benchmarks.soak_content import BROKEN, FRAME_ROWS, GOOD, STREAMS
from benchmarks.soak_logs import complaints, redelivered
from benchmarks.soak_processes import Crew, Place, environment
from benchmarks.soak_proof import Proof, Published, proofs
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.bus.topology import write_subscription
from quotewatch.errors import QuoteWatchError
from quotewatch.resources import Resources
from quotewatch.settings import load_settings
from quotewatch.tables.catalog import Tables
from quotewatch.tables.commit import read_ledger

_LOG = "published.jsonl"
_ACK_SECONDS = 10  # a killed writer holds its frames no longer: the least that Pub/Sub allows
_DRAIN_SECONDS = 180.0
_TELL_SECONDS = 10.0
_LOOK_SECONDS = 0.1
_NOWHERE = "http://127.0.0.1:1"  # where reconcile looks for trades: nobody answers


def main(options: Sequence[str] = ()) -> int:
    """Run it and print what it found; 1 if a row is missing or there twice."""
    asked = _parse(options)
    with ExitStack() as stack:
        data = Path(tempfile.mkdtemp(prefix="soak-"))
        own = _settings(asked, data)
        if asked.bus == "pubsub":
            try:
                address = pubsub_emulator.running(data / "emulator.log")
                os.environ["PUBSUB_EMULATOR_HOST"] = stack.enter_context(address)
            except pubsub_emulator.EmulatorError as error:
                print(f"soak over pubsub skipped: {error}")
                return 0
            stack.callback(os.environ.pop, "PUBSUB_EMULATOR_HOST")
        os.environ.update({k: v for k, v in environment(own).items() if k.startswith("QUOTEWATCH")})
        good = _soak(asked, data, environment(own))
    if good:
        shutil.rmtree(data, ignore_errors=True)
    else:
        print(f"The tables, the bus and all logs are kept in {data}")
    return 0 if good else 1


def _soak(asked: argparse.Namespace, data: Path, told: dict[str, str]) -> bool:
    with closing(Resources(load_settings())) as resources:
        resources.create_names()
    crew = Crew(data, told, _places(asked, data), random.Random(asked.seed))
    try:
        _trouble(crew, asked.seconds, data)
        crew.end("publisher")
        published = Published.read(data / _LOG)
        left = _drain(crew, published)
        crew.end()
    finally:
        crew.kill()
    found = proofs(data, published)
    _show(crew, published, found, data)
    for each in (*left, *crew.deaths):
        print(each)
    return not left and not any(each.missing or each.duplicates or each.strangers for each in found)


def _settings(asked: argparse.Namespace, data: Path) -> dict[str, str]:
    return {
        "DATA_DIR": str(data),
        "BUS": asked.bus,
        "PROJECT": "soak",
        "ACK_DEADLINE_S": str(_ACK_SECONDS),
        "WRITE_BUDGET_S": "10",
        "RECONCILE_BUDGET_S": "5",
        "REST_URL": _NOWHERE,
        "SETTLE_S": "5",
    }


def _places(asked: argparse.Namespace, data: Path) -> list[Place]:
    def stage(name: str, every: float) -> Sequence[str]:
        return ["quotewatch", "stage", name, f"--every={every}", f"--data={data}"]

    def publish(life: int) -> Sequence[str]:
        own = (str(data / _LOG), str(life), str(asked.seed), str(asked.rate))
        return ["benchmarks.soak_publisher", *own]

    def maintain(_: int) -> Sequence[str]:
        return ["benchmarks.soak_maintain", str(asked.orphan_seconds), "1.0"]

    writers = [
        Place(f"write-{number}", lambda _: stage("write", 0.2), 8.0)
        for number in range(1, asked.writers + 1)
    ]
    return [
        Place("publisher", publish, 25.0),
        *writers,
        Place("maintain", maintain, 12.0),
        Place("reconcile", lambda _: stage("reconcile", 2.0), 12.0),
    ]


def _trouble(crew: Crew, seconds: float, data: Path) -> None:
    began = told = time.monotonic()
    crew.start()
    while time.monotonic() < began + seconds:
        crew.trouble()
        if time.monotonic() >= told + _TELL_SECONDS:
            told = time.monotonic()
            taken = Published.read(data / _LOG).messages()
            print(
                f"  {told - began:4.0f} s  {crew.crashes.total()} kills  {taken} messages",
                flush=True,
            )
        time.sleep(_LOOK_SECONDS)


def _drain(crew: Crew, published: Published) -> list[str]:
    """Wait until the ledgers know all that was taken, and a lease longer: what is left, in words.

    What comes twice must find its ledger; what was leased by the dead comes back.
    """
    print("  draining", flush=True)
    deadline = time.monotonic() + _DRAIN_SECONDS
    settled_at: float | None = None
    with closing(Resources(load_settings())) as resources:
        while True:
            left = _unknown(resources.tables, published) + _waiting(resources)
            settled_at = (settled_at or time.monotonic()) if not left else None
            if settled_at is not None and time.monotonic() > settled_at + _ACK_SECONDS:
                return []
            if time.monotonic() >= deadline:
                return left
            crew.revive()
            time.sleep(1.0)


def _unknown(tables: Tables, published: Published) -> list[str]:
    left = []
    for stream in STREAMS:
        try:
            table = tables.load(stream)
            epochs = read_ledger(table).stream(stream).epochs
        except QuoteWatchError as error:
            left.append(f"{stream}: {error}")
            continue
        done = {(name, seq) for name, each in epochs.items() for run in each.done
                for seq in range(run[0], run[1] + 1)}  # fmt: skip
        aside = {(name, seq) for name, each in epochs.items() for run in each.quarantined
                 for seq in range(run[0], run[1] + 1)}  # fmt: skip
        good = published.names(stream, [GOOD]) - done
        broken = published.names(stream, [BROKEN]) - done - aside
        if good or broken:
            left.append(f"{stream}: the ledger lacks {len(good)} frames, {len(broken)} put aside")
    return left


def _waiting(resources: Resources) -> list[str]:
    if not isinstance(resources.bus, SqliteBus):
        return []
    waiting = {name: resources.bus.backlog(write_subscription(name)).messages for name in STREAMS}
    return [f"{name}: {count} frames on the bus" for name, count in waiting.items() if count]


def _show(crew: Crew, published: Published, found: Sequence[Proof], data: Path) -> None:
    _timing.print_table("Kills (-9)", [dict(crew.crashes)])
    aside = sum(1 for each in (data / "objects" / "quarantine").rglob("*") if each.is_file())
    print(
        f"\n{published.messages()} messages of {FRAME_ROWS} rows taken by the bus,"
        f" {published.unreadable()} unreadable, {aside} in quarantine;"
        f" {redelivered(data)} rows came again"
    )
    _timing.print_table("Errors that passed", complaints(data))
    _timing.print_table(
        f"After {crew.crashes.total()} crashes", [asdict(each) for each in found]
    )  # fmt: skip


def _parse(options: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soak")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--bus", choices=("sqlite", "pubsub"), default="sqlite")
    parser.add_argument("--writers", type=int, default=3)
    parser.add_argument("--rate", type=float, default=40.0, help="frames a second")
    parser.add_argument("--seed", type=int, default=1)
    # Longer than any commit tries: what is younger may be about to be committed.
    parser.add_argument("--orphan-seconds", type=float, default=90.0)
    return parser.parse_args(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
