"""Every error QuoteWatch raises, as one tree.

A message names the thing, the value and the next step.
"""


class QuoteWatchError(Exception):
    """Whatever goes wrong here and has a name."""


class SettingsError(QuoteWatchError):
    """The environment is malformed; the message names every bad variable."""


class WireError(QuoteWatchError):
    """A message of the exchange that cannot be taken as it is, counted under `reason`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class FrameError(QuoteWatchError):
    """A message of the bus that is no frame."""


class NewerSchemaError(FrameError):
    """A frame written by a newer QuoteWatch: leave it un-acked and deploy this process again."""


class FrameTooLargeError(FrameError):
    """A frame over the bus's limit."""


class BusError(QuoteWatchError):
    """The bus refused, for good: a missing topic, a bad name, a message too large."""


class BusUnavailableError(BusError):
    """The bus did not answer: nothing is known to be published. Try again."""


class ObjectError(QuoteWatchError):
    """The object store refused, for good."""


class ObjectStoreUnavailableError(ObjectError):
    """The object store did not answer: try again."""


class PreconditionFailedError(ObjectError):
    """Another writer was first: the object exists already, or is of another generation."""


class ModelError(QuoteWatchError):
    """A stored model, or what points to it, cannot be used."""


class ModelMismatchError(ModelError):
    """A sound model, but of other inputs or of another horizon."""


class NewerModelError(QuoteWatchError):
    """A model written by a newer QuoteWatch: deploy this process again."""


class MetricError(QuoteWatchError):
    """A mistake in the program: a metric or a label that the catalogue does not declare."""


class SpoolError(QuoteWatchError):
    """The spool could not take a frame."""


class TableError(QuoteWatchError):
    """A table or its catalog refused, for good."""


class TableUnavailableError(TableError):
    """The catalog or the warehouse did not answer, or had no room: try again."""


class LedgerMissingError(TableError):
    """A table with rows does not say which frames they came from: nothing is written to it."""


class QueryError(TableError):
    """A question to the tables that cannot be answered as it was asked."""


class TradeSourceError(QuoteWatchError):
    """The exchange's REST interface refused, or gave an answer that cannot be read."""


class TradeSourceUnavailableError(TradeSourceError):
    """The exchange's REST interface did not answer, or is down: try again."""


class ProductGoneError(TradeSourceError):
    """The exchange does not know the product, or no longer: its trades cannot be fetched."""


class FetchBudgetError(QuoteWatchError):
    """The requests or the seconds of one run are used up: the rest stays for the next."""


def is_retryable(error: BaseException) -> bool:
    """Say whether the same call may succeed later."""
    return isinstance(
        error,
        BusUnavailableError
        | ObjectStoreUnavailableError
        | SpoolError
        | TableUnavailableError
        | TradeSourceUnavailableError
        | OSError,
    )
