"""A version of a model as bytes and back: plain JSON with a digest, nothing that could run.

Numbers come back bit for bit. What is corrupt, newer or made for something else is refused by name.
"""

import base64
import hashlib
from dataclasses import dataclass
from math import isfinite
from typing import Any

import msgspec

from quotewatch.errors import ModelError, ModelMismatchError, NewerModelError
from quotewatch.learning.inputs import INPUTS
from quotewatch.learning.model import Model
from quotewatch.learning.scoring import ScoreWindow

FORMAT = 1  # +1 whenever a reader of the version before could misread a document
LARGEST_BYTES = 16_000_000


@dataclass(frozen=True, slots=True)
class Version:
    """A model, how it scored before it learnt its newest batch, and the rows that says it from."""

    model: Model
    report: dict[str, Any]  # plain JSON
    window: ScoreWindow


def encode(version: Version) -> bytes:
    """Return the document; ModelError where a number is not finite, or all is too large."""
    model = version.model
    _check(model, model.version)
    body = {
        "format": FORMAT,
        "model": msgspec.to_builtins(model),
        "report": version.report,
        "window": base64.b64encode(version.window.plain()).decode(),
    }
    data = msgspec.json.encode({**body, "digest": _digest(body)}, order="sorted")
    _check_size(data, model.version)
    return data


def decode(data: bytes, name: str, horizon_ms: int) -> Version:
    """Read the document called `name`: ModelError, NewerModelError or ModelMismatchError."""
    body = _body(data, name)
    try:
        model = msgspec.convert(body["model"], Model)
        report = msgspec.convert(body["report"], dict[str, Any])
        window = ScoreWindow.of(base64.b64decode(body["window"], validate=True))
    except (KeyError, TypeError, ValueError, ModelError) as error:
        raise _corrupt(name, str(error)) from error
    _check(model, name)
    _check_purpose(model, name, horizon_ms)
    return Version(model, report, window)


def same_numbers(one: Model, other: Model) -> bool:
    """Say whether two models hold the same, bit for bit, whatever libraries learnt them."""
    return _numbers(one) == _numbers(other)


def _numbers(model: Model) -> bytes:
    numbers = msgspec.to_builtins(model)
    del numbers["libraries"]
    return msgspec.json.encode(numbers)


def _body(data: bytes, name: str) -> dict[str, Any]:
    """Return what the digest vouches for."""
    _check_size(data, name)
    try:
        body = msgspec.json.decode(data, type=dict[str, Any])
    except (ValueError, RecursionError) as error:  # also what is not UTF-8
        raise _corrupt(name, str(error)) from error
    # Before the digest: a newer one may be made in another way.
    written = body.get("format")
    if isinstance(written, int) and written > FORMAT:
        raise NewerModelError(
            f"{name} is of format {written}, this process reads {FORMAT}: deploy this process again"
        )
    if body.pop("digest", None) != _digest(body) or written != FORMAT:
        raise _corrupt(name, "the digest does not fit")
    return body


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest()


def _check(model: Model, name: str) -> None:
    """Raise a ModelError unless the model's numbers can be those of one."""
    columns = (model.counts, model.means, model.variances, model.coefficients)
    if any(len(column) != len(model.features) for column in columns):
        raise _corrupt(name, f"{len(model.features)} features have other counts of numbers")
    numbers = (*model.means, *model.variances, *model.coefficients, model.intercept, model.t)
    if not all(map(isfinite, numbers)):
        raise _corrupt(name, "a number is not finite")
    whole = (*model.counts, *model.classes, model.line, model.position)
    if min(*whole, *model.variances) < 0 or model.t < 1 or len(model.version) != len("000-") + 9:
        raise _corrupt(name, "a number is out of its range")


def _check_purpose(model: Model, name: str, horizon_ms: int) -> None:
    if model.horizon_ms != horizon_ms:
        raise ModelMismatchError(
            f"{name} is of {model.horizon_ms} ms, asked for is {horizon_ms} ms: "
            "take a version of that horizon"
        )
    if model.features != INPUTS:
        raise ModelMismatchError(
            f"{name} was learnt from {list(model.features)}, this process makes {list(INPUTS)}: "
            "train a new line, or deploy the code that made it"
        )


def _check_size(data: bytes, name: str) -> None:
    if len(data) > LARGEST_BYTES:
        raise ModelError(
            f"{name} has {len(data)} bytes, over the {LARGEST_BYTES} allowed: look at its report"
        )


def _corrupt(name: str, reason: str) -> ModelError:
    return ModelError(f"{name} is no sound model: {reason}; use another version and delete it")
