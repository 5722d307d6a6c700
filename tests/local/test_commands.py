"""The command line: what it refuses, what it prints, and how it ends."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3
from websockets.sync.client import connect

from quotewatch.__main__ import main
from quotewatch.coinbase import exchange
from tests.local.proof.made_up_run import EPOCH, SYMBOL, MadeUpRun

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0


@pytest.fixture
def run(tmp_path: Path) -> Iterator[MadeUpRun]:
    made = MadeUpRun(tmp_path)
    yield made
    made.bus.close()


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what the command line says to arguments it does not take."""
    try:
        code = main(arguments)
    except SystemExit as exit_:
        code = int(str(exit_.code))
    assert code == 2
    return capsys.readouterr().err


@contextmanager
def started(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a command that goes on until it is stopped."""
    process = subprocess.Popen(
        [sys.executable, "-m", "quotewatch", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with process:
            yield process
            process.kill()
    finally:
        process.kill()


def first_line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    line: dict[str, Any] = json.loads(process.stdout.readline())
    return line


def ended(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Wait for the end and return the report."""
    out, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors
    report: dict[str, Any] = json.loads(out)
    return report


# Refusals


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "COMMAND"),
        ("nonsense write", "invalid choice: 'nonsense'"),
        ("demo --faults duplicate,nope", "no such fault: nope; there are drop_trades,"),
        ("demo --seconds -3", "above zero"),
        ("demo --seconds nan", "expected a number"),
        ("demo --rate 0", "above zero"),
        ("demo --products btcusd", "btcusd: expected products like BTC-USD"),
        ("demo --products ,", "expected products like BTC-USD"),
        ("demo --dialect level3", "exchange"),
        ("demo --dialect advanced --products BTC-USDC", "answers -USDC products with -USD data"),
        ("run --dialect advanced --products BTC-USDC", "answers -USDC products with -USD data"),
        ("demo --faults bad_product --products BTC-USD", "at least two products"),
        ("simulate --port 65536", "0 (a free one) to 65535"),
        ("simulate --port http", "0 (a free one) to 65535"),
        ("run --feed-url http://localhost", "URL like ws://"),
        ("replay nowhere.jsonl", "no such file"),
        ("replay {capture} --speed -1", "1 for the recorded speed"),
        ("replay {capture}", "line 1"),
        ("demo --truth {folder}", "a file that can be written"),
        ("frames trades", "no such stream: trades; there are raw_orderbook, raw_trades"),
        ("frames features --data {folder}/nowhere", "no bus at"),
    ],
)
def test_refuses_and_says_what_it_expects(
    arguments: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = tmp_path / "capture.jsonl"
    capture.write_text("this is no capture\n")
    text = arguments.format(capture=capture, folder=tmp_path)
    assert said in refusal(capsys, *text.split())


def test_a_demo_does_not_mix_with_an_earlier_one(
    run: MadeUpRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run.publish("events", [run.event("start")])
    said = refusal(capsys, "demo", "--data", str(tmp_path))
    assert "holds an earlier run (bus.db)" in said
    assert not (tmp_path / "exchange.log").exists()


def test_run_refuses_settings_that_are_malformed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QUOTEWATCH_HTTP_PORT", "many")
    assert "QUOTEWATCH_HTTP_PORT='many'" in refusal(capsys, "run")


def test_run_refuses_another_bus(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QUOTEWATCH_BUS", "pubsub")
    monkeypatch.setenv("QUOTEWATCH_PROJECT", "somewhere")
    assert "QUOTEWATCH_BUS=pubsub" in refusal(capsys, "run")


# frames


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["frames", *arguments]) == 0
    return capsys.readouterr().out


def test_frames_as_json_are_the_rows_published(
    run: MadeUpRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run.publish("raw_orderbook", [run.update(1), run.update(2)])
    run.publish("raw_orderbook", [run.update(3)])
    arguments = ("raw_orderbook", "--json", "--data", str(tmp_path))
    rows = [json.loads(line) for line in shown(capsys, *arguments).splitlines()]
    assert [(row["epoch"], row["seq"], row["row"]) for row in rows] == [
        (EPOCH, 0, 0), (EPOCH, 0, 1), (EPOCH, 1, 0),
    ]  # fmt: skip
    assert rows[0] | {"epoch": "", "seq": 0} == {
        "epoch": "", "seq": 0, "row": 0, "symbol": SYMBOL, "book": 0, "kind": "update",
        "changes": [
            {"side": "bid", "price": "65001", "size": "1"},
            {"side": "ask", "price": "65001.5", "size": "0.0000001"},
        ],
        "received_at": "2026-09-21T14:13:20.000000Z", "conn": 1, "arrival": 0,
        "exchange_time": "2026-09-21T14:13:20.000001Z", "feed_seq": None,
    }  # fmt: skip
    assert shown(capsys, *arguments), "looking took them away"


def test_frames_for_people_are_the_first_and_the_last(
    run: MadeUpRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for frame in range(10):
        run.publish("raw_trades", [run.trade(1_000 + 7 * frame + row) for row in range(7)])
    lines = shown(capsys, "raw_trades", "--data", str(tmp_path)).splitlines()
    ids = [
        int(word)
        for line in lines[1:-1]
        for word in line.split()
        if word[:2] == "10" and len(word) == 4
    ]
    assert ids == [*range(1_000, 1_008), *range(1_062, 1_070)]
    assert lines[-1] == (
        "70 rows in 10 frames wait in raw_trades.write; 54 more than shown, --json has all of them"
    )


@pytest.mark.parametrize("count", [0, 1, 8, 9, 16, 17])
def test_no_row_is_shown_twice(
    run: MadeUpRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    if count:
        run.publish("raw_trades", [run.trade(1_000 + row) for row in range(count)])
    lines = shown(capsys, "raw_trades", "--data", str(tmp_path)).splitlines()
    ids = [
        word for line in lines[1:-1] for word in line.split() if word[:2] == "10" and len(word) == 4
    ]
    assert len(ids) == len(set(ids)) == min(count, 16)


def test_frames_of_another_subscription(
    run: MadeUpRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run.publish("events", [run.event("start")])
    arguments = ("events", "--data", str(tmp_path), "--subscription")
    assert "1 rows in 1 frames wait in events.console" in shown(
        capsys, *arguments, "events.console"
    )
    said = refusal(capsys, "frames", *arguments, "features.write")
    assert "there are events.write, events-dead.redrive, events.console" in said


def test_the_environment_says_where_the_bus_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "demo-1"
    run = MadeUpRun(folder)
    run.publish("events", [run.event("start")])
    run.bus.close()
    monkeypatch.setenv("QUOTEWATCH_DATA_DIR", str(folder))
    assert "1 rows in 1 frames" in shown(capsys, "events")
    monkeypatch.setenv("QUOTEWATCH_DATA_DIR", str(tmp_path))
    assert f"the newest run below it: --data {folder}" in refusal(capsys, "frames", "events")


def test_a_reader_that_has_seen_enough_is_no_error(run: MadeUpRun, tmp_path: Path) -> None:
    run.publish("raw_trades", [run.trade(number) for number in range(5_000)])
    with started("frames", "raw_trades", "--json", "--data", str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE_SECONDS) == 0
        assert process.stderr.read() == ""


# The servers


def test_simulate_says_where_to_connect_and_what_it_sent(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    with started("simulate", "--products", SYMBOL, "--truth", str(truth)) as process:
        with connect(first_line(process)["url"]) as socket:
            socket.send(exchange.subscribe([SYMBOL])[0].decode())
            received = [socket.recv(timeout=PATIENCE_SECONDS) for _ in range(20)]
        process.send_signal(signal.SIGINT)
        report = ended(process)
    assert report["connections"] == 1
    assert sum(report["sent"].values()) >= len(received)
    assert len(truth.read_text().splitlines()) == sum(report["sent"].values()) + report["withheld"]


def test_simulate_ends_after_its_seconds() -> None:
    with started("simulate", "--seconds", "0.2") as process:
        assert first_line(process)["dialect"] == "exchange"
        assert ended(process)["connections"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_simulate_lingers_until_it_is_stopped_and_reports_once(number: signal.Signals) -> None:
    with started("simulate", "--seconds", "0.2", "--linger", "--products", SYMBOL) as process:
        rest_url = first_line(process)["rest_url"]
        assert first_line(process)["connections"] == 0
        answer = urllib3.request("GET", f"{rest_url}/products/{SYMBOL}/trades?limit=3")
        assert len(answer.json()) == 3
        process.send_signal(number)
        out, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, out, errors) == (0, "", "")


def test_simulate_names_a_port_that_is_taken() -> None:
    with started("simulate") as process:
        port = first_line(process)["url"].rpartition(":")[2]
        second = subprocess.run(
            [sys.executable, "-m", "quotewatch", "simulate", "--port", port],
            cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip
    assert second.returncode == 2
    assert "--port 0" in second.stderr
    assert "Traceback" not in second.stderr


def test_replay_plays_a_capture(tmp_path: Path) -> None:
    capture = tmp_path / "capture.jsonl"
    messages = [f'{{"type":"heartbeat","n":{number}}}' for number in range(5)]
    lines = [{"received_at": 1.0 + n, "message": text} for n, text in enumerate(messages)]
    capture.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with started("replay", str(capture), "--speed", "0") as process:
        with connect(first_line(process)["url"]) as socket:
            socket.send(exchange.subscribe([SYMBOL])[0].decode())
            assert list(socket) == messages
        process.send_signal(signal.SIGTERM)
        report = ended(process)
    assert (report["finished"], report["messages"]) == (1, 5)


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("", "demo", "run", "simulate", "replay", "frames"):
        with pytest.raises(SystemExit) as exit_:
            main([*command.split(), "--help"])
        assert exit_.value.code == 0
        assert command in capsys.readouterr().out
