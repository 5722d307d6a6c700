"""What the newest point of a series demands of the next one."""

from tests.fakes.monitoring.refusal import invalid, out_of_turn
from tests.fakes.monitoring.values import NS_PER_SECOND, Distribution, Point, Value

SAMPLING_NS = 5 * NS_PER_SECOND
MILLISECOND_NS = 1_000_000


def check(kind: str, last: Point, point: Point) -> None:
    """Refuse a point that does not follow."""
    _check_order(last, point)
    _check_bounds(last.value, point.value)
    if kind == "CUMULATIVE":
        _check_course(last, point)


def _check_order(last: Point, point: Point) -> None:
    passed_ns = point.end_ns - last.end_ns
    if passed_ns <= 0:
        raise out_of_turn(
            "Points must be written in order. One or more of the points specified had an older "
            "end time than the most recent point."
        )
    if passed_ns < SAMPLING_NS:
        raise out_of_turn(
            "One or more points were written more frequently than the maximum sampling period "
            "configured for the metric."
        )


def _check_bounds(last: Value, value: Value) -> None:
    # The real one may take other bounds. Sums over them would be of no use.
    if (
        isinstance(last, Distribution)
        and isinstance(value, Distribution)
        and last.bounds != value.bounds
    ):
        raise invalid("The bucket bounds differ from those of the series' earlier points.")


def _check_course(last: Point, point: Point) -> None:
    if point.start_ns != last.start_ns:
        if point.start_ns < last.end_ns + MILLISECOND_NS:
            raise out_of_turn(
                "The new start time must be at least a millisecond after the end time of the "
                "previous interval."
            )
    elif _has_shrunk(last.value, point.value):
        raise out_of_turn("A CUMULATIVE value went down without a new start time.")


def _has_shrunk(last: Value, value: Value) -> bool:
    return any(now < was for was, now in zip(_parts(last), _parts(value), strict=True))


def _parts(value: Value) -> tuple[float, ...]:
    return value.counts if isinstance(value, Distribution) else (value,)
