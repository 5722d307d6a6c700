"""What ends a deploy with a message; each names the thing, the value and the next step."""

from quotewatch.errors import QuoteWatchError


class DeployError(QuoteWatchError):
    """Something about deploying that cannot go on."""


class SourceError(DeployError):
    """There is no commit to deploy, or it is not what would be shipped; with what cures it."""

    def __init__(self, what: str, *cures: str) -> None:
        super().__init__(what)
        self.cures = cures


class CommandError(DeployError):
    """A program could not be run, or said something that cannot be understood."""


class CloudError(DeployError):
    """An API refused, or did not answer."""
