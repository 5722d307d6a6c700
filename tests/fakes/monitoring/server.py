"""The fake as a gRPC server on a loopback port, all of it in memory, and how tests look at it."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import grpc  # type: ignore[import-untyped]  # grpcio carries no types
from google.cloud.monitoring_v3 import types as wire

from tests.fakes.monitoring.faults import Faults
from tests.fakes.monitoring.service import Service
from tests.fakes.monitoring.store import KINDS, VALUE_TYPES, Series, Store, read_lines
from tests.fakes.monitoring.values import Point, Value, in_nanoseconds

QUOTEWATCH = "custom.googleapis.com/quotewatch/"
WORKERS = 16

GivenPoint = Point | tuple[float, Value] | tuple[float, float, Value]


class MonitoringFake:
    """A server on a free loopback port. Stopped and started again it keeps port and data."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._service = Service(clock)
        self._lock = self._service.lock
        self._server: Any = None
        self._pool: ThreadPoolExecutor | None = None
        self._port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def writes(self) -> list[wire.CreateTimeSeriesRequest]:
        """What was accepted of each request."""
        return self._service.writes

    @property
    def refusals(self) -> list[str]:
        """Metric, labels and reason of each series refused."""
        return self._service.refusals

    @property
    def calls(self) -> Counter[str]:
        """How often each method was called, refused or not."""
        return self._service.calls

    @property
    def store(self) -> Store:
        """All that is held."""
        return self._service.store

    def start(self, port: int = 0) -> str:
        """Serve on a given port, on the one of the last time, or on a free one."""
        self._pool = ThreadPoolExecutor(WORKERS)
        # Without the option, a second server on the same port would share its connections.
        self._server = grpc.server(self._pool, options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self._service.handlers(),))
        self._port = self._server.add_insecure_port(f"127.0.0.1:{port or self._port}")
        self._server.start()
        return self.address

    def stop(self) -> None:
        """Cut all calls; what is held stays."""
        server, self._server = self._server, None
        if server is not None and self._pool is not None:
            server.stop(None).wait()
            self._pool.shutdown()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def fail(self, code: grpc.StatusCode, times: int = 1, method: str = "CreateTimeSeries") -> None:
        """Make the next calls of a method fail; nothing of them is done."""
        with self._lock:
            self._service.faults.queue(code, times, method)

    def always_fail(self, code: grpc.StatusCode) -> None:
        """Make every call of every method fail until heal()."""
        with self._lock:
            self._service.faults.outage = code

    def deny(self) -> None:
        """Refuse all calls as to an account without a role, until heal()."""
        self.always_fail(grpc.StatusCode.PERMISSION_DENIED)

    def slow(self, seconds: float) -> None:
        """Answer that much later; what was asked is done at once. Until heal()."""
        with self._lock:
            self._service.faults.delay_seconds = seconds

    def refuse(self, metric_type_substring: str) -> None:
        """Refuse these series of each request, and no others, until heal()."""
        with self._lock:
            self._service.faults.unlucky.append(metric_type_substring)

    def heal(self) -> None:
        """End all faults."""
        with self._lock:
            self._service.faults = Faults()

    def put(
        self,
        metric_type: str,
        labels: Mapping[str, str],
        resource_type: str,
        resource_labels: Mapping[str, str],
        kind: str,
        value_type: str,
        points: Sequence[GivenPoint],
    ) -> None:
        """Hold points that nobody wrote, as of built-in metrics: no rules, no descriptor.

        A point is a Point, (end, value) or (start, end, value), times in seconds. Kind and value
        type are the API's names: "GAUGE", "INT64".
        """
        KINDS.Value(kind), VALUE_TYPES.Value(value_type)  # both raise at an unknown name
        taken = [_taken(point) for point in points]
        given = Series(metric_type, labels, resource_type, resource_labels, kind, value_type, taken)
        with self._lock:
            self.store.add(given)

    def series(self, metric_name: str) -> list[Series]:
        """List what is held of a metric: a full type, or a name of ours without its prefix."""
        with self._lock:
            return self.store.of_type(_full_type(metric_name))

    def held(self) -> list[Series]:
        """List all that is held."""
        with self._lock:
            return self.store.copy()

    def latest(self, metric_name: str, /, **labels: str) -> Value:
        """Answer the newest value of the one series with these metric labels."""
        found = [each for each in self.series(metric_name) if labels.items() <= each.labels.items()]
        if len(found) != 1:
            held = [(dict(each.labels), dict(each.resource_labels)) for each in found]
            raise LookupError(f"{metric_name} {labels}: {len(found)} series, not one: {held}")
        return found[0].newest.value

    def dump(self, path: Path) -> None:
        """Write down what is held, as lines of JSON; `writes` is not."""
        with self._lock:
            told = json.dumps({"refusals": self.refusals, "calls": self.calls})
            path.write_text("".join(f"{line}\n" for line in (*self.store.dump(), told)))

    @classmethod
    def load(cls, path: Path, clock: Callable[[], float] = time.time) -> Self:
        """Make a fake that holds what another one wrote down; it is not started."""
        fake = cls(clock)
        for line in read_lines(path):
            fake.store.load(line)
            fake.refusals.extend(line.get("refusals", ()))
            fake.calls.update(line.get("calls", {}))
        return fake


def _full_type(metric_name: str) -> str:
    """Complete a name of ours; a full type begins with a domain."""
    return metric_name if "/" in metric_name else QUOTEWATCH + metric_name


def _taken(given: GivenPoint) -> Point:
    if isinstance(given, Point):
        return given
    start, end, value = given if len(given) == 3 else (given[0], *given)
    return Point(in_nanoseconds(start), in_nanoseconds(end), value)
