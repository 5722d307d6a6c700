"""A document gives back every bit; what is corrupt, newer or for something else is refused."""

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from math import nextafter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotewatch.errors import ModelError, ModelMismatchError, NewerModelError
from quotewatch.learning import document
from quotewatch.learning.document import LARGEST_BYTES, Version, decode, encode, same_numbers
from quotewatch.learning.inputs import INPUTS
from quotewatch.learning.model import Model
from quotewatch.learning.scoring import ScoreWindow
from tests.learning.rows import taught

MODEL = taught()
ONES = np.ones(3, np.int32)
WINDOW = ScoreWindow.empty().add(3, ["A", "B", "A"], ONES, np.array([0.1, 0.2, 1 / 3]), ONES, ONES)
VERSION = Version(MODEL, {"test_then_train": WINDOW.report(), "said": ["Ü", None]}, WINDOW)
NAME = "models/500ms/versions/001-000000003"


def resealed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Change the document and give it a digest that fits."""
    body = json.loads(encode(VERSION))
    del body["digest"]
    change(body)
    return json.dumps({**body, "digest": document._digest(body)}).encode()


def test_a_version_comes_back_whole() -> None:
    assert decode(encode(VERSION), NAME, 500) == VERSION
    assert encode(decode(encode(VERSION), NAME, 500)) == encode(VERSION)


def test_a_fresh_model_is_a_version_too() -> None:
    fresh = Version(Model.fresh(5_000, 7), {}, ScoreWindow.empty())
    assert decode(encode(fresh), NAME, 5_000) == fresh


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=8, max_size=8))
def test_every_number_comes_back_bit_for_bit(numbers: list[float]) -> None:
    model = replace(MODEL, coefficients=tuple(numbers), intercept=numbers[0])
    again = decode(encode(replace(VERSION, model=model)), NAME, 500).model
    assert struct.pack("8d", *again.coefficients) == struct.pack("8d", *numbers)
    assert struct.pack("d", again.intercept) == struct.pack("d", numbers[0])
    assert same_numbers(again, model)


def test_a_document_is_plain_json_with_a_digest() -> None:
    body = json.loads(encode(VERSION))
    assert set(body) == {"format", "digest", "model", "report", "window"}
    assert (body["format"], len(body["digest"])) == (1, 64)
    assert body["model"]["features"] == list(INPUTS)
    assert [each.split()[0] for each in body["model"]["libraries"]] == ["numpy", "scikit-learn"]


def test_spaces_and_order_do_not_matter() -> None:
    assert decode(resealed(lambda body: body), NAME, 500) == VERSION


@given(st.data())
def test_any_byte_that_flips_is_noticed(data: st.DataObject) -> None:
    whole = bytearray(encode(VERSION))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    try:
        again = decode(bytes(whole), NAME, 500)
    except (ModelError, NewerModelError) as error:  # of the format: it may look like a newer one
        assert NAME in str(error)  # noqa: PT017 - there may be no error
    else:
        assert again == VERSION  # 1e-07 and 1E-07 are the same


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"{}", b"\xff", b'{"format": 1}', b'{"format": "1"}', b'{"format": 0}',
     b"[" * 100_000, b'{"format": ' * 100_000, encode(VERSION)[:-1], encode(VERSION)[:400]],
)  # fmt: skip
def test_what_is_no_document_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ModelError, match=f"{NAME} is no sound model: .*use another version"):
        decode(data, NAME, 500)


def test_pickled_bytes_are_only_bytes() -> None:
    with pytest.raises(ModelError, match="no sound model"):
        decode(b"cos\nsystem\n(S'exit 1'\ntR.", NAME, 500)


def put(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda body: body["model"].update(changes)


@pytest.mark.parametrize(
    "change",
    [
        put(means=[0.0] * 7), put(coefficients=[]), put(counts=[1] * 9), put(variances=[0.0] * 7),
        put(intercept=None), put(intercept="0"), put(intercept=True), put(counts=[0.5] * 8),
        put(variances=[-1.0] * 8), put(counts=[-1] * 8), put(classes=[1]), put(classes=[1, 2, 3]),
        put(classes=[-1, 1]), put(position=-1), put(position=10**9), put(line=1_000), put(line=-1),
        put(t=0.0), put(features=None), put(horizon_ms="500"), put(libraries=[1]),
        lambda body: body.pop("model"), lambda body: body.pop("report"),
        lambda body: body.pop("window"), lambda body: body.update(model=[]),
        lambda body: body.update(report=[]), lambda body: body.update(window=None),
        lambda body: body.update(window="?"), lambda body: body.update(window="AAAA"),
        lambda body: body.update(window="Ü"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_model_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(ModelError, match=f"{NAME} is no sound model"):
        decode(resealed(change), NAME, 500)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999", b"-1e999"])
def test_a_number_that_is_not_finite_is_refused(number: bytes) -> None:
    intercept = json.dumps(MODEL.intercept).encode()
    data = encode(VERSION).replace(b'"intercept":' + intercept, b'"intercept":' + number)
    assert number in data
    with pytest.raises(ModelError, match="no sound model"):
        decode(data, NAME, 500)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_model_that_blew_up_is_never_written(number: float) -> None:
    for model in (replace(MODEL, intercept=number), replace(MODEL, means=(number,) * 8)):
        with pytest.raises(ModelError, match=r"001-000000003 is no sound model: .*not finite"):
            encode(replace(VERSION, model=model))


def test_a_newer_format_asks_for_a_deployment() -> None:
    newer = b'{"format": 2, "digest": "made in another way", "model": {"layers": []}}'
    with pytest.raises(NewerModelError, match=f"{NAME} is of format 2.*deploy this process again"):
        decode(newer, NAME, 500)


def test_other_inputs_are_refused_with_both_lists() -> None:
    data = resealed(put(features=["price", *INPUTS[1:]]))
    with pytest.raises(
        ModelMismatchError, match=r"learnt from \['price'.*makes \['log_spread_bps'"
    ):
        decode(data, NAME, 500)


def test_as_many_other_inputs_in_another_order_are_refused() -> None:
    with pytest.raises(ModelMismatchError, match="train a new line"):
        decode(resealed(put(features=list(reversed(INPUTS)))), NAME, 500)


def test_another_horizon_is_refused_with_both() -> None:
    with pytest.raises(ModelMismatchError, match=f"{NAME} is of 500 ms, asked for is 5000 ms"):
        decode(encode(VERSION), NAME, 5_000)


def test_size_is_bounded_on_both_ways() -> None:
    large = replace(VERSION, report={"said": "x" * LARGEST_BYTES})
    with pytest.raises(ModelError, match="bytes, over the 16000000 allowed"):
        encode(large)
    with pytest.raises(ModelError, match=f"{NAME} has 16000001 bytes"):
        decode(b" " * (LARGEST_BYTES + 1), NAME, 500)


def test_the_same_numbers_are_told_from_nearly_the_same() -> None:
    assert same_numbers(MODEL, replace(MODEL, libraries=("numpy 99",)))
    assert not same_numbers(MODEL, replace(MODEL, intercept=nextafter(MODEL.intercept, 9)))
    zero = replace(MODEL, intercept=0.0)
    assert not same_numbers(zero, replace(MODEL, intercept=-0.0))
