"""Read a Monitoring filter: conditions on the metric and the resource that must all hold.

Conditions are joined by AND or by nothing but space, which is what Grafana sends. OR, NOT and
brackets are unknown here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.fakes.monitoring.refusal import invalid, unknown_here

_STRING = r'"(?:[^"\\]|\\.)*"'
_CONDITION = re.compile(
    rf"""(?P<field>[A-Za-z_][\w.]*) \s* (?P<operator>!=|=) \s*
    (?: (?P<function>[a-z_.]+) \( \s* (?P<arguments>{_STRING}(?:\s*,\s*{_STRING})*) \s* \)
      | (?P<value>{_STRING}) )""",
    re.VERBOSE,
)
_JOINT = re.compile(r"\s+(?:AND\s+)?")
_FUNCTIONS = ("starts_with", "ends_with", "has_substring", "one_of", "monitoring.regex.full_match")


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison: `field` is metric.type, resource.type, metric.label or resource.label."""

    field: str
    label: str
    negated: bool
    function: str
    arguments: tuple[str, ...]

    @property
    def is_equality(self) -> bool:
        return self.function == "" and not self.negated

    def holds(self, actual: str) -> bool:
        """Compare; a label that is not there counts as empty."""
        return self._matches(actual) != self.negated

    def _matches(self, actual: str) -> bool:
        argument = self.arguments[0]
        match self.function:
            case "starts_with":
                return actual.startswith(argument)
            case "ends_with":
                return actual.endswith(argument)
            case "has_substring":
                return argument in actual
            case "monitoring.regex.full_match":
                return re.fullmatch(argument, actual) is not None
        return actual in self.arguments


def parse(text: str) -> list[Condition]:
    """Take a filter apart, or refuse it."""
    return list(_conditions(text.strip())) if text.strip() else []


def _conditions(text: str) -> Iterator[Condition]:
    position = 0
    while True:
        match = _CONDITION.match(text, position)
        if match is None:
            raise _unreadable(text, position)
        yield _condition(match)
        if match.end() == len(text):
            return
        joint = _JOINT.match(text, match.end())
        if joint is None:
            raise _unreadable(text, match.end())
        position = joint.end()


def _unreadable(text: str, position: int) -> Exception:
    rest = text[position:].strip()
    if re.match(r"OR\b|NOT\b|[(-]", rest):
        return unknown_here(f"filter with OR, NOT or brackets: {rest}")
    return invalid(f"Field filter had an invalid value of {text!r}: unreadable from {rest!r}.")


def _condition(match: re.Match[str]) -> Condition:
    function = match["function"] or ""
    if function and function not in _FUNCTIONS:
        raise invalid(f"Field filter had an invalid value: unknown function {function}.")
    arguments = tuple(map(_unquoted, re.findall(_STRING, match["arguments"] or match["value"])))
    if function != "one_of" and len(arguments) > 1:
        raise invalid(f"Field filter had an invalid value: {function} takes one argument.")
    if function == "monitoring.regex.full_match":
        _check_pattern(arguments[0])
    field, label = _field(match["field"])
    return Condition(field, label, match["operator"] == "!=", function, arguments)


def _field(text: str) -> tuple[str, str]:
    if text in ("metric.type", "resource.type", "project"):
        return text, ""
    match = re.fullmatch(r"(metric|resource)\.labels?\.(\w+)", text)
    if match is None:
        raise invalid(f"Field filter had an invalid value: unknown field {text!r}.")
    return f"{match[1]}.label", match[2]


def _unquoted(string: str) -> str:
    return re.sub(r"\\(.)", r"\1", string[1:-1])


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise invalid(f"Field filter had an invalid value: regex {pattern!r}: {error}.") from error
