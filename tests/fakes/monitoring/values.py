"""What a point is: an interval in nanoseconds and a value; and how both look on the wire."""

from dataclasses import dataclass, replace
from typing import Any

from google.cloud.monitoring_v3 import types as wire

from tests.fakes.monitoring.protos import distribution_pb2
from tests.fakes.monitoring.refusal import unknown_here

NS_PER_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram by its moments, which add up, so that sums and differences are plain."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]  # one more than bounds; fractions between two points
    total: float  # of all values
    squares: float  # of all values

    @property
    def count(self) -> float:
        return sum(self.counts)

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    @property
    def squared_deviation(self) -> float:
        return max(0.0, self.squares - self.total * self.mean) if self.count else 0.0

    def __add__(self, other: "Distribution") -> "Distribution":
        if self.bounds != other.bounds:
            raise unknown_here("distributions with different bounds cannot be merged")
        counts = (mine + its for mine, its in zip(self.counts, other.counts, strict=True))
        total, squares = self.total + other.total, self.squares + other.squares
        return Distribution(self.bounds, tuple(counts), total, squares)

    def __sub__(self, other: "Distribution") -> "Distribution":
        return self + other.scaled(-1)

    def scaled(self, factor: float) -> "Distribution":
        """Multiply everything that adds up."""
        counts = tuple(count * factor for count in self.counts)
        return Distribution(self.bounds, counts, self.total * factor, self.squares * factor)

    def rounded(self) -> "Distribution":
        """Bring the counts back to whole numbers."""
        return replace(self, counts=tuple(round(count) for count in self.counts))


Value = bool | int | float | Distribution


@dataclass(frozen=True, slots=True)
class Point:
    """One value over an interval; a gauge's begins where it ends."""

    start_ns: int
    end_ns: int
    value: Value


def in_nanoseconds(seconds: float) -> int:
    """Convert to whole microseconds: a float of today's seconds tells no more."""
    return round(seconds * 1_000_000) * 1_000


def nanoseconds(stamp: Any) -> int:
    """Read a protobuf Timestamp or Duration."""
    return int(stamp.seconds) * NS_PER_SECOND + int(stamp.nanos)


def read_point(point: Any) -> Point:
    """Take a point from the wire; it passed the rules."""
    end_ns = nanoseconds(point.interval.end_time)
    has_start = point.interval.HasField("start_time")
    start_ns = nanoseconds(point.interval.start_time) if has_start else end_ns
    name = point.value.WhichOneof("value")
    value = getattr(point.value, name)
    return Point(start_ns, end_ns, read_distribution(value) if "dist" in name else value)


def read_distribution(given: distribution_pb2.Distribution) -> Distribution:
    """Take a distribution with explicit buckets from the wire; counts left off are 0."""
    bounds = tuple(given.bucket_options.explicit_buckets.bounds)
    counts = tuple(given.bucket_counts)
    counts += (0,) * (len(bounds) + 1 - len(counts))
    total = given.mean * given.count
    squares = given.sum_of_squared_deviation + given.mean * total
    return Distribution(bounds, counts, total, squares)


def wire_point(point: Point, value_type: str) -> Any:
    """Put a point on the wire."""
    sent = wire.Point.pb(wire.Point())
    for stamp, at_ns in (("start_time", point.start_ns), ("end_time", point.end_ns)):
        seconds, nanos = divmod(at_ns, NS_PER_SECOND)
        getattr(sent.interval, stamp).seconds = seconds
        getattr(sent.interval, stamp).nanos = nanos
    if isinstance(point.value, Distribution):
        sent.value.distribution_value.CopyFrom(wire_distribution(point.value))
    else:
        setattr(sent.value, f"{value_type.lower()}_value", point.value)
    return sent


def wire_distribution(value: Distribution) -> distribution_pb2.Distribution:
    """Put a distribution on the wire."""
    options = distribution_pb2.Distribution.BucketOptions
    return distribution_pb2.Distribution(
        count=round(value.count),
        mean=value.mean,
        sum_of_squared_deviation=value.squared_deviation,
        bucket_options=options(explicit_buckets=options.Explicit(bounds=value.bounds)),
        bucket_counts=[round(count) for count in value.counts],
    )
