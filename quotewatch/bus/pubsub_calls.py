"""How Pub/Sub is called: the clients, how long a call may take, and what its errors mean here."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypedDict

import grpc  # type: ignore[import-untyped]  # grpcio carries no types
from google.api_core import exceptions
from google.api_core.gapic_v1.method import wrap_method
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.pubsub_v1 import PublisherClient, PullResponse, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from quotewatch.errors import BusError, BusUnavailableError

_RETRIED = (
    exceptions.ServiceUnavailable,
    exceptions.DeadlineExceeded,
    exceptions.Aborted,
    exceptions.InternalServerError,
    exceptions.TooManyRequests,
    exceptions.Unknown,
    exceptions.BadGateway,
)
# Cancelled is what a call gets whose bus another thread closes: no use repeating it here.
_MAY_PASS = (*_RETRIED, exceptions.RetryError, exceptions.Cancelled)
_NEXT_STEPS: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.NotFound, "check the name; terraform apply creates it (create() on the emulator)"),
    (exceptions.Forbidden, "grant this service account the publisher or subscriber role on it"),
    (exceptions.Unauthorized, "check this process's Google credentials"),
    (DefaultCredentialsError, "set PUBSUB_EMULATOR_HOST, or gcloud auth application-default login"),
    (GoogleAuthError, "check this process's Google credentials"),
)


# Left alone, gRPC waits up to two minutes before it looks again for a server that was away, and
# every call until then fails at once: measured 7.6 s after an outage of 30 s, 0.1 s with this.
_RECONNECT = (
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


@dataclass(frozen=True, slots=True)
class Clients:
    """One connection per service, made in the process that uses it."""

    process: int
    publisher: PublisherClient
    subscriber: SubscriberClient
    pull: Callable[..., PullResponse]

    def close(self) -> None:
        """Close both connections."""
        self.publisher.transport.close()  # type: ignore[no-untyped-call]
        self.subscriber.transport.close()  # type: ignore[no-untyped-call]


def make_clients(emulator: str) -> Clients:
    """Connect to the emulator, or to the cloud with this process's own credentials."""
    if emulator:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=_channel(emulator)))
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=_channel(emulator)))
    else:
        publish, subscribe = PublisherGrpcTransport, SubscriberGrpcTransport
        publisher = PublisherClient(
            transport=partial(publish, channel=_reconnecting(publish.create_channel))
        )
        subscriber = SubscriberClient(
            transport=partial(subscribe, channel=_reconnecting(subscribe.create_channel))
        )
    # SubscriberClient.pull warns about return_immediately, which is meant here: below the client,
    # at its transport, the same request goes out without a warning for each pull.
    pull = wrap_method(subscriber.transport.pull)  # type: ignore[no-untyped-call]
    return Clients(os.getpid(), publisher, subscriber, pull)


def _channel(emulator: str) -> grpc.Channel:
    # The clients' own channel to an emulator keeps gRPC's limit of 4 MB for what it receives.
    return grpc.insecure_channel(
        emulator,
        options=[
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            *_RECONNECT,
        ],
    )


def _reconnecting(create: Callable[..., grpc.Channel]) -> Callable[..., grpc.Channel]:
    """Make the clients' own channel to the cloud, but soon there again after an outage."""

    def make(*place: object, options: Sequence[object] = (), **others: object) -> grpc.Channel:
        return create(*place, options=[*options, *_RECONNECT], **others)

    return make


class Within(TypedDict):
    """The arguments that bound one call."""

    retry: Retry
    timeout: float


def within(timeout_seconds: float) -> Within:
    """Retry what may pass until the time is over; every attempt gets what is left of it."""
    retry = Retry(
        predicate=if_exception_type(*_RETRIED),
        initial=0.1,
        maximum=2.0,
        multiplier=2.0,
        timeout=timeout_seconds,
    )
    return {"retry": retry, "timeout": timeout_seconds}


@contextmanager
def existing_is_fine() -> Iterator[None]:
    """Create what is missing; what exists stays as it is."""
    try:
        yield
    except exceptions.AlreadyExists:
        return


@contextmanager
def named(thing: str) -> Iterator[None]:
    """Turn Google's errors into ours: what it was about, what happened, what to do next."""
    try:
        yield
    except (exceptions.GoogleAPIError, GoogleAuthError) as error:
        if isinstance(error, _MAY_PASS) or getattr(error, "retryable", False):
            raise BusUnavailableError(f"{thing}: {_cause(error)}; try again") from error
        steps = (step for kind, step in _NEXT_STEPS if isinstance(error, kind))
        raise BusError(f"{thing}: {error}; {next(steps, 'see the message')}") from error


def _cause(error: Exception) -> BaseException:
    # A RetryError says only that time is up; its cause says what went wrong each time.
    return (isinstance(error, exceptions.RetryError) and error.__cause__) or error
