"""The part of Cloud Logging's query language that is used here, evaluated: a filter is a program.

AND, OR, NOT are words in capitals; `:` is "has", text without regard to case; a list in brackets
stands for any of its values. Times and numbers compare as such. Anything else is refused.
"""

import re
from collections.abc import Mapping
from operator import eq, ge, gt, le, lt, ne
from typing import Any

_SEVERITIES = (
    "DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY",
)  # fmt: skip
_TOKEN = re.compile(
    r"""\s*(?:(?P<bracket>[()])|(?P<word>AND|OR|NOT)\b|(?P<operator><=|>=|!=|=~|[=<>:])"""
    r"""|"(?P<quoted>[^"]*)"|(?P<bare>[\w./@-]+))"""
)

_COMPARES = {"=": eq, "!=": ne, ">=": ge, "<=": le, ">": gt, "<": lt}

Record = Mapping[str, Any]


def matches(text: str, record: Record) -> bool:
    """Say whether a filter lets an entry through."""
    reader = _Reader(text)
    found = reader.any_of(record)
    reader.end()
    return found


class _Reader:
    """Reads and evaluates at once; both sides of every word are read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def any_of(self, record: Record) -> bool:
        found = self._all_of(record)
        while self._took("word", "OR"):
            found = self._all_of(record) or found
        return found

    def end(self) -> None:
        assert not self._text[self._at :].strip(), f"not understood: {self._text[self._at :]}"

    def _all_of(self, record: Record) -> bool:
        found = self._one(record)
        while self._took("word", "AND"):
            found = self._one(record) and found
        return found

    def _one(self, record: Record) -> bool:
        if self._took("word", "NOT"):
            return not self._one(record)
        if self._took("bracket", "("):
            found = self.any_of(record)
            assert self._took("bracket", ")"), f"a bracket stays open: {self._text[self._at :]}"
            return found
        return self._compared(_value(record, self._need("bare")))

    def _compared(self, value: Any) -> bool:
        operator = self._need("operator")
        if not self._took("bracket", "("):
            return _holds(value, operator, self._wanted())
        found = _holds(value, operator, self._wanted())
        while self._took("word", "OR"):
            found = _holds(value, operator, self._wanted()) or found
        assert self._took("bracket", ")"), "a list of values is joined with OR and ends with )"
        return found

    def _wanted(self) -> str:
        quoted = self._next("quoted")
        return self._need("bare") if quoted is None else quoted

    def _need(self, kind: str) -> str:
        found = self._next(kind)
        assert found is not None, f"{kind} expected at: {self._text[self._at :][:60]}"
        return found

    def _took(self, kind: str, wanted: str) -> bool:
        at = self._at
        if self._next(kind) == wanted:
            return True
        self._at = at
        return False

    def _next(self, kind: str) -> str | None:
        token = _TOKEN.match(self._text, self._at)
        if token is None or token.lastgroup != kind:
            return None
        self._at = token.end()
        return token[kind]


def _value(record: Record, path: str) -> Any:
    value: Any = record
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _holds(value: Any, operator: str, wanted: str) -> bool:
    if value is None:
        return operator == "!="
    if operator == ":":
        return wanted.lower() in str(value).lower()
    assert operator in _COMPARES, f"operator {operator} is not known here"
    return bool(_COMPARES[operator](*_ranked(value, wanted)))


def _ranked(value: Any, wanted: str) -> tuple[Any, Any]:
    if wanted in _SEVERITIES and value in _SEVERITIES:
        return _SEVERITIES.index(value), _SEVERITIES.index(wanted)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value, float(wanted)
    return str(value), wanted  # times are spelt so that they sort
