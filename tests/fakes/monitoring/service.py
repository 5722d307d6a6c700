"""The calls of the API: each is counted, spoilt by a fault or done, and answered or refused."""

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import grpc  # type: ignore[import-untyped]  # grpcio carries no types
from google.cloud.monitoring_v3 import types as wire
from grpc_status import rpc_status  # type: ignore[import-untyped]  # nor does this

from tests.fakes.monitoring import descriptors, reading, writing
from tests.fakes.monitoring.faults import Faults
from tests.fakes.monitoring.protos import empty_pb2, metric_pb2
from tests.fakes.monitoring.refusal import RefusedError
from tests.fakes.monitoring.store import Store
from tests.fakes.monitoring.values import in_nanoseconds

NAME = "google.monitoring.v3.MetricService"


class _Method(NamedTuple):
    action: Callable[[Any], Any]
    request: Any
    serialize: Callable[[Any], bytes]


class Service:
    """The state of the fake and the calls upon it, one at a time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.store = Store()
        self.faults = Faults()
        self.writes: list[wire.CreateTimeSeriesRequest] = []
        self.refusals: list[str] = []
        self.calls: Counter[str] = Counter()
        self.lock = threading.Lock()
        self._clock = clock

    def handlers(self) -> Any:
        """Wire the methods for a gRPC server."""
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                partial(self._answer, name, method.action),
                request_deserializer=method.request.deserialize,
                response_serializer=method.serialize,
            )
            for name, method in self._methods().items()
        }
        return grpc.method_handlers_generic_handler(NAME, handlers)

    def _methods(self) -> dict[str, _Method]:
        empty = empty_pb2.Empty.SerializeToString
        descriptor = metric_pb2.MetricDescriptor.SerializeToString
        return {
            "CreateTimeSeries": _Method(self._write, wire.CreateTimeSeriesRequest, empty),
            "ListTimeSeries": _Method(
                partial(reading.list_time_series, self.store),
                wire.ListTimeSeriesRequest,
                wire.ListTimeSeriesResponse.serialize,
            ),
            "CreateMetricDescriptor": _Method(
                partial(descriptors.create, self.store),
                wire.CreateMetricDescriptorRequest,
                descriptor,
            ),
            "GetMetricDescriptor": _Method(
                partial(descriptors.get, self.store), wire.GetMetricDescriptorRequest, descriptor
            ),
            "ListMetricDescriptors": _Method(
                partial(descriptors.list_all, self.store),
                wire.ListMetricDescriptorsRequest,
                wire.ListMetricDescriptorsResponse.serialize,
            ),
            "DeleteMetricDescriptor": _Method(
                self._delete, wire.DeleteMetricDescriptorRequest, empty
            ),
        }

    def _answer(self, name: str, action: Callable[[Any], Any], request: Any, context: Any) -> Any:
        answer: Any = None
        refusal: RefusedError | None = None
        with self.lock:
            delay_seconds = self.faults.delay_seconds
            self.calls[name] += 1
            try:
                self.faults.check(name)
                answer = action(request)
            except RefusedError as error:
                refusal = error
        _wait(delay_seconds, context)
        if refusal is not None:
            context.abort_with_status(rpc_status.to_status(refusal.status()))
        return answer

    def _write(self, request: wire.CreateTimeSeriesRequest) -> Any:
        now_ns = in_nanoseconds(self._clock())
        try:
            outcome = writing.write(self.store, request, now_ns, self.faults.is_unlucky)
        except RefusedError as error:
            self.refusals.append(error.message)
            raise
        series = request.time_series
        if outcome.accepted:
            good = [series[place] for place in outcome.accepted]
            self.writes.append(wire.CreateTimeSeriesRequest(name=request.name, time_series=good))
        if outcome.refused:
            self.refusals += [_told(series[at], why) for at, why in outcome.refused.items()]
            raise outcome.error()
        return empty_pb2.Empty()

    def _delete(self, request: wire.DeleteMetricDescriptorRequest) -> Any:
        descriptors.delete(self.store, request)
        return empty_pb2.Empty()


def _wait(seconds: float, context: Any) -> None:
    """Wait, but no longer than the call lives: its end may be the server's."""
    ended = threading.Event()
    if seconds > 0 and context.add_callback(ended.set):
        ended.wait(seconds)


def _told(series: wire.TimeSeries, why: RefusedError) -> str:
    return f"{series.metric.type} {dict(series.metric.labels)}: {why.message}"
