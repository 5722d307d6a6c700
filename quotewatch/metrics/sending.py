"""Series to Cloud Monitoring: descriptors first, then points; what was lost, and why."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import grpc  # type: ignore[import-untyped]
from google.api.metric_pb2 import MetricDescriptor  # type: ignore[import-untyped]
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud.monitoring_v3 import (
    CreateTimeSeriesSummary,
    ListMetricDescriptorsRequest,
    MetricServiceClient,
    TimeSeries,
)
from google.cloud.monitoring_v3.services.metric_service.transports import (
    MetricServiceGrpcTransport,
)
from google.protobuf.any_pb2 import Any as AnyMessage  # type: ignore[import-untyped]

from quotewatch.logs import get_logger
from quotewatch.metrics.metric import Metric
from quotewatch.metrics.series import PREFIX, agrees, descriptor_of

SERIES_A_CALL = 200
_TRIES = 3
_PAUSE_SECONDS = 0.2
_LOOK_AGAIN_SECONDS = 3_600.0  # somebody may have mended what does not fit
_LONGEST = 300  # characters of an error in a log line

_log = get_logger("metrics")

# google-api-core's errors are one tree; who stands first is asked first.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.ServiceUnavailable, "unavailable"),
    (exceptions.DeadlineExceeded, "timeout"),
    (exceptions.RetryError, "timeout"),
    (exceptions.Forbidden, "denied"),
    (exceptions.Unauthorized, "denied"),
    (GoogleAuthError, "denied"),
    (exceptions.ClientError, "refused"),
)


@dataclass
class Outcome:
    """What became of the points of one export."""

    taken: int = 0
    lost: Counter[str] = field(default_factory=Counter)  # reason -> points
    error: str = ""  # the first of them

    def lose(self, reason: str, points: int, error: str) -> None:
        """Count points that did not arrive."""
        self.lost[reason] += points
        self.error = self.error or error[:_LONGEST]


def reason_of(error: Exception) -> str:
    """Name a failure in one of the catalogue's words."""
    return next((word for kind, word in _REASONS if isinstance(error, kind)), "error")


def connect(emulator: str) -> MetricServiceClient:
    """Connect to Cloud Monitoring, or to a stand-in at host:port."""
    if not emulator:
        return MetricServiceClient()
    channel = grpc.insecure_channel(emulator)
    return MetricServiceClient(transport=MetricServiceGrpcTransport(channel=channel))


class Sender:
    """One project's series through one client."""

    def __init__(
        self,
        client: MetricServiceClient,
        project: str,
        *,
        monotonic: Callable[[], float],
        pause: Callable[[float], object],
    ) -> None:
        self._client = client
        self._name = f"projects/{project}"
        self._monotonic = monotonic
        self._pause = pause
        self._known: dict[str, MetricDescriptor] = {}
        self._unusable: set[str] = set()
        self._warned: set[str] = set()
        self._look_at = monotonic()  # when to ask again what there is

    def prepare(self, metrics: Iterable[Metric], deadline: float) -> None:
        """See to it that every metric has its descriptor; what has another is left out."""
        if self._monotonic() >= self._look_at:
            self._known = self._list(deadline)
            self._look_at = float("inf")
            self._unusable.clear()
        may_make = True
        for metric in metrics:
            wanted = descriptor_of(metric)
            there = self._known.get(wanted.type)
            if there is None:
                may_make = may_make and self._create(wanted, deadline)
            elif not agrees(there, wanted):
                self._refuse(wanted.type, "exists with another kind, type or labels; delete it")

    def send(self, series: Sequence[TimeSeries], deadline: float) -> Outcome:
        """Send points; a call that fails takes no other along."""
        outcome = Outcome()
        fit = [each for each in series if each.metric.type not in self._unusable]
        if len(fit) < len(series):
            what = ", ".join(sorted(self._unusable))
            outcome.lose("descriptor", len(series) - len(fit), f"no fitting descriptor: {what}")
        for at in range(0, len(fit), SERIES_A_CALL):
            self._send(fit[at : at + SERIES_A_CALL], deadline, outcome)
        return outcome

    def close(self) -> None:
        """Let go of the connection."""
        self._client.transport.close()  # type: ignore[no-untyped-call]

    def _list(self, deadline: float) -> dict[str, MetricDescriptor]:
        request = ListMetricDescriptorsRequest(
            name=self._name, filter=f'metric.type = starts_with("{PREFIX}")'
        )
        try:
            found = self._client.list_metric_descriptors(
                request, timeout=self._left(deadline), retry=None
            )
            return {each.type: each for each in found}
        except (exceptions.Forbidden, exceptions.MethodNotImplemented) as error:
            self._warn_once("metric_descriptors_unseen", error)
            return {}  # then each is made: one that is there stays as it is

    def _create(self, wanted: MetricDescriptor, deadline: float) -> bool:
        """Make a descriptor; return whether we may."""
        try:
            made = self._client.create_metric_descriptor(
                name=self._name, metric_descriptor=wanted, timeout=self._left(deadline)
            )
        except exceptions.Conflict:
            self._look_at = self._monotonic()  # another instance made it just now
        except exceptions.InvalidArgument as error:
            self._refuse(wanted.type, str(error))
        except exceptions.Forbidden as error:
            # Somebody else makes them, and this account may only write: the points will tell.
            self._warn_once("metric_descriptor_not_made", error)
            self._look_at = self._monotonic()  # the next time it may
            return False
        else:
            self._known[wanted.type] = made
        return True

    def _refuse(self, kind: str, why: str) -> None:
        if kind not in self._unusable:
            self._unusable.add(kind)
            self._look_at = self._monotonic() + _LOOK_AGAIN_SECONDS
            _log.error("metric_descriptor_refused", metric=kind, error=why[:_LONGEST])

    def _send(self, batch: list[TimeSeries], deadline: float, outcome: Outcome) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                self._client.create_time_series(
                    name=self._name,
                    time_series=batch,
                    timeout=self._left(deadline),
                    retry=None,
                )
            except exceptions.ServiceUnavailable as error:
                # It did not arrive. Anything else may have: the same points again are refused.
                if attempt == _TRIES or self._monotonic() >= deadline:
                    outcome.lose("unavailable", len(batch), str(error))
                    return
                self._pause(_PAUSE_SECONDS * 2**attempt)
            except exceptions.GoogleAPIError as error:
                lost = len(batch) - _taken(error)
                outcome.taken += len(batch) - lost
                outcome.lose(reason_of(error), lost, str(error))
                return
            else:
                outcome.taken += len(batch)
                return

    def _warn_once(self, event: str, error: Exception) -> None:
        if event not in self._warned:
            self._warned.add(event)
            _log.warning(event, error=str(error)[:_LONGEST])

    def _left(self, deadline: float) -> float:
        return max(0.1, deadline - self._monotonic())


def _taken(error: exceptions.GoogleAPIError) -> int:
    """Say how many points of a refused call were taken all the same."""
    taken = 0
    for packed in getattr(error, "details", None) or ():
        summary = _SUMMARY()
        # What google-api-core does not know it hands on as it came.
        if isinstance(packed, AnyMessage) and packed.Unpack(summary):
            taken += summary.success_point_count
    return taken


_SUMMARY = CreateTimeSeriesSummary.pb()
