"""What every stage is, whoever calls it: a function, the stack on one machine, a command."""

from typing import Any, Protocol

from quotewatch.message import Message


class Report(Protocol):
    """What one call did: the log line, the metrics and the HTTP answer are made from it."""

    @property
    def failed(self) -> bool:
        """Whether something could not be done and should be tried again."""
        ...

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        ...


class Stage(Protocol):
    """Something that is called on a timer."""

    def run_once(self) -> Report:
        """Do what there is to do, within the time it was given."""
        ...


class PushedStage(Protocol):
    """Something that messages are pushed to."""

    def handle(self, message: Message) -> Report:
        """Do what the message asks for, or raise: then it comes again."""
        ...
