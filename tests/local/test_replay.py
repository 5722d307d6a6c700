"""Replay: a client gets the recording, as it was."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from quotewatch.coinbase import advanced, exchange
from quotewatch.errors import SettingsError
from quotewatch.local.capture import CaptureError, read_capture
from quotewatch.local.replay import ReplayReport, serve_replay
from tests.captures import capture_files
from tests.local.exchange.listener import StoppedClock, run

MESSAGES = ['{"type":"one"}', '{"type":"two","price":"1.50"}', '{"type": "drei · ü"}']


def record(path: Path, messages: Sequence[str] = MESSAGES, spacing: float = 0.01) -> Path:
    lines = [
        json.dumps({"received_at": 1_700_000_000 + n * spacing, "message": message})
        for n, message in enumerate(messages)
    ]
    data = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


class Replay:
    """A running replay and, afterwards, its report."""

    def __init__(self) -> None:
        self.port = 0
        self.report = ReplayReport()


@asynccontextmanager
async def replaying(path: Path, speed: float = 0, **settings: Any) -> AsyncIterator[Replay]:
    stop = asyncio.Event()
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_replay(path, 0, speed, ready.set_result, stop, **settings))
    replay = Replay()
    replay.port = await ready
    yield replay
    stop.set()
    replay.report = await serving


def dial(replay: Replay) -> connect:
    return connect(f"ws://127.0.0.1:{replay.port}", max_size=None, ping_interval=None)


async def read_all(socket: ClientConnection) -> list[str]:
    """Read to the end, which must be a clean close."""
    texts = [str(text) async for text in socket]  # another close than a clean one raises
    assert (socket.close_code, socket.close_reason) == (1000, "end of the capture")
    return texts


@pytest.mark.parametrize("name", ["capture.jsonl", "capture.jsonl.gz"])
def test_a_subscriber_gets_the_recording_and_a_clean_close(name: str, tmp_path: Path) -> None:
    async def test() -> None:
        async with replaying(record(tmp_path / name)) as replay, dial(replay) as socket:
            await socket.send(exchange.subscribe(["BTC-USD"])[0], text=True)
            assert await read_all(socket) == MESSAGES
        assert replay.report == ReplayReport(connections=1, finished=1, messages=3)

    run(test)


def test_every_subscriber_gets_all_of_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with replaying(record(tmp_path / "c.jsonl")) as replay:
            for request in (*exchange.subscribe(["X"]), *advanced.subscribe(["X"])[:1]):
                async with dial(replay) as socket:
                    await socket.send(request, text=True)
                    assert await read_all(socket) == MESSAGES

    run(test)


def test_nothing_comes_before_a_subscribe(tmp_path: Path) -> None:
    async def test() -> None:
        async with replaying(record(tmp_path / "c.jsonl")) as replay, dial(replay) as socket:
            await socket.send("hello")
            await socket.send('{"type":"unsubscribe"}')
            await (await socket.ping())
            assert replay.report.messages == 0
            await socket.send('{"type":"subscribe"}')
            assert await read_all(socket) == MESSAGES

    run(test)


def test_it_may_stay_open_at_the_end(tmp_path: Path) -> None:
    async def test() -> None:
        path = record(tmp_path / "c.jsonl")
        async with replaying(path, keep_open=True) as replay, dial(replay) as socket:
            await socket.send('{"type":"subscribe"}')
            assert [str(await socket.recv()) for _ in MESSAGES] == MESSAGES
            await (await socket.ping())

    run(test)


def test_the_spacing_is_the_recorded_one_divided_by_the_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StoppedClock()
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.ns += round(seconds * 1e9)

    async def test() -> None:
        path = record(tmp_path / "c.jsonl", spacing=40.0)
        async with replaying(path, speed=4.0, clock=clock) as replay, dial(replay) as socket:
            monkeypatch.setattr("quotewatch.local.replay._sleep", sleep)
            await socket.send('{"type":"subscribe"}')
            assert await read_all(socket) == MESSAGES

    run(test)
    assert slept == pytest.approx([0.0, 10.0, 10.0], abs=1e-3)


def test_a_slow_reader_is_waited_for(tmp_path: Path) -> None:
    async def test() -> None:
        path = record(tmp_path / "c.jsonl", ["x" * 1_000_000] * 60)
        async with replaying(path) as replay:
            url = f"ws://127.0.0.1:{replay.port}"
            async with connect(url, max_queue=1, compression=None, max_size=None) as socket:
                await socket.send('{"type":"subscribe"}')
                for received in range(1, 61):
                    await socket.recv()
                    # What is under way fits into the buffers of two sockets.
                    assert replay.report.messages - received < 30

    run(test)


def test_a_truth_file_replays_what_was_sent(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    lines = [
        {"t": 1.0 + n, "conn": 1, "message": str(n), "sent": n != 1, "fault": None}
        for n in range(3)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert [line.message for line in read_capture(path)] == ["0", "2"]


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("not json", "malformed"),
        ('{"received_at": 1}', "missing required field `message`"),
        ('{"message": "x"}', "no time"),
        ('{"received_at": "now", "message": "x"}', "Expected `float | null`"),
        ("[]", "Expected `object`"),
    ],
)
def test_a_bad_line_is_named_before_anybody_is_served(bad: str, told: str, tmp_path: Path) -> None:
    path = record(tmp_path / "capture.jsonl")
    with path.open("a") as file:
        file.write(bad + "\n")

    async def test() -> None:
        with pytest.raises(CaptureError) as refused:
            await serve_replay(path, 0, 1.0, None, asyncio.Event())
        assert f"{path}, line 4: " in str(refused.value)
        assert told in str(refused.value)

    run(test)


def test_a_damaged_gzip_is_named(tmp_path: Path) -> None:
    path = record(tmp_path / "c.jsonl.gz", [f'{{"n":{n * 7919}}}' for n in range(2000)])
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CaptureError, match="damaged gzip"):
        list(read_capture(path))


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"nothing\.jsonl: cannot be read"):
        list(read_capture(tmp_path / "nothing.jsonl"))

    async def test() -> None:
        (tmp_path / "empty.jsonl").touch()
        with pytest.raises(CaptureError, match="no messages"):
            await serve_replay(tmp_path / "empty.jsonl", 0, 1.0, None, asyncio.Event())
        with pytest.raises(SettingsError, match="below zero"):
            await serve_replay(tmp_path / "empty.jsonl", 0, -1.0, None, asyncio.Event())

    run(test)


def test_the_real_captures_come_through_byte_for_byte() -> None:
    async def test() -> None:
        for path in capture_files():
            with gzip.open(path, "rt", encoding="utf-8") as file:
                expected = [json.loads(line)["message"] for line in file]
            async with replaying(path) as replay, dial(replay) as socket:
                await socket.send('{"type":"subscribe"}')
                assert await read_all(socket) == expected

    run(test)
