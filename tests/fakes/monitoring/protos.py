"""The protobuf modules of Google's packages, which carry no types, in one place."""

from google.api import (  # type: ignore[import-untyped]
    distribution_pb2,
    label_pb2,
    metric_pb2,
    monitored_resource_pb2,
)
from google.protobuf import any_pb2, empty_pb2, json_format  # type: ignore[import-untyped]
from google.rpc import status_pb2  # type: ignore[import-untyped]

__all__ = [
    "any_pb2",
    "distribution_pb2",
    "empty_pb2",
    "json_format",
    "label_pb2",
    "metric_pb2",
    "monitored_resource_pb2",
    "status_pb2",
]
