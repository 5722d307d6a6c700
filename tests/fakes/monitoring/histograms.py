"""What a distribution may be when it is written, as google.api.Distribution documents it."""

import math
from itertools import pairwise

from tests.fakes.monitoring.protos import distribution_pb2
from tests.fakes.monitoring.refusal import RefusedError, invalid, unknown_here

BUCKET_LIMIT = 200


def check(given: distribution_pb2.Distribution) -> None:
    """Refuse a histogram that does not add up."""
    _check_bounds(given.bucket_options)
    _check_counts(given)
    moments = (given.mean, given.sum_of_squared_deviation)
    if not all(map(math.isfinite, moments)) or given.sum_of_squared_deviation < 0:
        raise _wrong("mean and sum_of_squared_deviation must be finite, the second not negative")
    if given.count == 0 and any(moments):
        raise _wrong("mean and sum_of_squared_deviation must be 0 where count is 0")


def _check_bounds(options: distribution_pb2.Distribution.BucketOptions) -> None:
    if options.WhichOneof("options") != "explicit_buckets":
        raise unknown_here("distributions without explicit buckets")
    bounds = options.explicit_buckets.bounds
    if not bounds or not all(map(math.isfinite, bounds)):
        raise _wrong("at least one bound is needed, and all are finite")
    if any(lower >= upper for lower, upper in pairwise(bounds)):
        raise _wrong("bounds must be strictly increasing")
    if len(bounds) + 1 > BUCKET_LIMIT:
        raise _wrong(f"{len(bounds) + 1} buckets, the limit is {BUCKET_LIMIT}")


def _check_counts(given: distribution_pb2.Distribution) -> None:
    buckets = len(given.bucket_options.explicit_buckets.bounds) + 1
    if len(given.bucket_counts) > buckets:
        raise _wrong(f"{len(given.bucket_counts)} bucket_counts for {buckets} buckets")
    if any(count < 0 for count in given.bucket_counts):
        raise _wrong("a bucket count is negative")
    if given.count != sum(given.bucket_counts):
        raise _wrong("count must be the sum of bucket_counts")


def _wrong(reason: str) -> RefusedError:
    return invalid(f"Field points[0].value.distributionValue had an invalid value: {reason}.")
