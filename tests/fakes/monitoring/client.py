"""The real client, pointed at the fake."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc  # type: ignore[import-untyped]  # grpcio carries no types
from google.cloud.monitoring_v3 import MetricServiceClient
from google.cloud.monitoring_v3.services.metric_service.transports import (
    MetricServiceGrpcTransport,
)


@contextmanager
def connected(address: str) -> Iterator[MetricServiceClient]:
    """Connect the real client and close it with the block."""
    with grpc.insecure_channel(address) as channel:
        yield MetricServiceClient(transport=MetricServiceGrpcTransport(channel=channel))
