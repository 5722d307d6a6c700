"""What catalogs and warehouses throw, as errors of ours: whether it may pass, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
from google.auth.exceptions import GoogleAuthError, TransportError
from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    ForbiddenError,
    OAuthError,
    ResolveError,
    RESTError,
    ServerError,
    ServiceUnavailableError,
    UnauthorizedError,
    ValidationError,
    ValidationException,
)
from requests.exceptions import RequestException
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from quotewatch.errors import QuoteWatchError, TableError, TableUnavailableError

# Another writer was first, and nothing of ours has happened.
CONFLICTS = (CommitFailedException, ValidationException)

# Whether it has happened only the catalog can tell, once it answers again.
UNKNOWN = (
    CommitStateUnknownException,
    ServerError,
    ServiceUnavailableError,
    RequestException,
    DBAPIError,
    TransportError,  # nobody gave us a token: the metadata server, or the network
)

_REFUSED = (
    RESTError,
    SQLAlchemyError,
    ResolveError,
    ValidationError,
    pa.ArrowException,
    ValueError,
    NotImplementedError,
)

_DENIED = (ForbiddenError, UnauthorizedError, OAuthError, GoogleAuthError)


@contextmanager
def named(what: str) -> Iterator[None]:
    """Turn everything the table's libraries throw into the two errors of ours."""
    try:
        yield
    except QuoteWatchError:
        raise
    except UNKNOWN as error:
        raise TableUnavailableError(
            f"{what}: the catalog did not answer ({_short(error)}); it is tried again on the next"
            " run"
        ) from error
    except CONFLICTS as error:
        raise TableUnavailableError(
            f"{what}: other writers kept being first ({_short(error)}); try again"
        ) from error
    except _DENIED as error:
        raise TableError(
            f"{what}: access denied ({_short(error)}); check the credentials of QUOTEWATCH_CATALOG"
        ) from error
    except OSError as error:  # the warehouse: full, gone, not permitted
        raise TableUnavailableError(
            f"{what}: the warehouse refused ({_short(error)}); is the disk full, the bucket there?"
        ) from error
    except _REFUSED as error:
        raise TableError(f"{what}: {type(error).__name__}: {_short(error)}") from error


def _short(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:300] if lines else type(error).__name__
