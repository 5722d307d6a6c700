"""What Pub/Sub alone can show: connections, credentials, errors, and an emulator that goes away."""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.auth.exceptions import RefreshError, TransportError

from quotewatch.bus.port import Message
from quotewatch.bus.pubsub import PubSubBus
from quotewatch.bus.pubsub_calls import named
from quotewatch.errors import BusError, BusUnavailableError
from tests.bus.places import READER, TOPIC, EmulatorPlace, bodies, collect, reader
from tests.emulator import free_port, running_emulator

ROOT = Path(__file__).parents[2]


def test_nothing_connects_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    with closing(PubSubBus("some-project")) as bus:
        assert bus._clients is None


def test_the_emulator_of_the_environment_is_used(
    pubsub_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_emulator)
    with closing(PubSubBus("by-environment")) as bus:
        bus.create([TOPIC], [reader()])
        bus.publish(TOPIC, [Message(b"a")])
        assert bodies(collect(bus, READER, 1)) == [b"a"]


def test_projects_do_not_see_each_other(emulator_place: EmulatorPlace) -> None:
    emulator_place.open().create([TOPIC], [])
    with (
        closing(PubSubBus("another", emulator_host=emulator_place.address)) as bus,
        pytest.raises(BusError, match="terraform apply"),
    ):
        bus.publish(TOPIC, [Message(b"a")])


def test_topics_of_the_cloud_are_not_created_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    with (
        closing(PubSubBus("some-project")) as bus,
        pytest.raises(BusError, match="Terraform owns topics"),
    ):
        bus.create([TOPIC], [reader()])


def test_missing_credentials_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with (
        closing(PubSubBus("some-project")) as bus,
        pytest.raises(BusError, match="application-default login"),
    ):
        bus.publish(TOPIC, [Message(b"a")])


@pytest.mark.parametrize(
    "kind",
    [
        exceptions.ServiceUnavailable,
        exceptions.DeadlineExceeded,
        partial(exceptions.RetryError, cause=None),
        exceptions.Aborted,
        exceptions.Cancelled,
        exceptions.InternalServerError,
        exceptions.ResourceExhausted,
        exceptions.Unknown,
        partial(TransportError, retryable=True),
    ],
)
def test_what_may_pass_is_retryable(kind: Callable[[str], Exception]) -> None:
    with (
        pytest.raises(BusUnavailableError, match=r"^topic raw_trades: .*down.*try again$"),
        named("topic raw_trades"),
    ):
        raise kind("down")


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        (exceptions.NotFound, "terraform apply"),
        (exceptions.InvalidArgument, "see the message"),
        (exceptions.PermissionDenied, "grant this service account"),
        (exceptions.Unauthenticated, "credentials"),
        (exceptions.FailedPrecondition, "see the message"),
        (RefreshError, "credentials"),
    ],
)
def test_what_will_not_pass_is_not(kind: Callable[[str], Exception], step: str) -> None:
    with (
        pytest.raises(BusError, match=f"^topic raw_trades: .*refused.*{step}") as raised,
        named("topic raw_trades"),
    ):
        raise kind("refused")
    assert not isinstance(raised.value, BusUnavailableError)


def test_what_a_pull_cannot_take_by_bytes_goes_back(emulator_place: EmulatorPlace) -> None:
    bus = emulator_place.open()
    bus.create([TOPIC], [reader()])
    # The first is small, so the next ones are asked for by a size they do not have.
    bus.publish(TOPIC, [Message(b"x"), *[Message(bytes(1_000)) for _ in range(5)]])
    first = bus.pull(READER, max_bytes=2_500, wait_seconds=1)
    assert 0 < sum(len(body) for body in bodies(first)) <= 2_500
    assert len(first) + len(collect(bus, READER, 6 - len(first))) == 6


def test_refused_connections_end_with_the_timeout() -> None:
    address = f"127.0.0.1:{free_port()}"
    with closing(PubSubBus("test", emulator_host=address)) as bus:
        started = time.monotonic()
        with pytest.raises(BusUnavailableError, match="try again"):
            bus.publish(TOPIC, [Message(b"a")], timeout_seconds=0.5)
        assert time.monotonic() - started < 5.5
        with pytest.raises(BusUnavailableError):
            bus.pull(READER)


def test_the_bus_works_again_when_the_emulator_is_back(tmp_path: Path) -> None:
    with running_emulator(tmp_path / "first.txt") as address:
        bus = PubSubBus("test", emulator_host=address)
        bus.create([TOPIC], [reader()])
        bus.publish(TOPIC, [Message(b"forgotten")])
    with closing(bus):
        with pytest.raises(BusUnavailableError):
            bus.publish(TOPIC, [Message(b"a")], timeout_seconds=0.5)
        with running_emulator(tmp_path / "second.txt", address):
            for _ in range(12):
                try:
                    bus.create([TOPIC], [reader()])
                    break
                except BusUnavailableError:  # create() retries for 10 s itself
                    continue
            bus.publish(TOPIC, [Message(b"b")], timeout_seconds=60)
            assert bodies(collect(bus, READER, 1)) == [b"b"]


def test_a_bus_made_before_a_fork_is_used_after_it(pubsub_emulator: str) -> None:
    # What gunicorn does: import in the master, fork, serve in the worker.
    script = f"""
import os, sys
from quotewatch.bus.port import Message
from quotewatch.bus.pubsub import PubSubBus
bus = PubSubBus("forked", emulator_host={pubsub_emulator!r})
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
bus.create(["raw_trades"], [])
os._exit(len(bus.publish("raw_trades", [Message(b"a")])) - 1)
"""
    assert run(script) == 0


def test_a_bus_used_before_a_fork_is_refused_in_the_child() -> None:
    script = """
import os, sys
from quotewatch.bus.pubsub import PubSubBus
from quotewatch.errors import BusError
bus = PubSubBus("forked", emulator_host="127.0.0.1:1")
bus._connected()
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
try:
    bus.pull("raw_trades.write")
except BusError as error:
    os._exit(0 if "fork" in str(error) else 1)
os._exit(2)
"""
    assert run(script) == 0


def run(script: str) -> int:
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=ROOT, check=False, timeout=120).returncode
