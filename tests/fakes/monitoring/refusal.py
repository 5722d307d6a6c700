"""How the fake says no: a gRPC status, and the same again in protobuf where there are details."""

from collections.abc import Sequence
from typing import Any

import grpc  # type: ignore[import-untyped]  # grpcio carries no types

from tests.fakes.monitoring.protos import any_pb2, status_pb2

MESSAGE_LIMIT = 2_000  # gRPC refuses headers beyond 8 KiB, and the message travels in them twice


class RefusedError(Exception):
    """An error answer of the API."""

    def __init__(self, code: grpc.StatusCode, message: str, details: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.code, self.message, self.details = code, message[:MESSAGE_LIMIT], tuple(details)

    def status(self) -> status_pb2.Status:
        """Say it as google.rpc.Status."""
        number: int = self.code.value[0]
        return status_pb2.Status(
            code=number, message=self.message, details=[_packed(each) for each in self.details]
        )


def invalid(message: str) -> RefusedError:
    """Refuse what will never be right."""
    return RefusedError(grpc.StatusCode.INVALID_ARGUMENT, message)


def out_of_turn(message: str) -> RefusedError:
    """Refuse what would have been right at another time."""
    return RefusedError(grpc.StatusCode.FAILED_PRECONDITION, message)


def not_found(message: str) -> RefusedError:
    """Refuse what names nothing."""
    return RefusedError(grpc.StatusCode.NOT_FOUND, message)


def unknown_here(message: str) -> RefusedError:
    """Refuse what the real one may know and the fake does not."""
    return RefusedError(grpc.StatusCode.UNIMPLEMENTED, f"fake: {message}")


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
