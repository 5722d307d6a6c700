"""What can be wrong with a stored model."""

from quotewatch.errors import QuoteWatchError


class ModelError(QuoteWatchError):
    """A stored model, or what points to it, cannot be used."""


class ModelMismatchError(ModelError):
    """A sound model, but of other inputs or of another horizon."""


class NewerModelError(QuoteWatchError):
    """A model written by a newer QuoteWatch: deploy this process again."""
