"""CreateTimeSeries: what is good is stored, what is not is summed up, and the call fails then."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import grpc  # type: ignore[import-untyped]  # grpcio carries no types
from google.cloud.monitoring_v3 import types as wire

from tests.fakes.monitoring import rules
from tests.fakes.monitoring.descriptors import project_of
from tests.fakes.monitoring.protos import status_pb2
from tests.fakes.monitoring.refusal import RefusedError, invalid
from tests.fakes.monitoring.store import Key, Series, Store, key_on_wire


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the series of a request, by their places in it."""

    accepted: list[int] = field(default_factory=list)
    refused: dict[int, RefusedError] = field(default_factory=dict)

    def error(self) -> RefusedError:
        """Say what failed as the real one says it."""
        total = len(self.accepted) + len(self.refused)
        summary = wire.CreateTimeSeriesSummary.pb(wire.CreateTimeSeriesSummary())
        summary.total_point_count = total
        summary.success_point_count = len(self.accepted)
        # The real one's summaries have codes and counts; the words stand in the message alone.
        for code, count in Counter(error.code for error in self.refused.values()).items():
            summary.errors.add(status=status_pb2.Status(code=code.value[0]), point_count=count)
        words = f"One or more TimeSeries could not be written: {self._reasons()}"
        return RefusedError(grpc.StatusCode.INVALID_ARGUMENT, words, [summary])

    def _reasons(self) -> str:
        places: dict[str, list[int]] = {}
        for place, error in self.refused.items():
            places.setdefault(error.message, []).append(place)
        return "; ".join(f"{reason}: timeSeries[{_runs(at)}]" for reason, at in places.items())


def write(
    store: Store,
    request: wire.CreateTimeSeriesRequest,
    now_ns: int,
    is_cursed: Callable[[str], bool] = lambda _: False,
) -> Outcome:
    """Store what may be stored; `is_cursed` names metric types to refuse for no reason."""
    project = project_of(request.name)
    rules.check_request(request)
    outcome, seen = Outcome(), set[Key]()
    for place, series in enumerate(wire.CreateTimeSeriesRequest.pb(request).time_series):
        key = key_on_wire(series)
        try:
            _check_only_once(place, key, seen)
            _check_luck(series, is_cursed)
            _write_one(store, series, project, now_ns)
        except RefusedError as error:
            outcome.refused[place] = error
        else:
            outcome.accepted.append(place)
    return outcome


def _check_only_once(place: int, key: Key, seen: set[Key]) -> None:
    # The words are the real one's, which blames the second of two and those after it.
    if key in seen:
        raise invalid(
            f"Field timeSeries[{place}] had an invalid value: Duplicate TimeSeries encountered. "
            "Only one point can be written per TimeSeries per request."
        )
    seen.add(key)


def _check_luck(series: Any, is_cursed: Callable[[str], bool]) -> None:
    if is_cursed(series.metric.type):
        raise invalid("Internal error encountered. Please retry after a few seconds.")


def _write_one(store: Store, series: Any, project: str, now_ns: int) -> None:
    metric, resource = series.metric, series.resource
    descriptor = store.descriptor(project, metric.type)
    held = store.series.get(key_on_wire(series))
    writing = rules.Writing(series, project, descriptor, held, now_ns)
    rules.check_series(writing)
    store.add(
        Series(
            metric.type,
            dict(metric.labels),
            resource.type,
            dict(resource.labels),
            writing.kind,
            writing.value_type,
            [writing.point],
        )
    )


def _runs(places: list[int]) -> str:
    """Write 0, 1, 2, 5 as 0-2,5."""
    runs = []
    for _, run in groupby(enumerate(places), key=lambda pair: pair[1] - pair[0]):
        numbers = [place for _, place in run]
        runs.append(f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}")
    return ",".join(runs)
