"""Features are what docs/messages.md says, and windows are exact whatever the order of times."""

import re
import tomllib
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import pstdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotewatch.market.features import FeatureWindows, Top
from quotewatch.market.replay import BookRow, FeatureRow, TradeRow, recompute
from quotewatch.market.windows import WINDOW_US, Volatility, Window

PAGE = Path(__file__).parents[2] / "docs" / "messages.md"
START_US = 1_786_253_022_000_000
NEEDED = {
    "best_bid", "best_ask", "mid", "spread_bps", "imbalance", "depth", "microprice_bps",
    "volatility", "trade_imbalance", "order_flow_imbalance",
}  # fmt: skip


def examples() -> dict[str, dict[str, Any]]:
    blocks = re.findall(r"```toml\n# example: (.+?)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return {title: tomllib.loads(block) for title, block in blocks}


def rows_of(example: dict[str, Any]) -> list[BookRow | TradeRow]:
    levels = [
        (side, price, size)
        for side, name in (("bid", "bids"), ("ask", "asks"))
        for price, size in example[name]
    ]
    rows: list[BookRow | TradeRow] = [BookRow("BTC-USD", 1, True, levels, None, 0)]
    for arrival, step in enumerate(example["steps"], 1):
        us = START_US + round(step["at"] * 1_000_000)
        if "trade" in step:
            buys, live = step["trade"] == "buy", step.get("live", True)
            rows.append(TradeRow("BTC-USD", buys, step["size"], us, live, arrival))
        else:
            changes = [(side, price, size) for side, price, size in step["update"]]
            rows.append(BookRow("BTC-USD", 1, False, changes, us, arrival))
    return rows


def value_of(row: FeatureRow, name: str) -> Any:
    found = row.top._asdict() | row.windowed._asdict()
    if name in {"best_bid", "best_ask"}:
        return f"{Fraction(found[name])}"
    return "null" if found[name] is None else found[name]


@pytest.mark.parametrize("title", examples())
def test_the_page_tells_the_truth(title: str) -> None:
    example = examples()[title]
    *_, last = recompute(rows_of(example))
    for name, expected in example["expect"].items():
        if name in {"best_bid", "best_ask"}:
            expected = f"{Fraction(expected)}"  # noqa: PLW2901
        assert value_of(last, name) == expected, name


def test_the_page_has_an_example_for_every_feature() -> None:
    assert {name for example in examples().values() for name in example["expect"]} == NEEDED


times = st.integers(0, 3_000_000)


@given(steps=st.lists(st.tuples(st.booleans(), times, st.integers(-50, 50)), max_size=60))
def test_a_window_is_the_sum_over_its_interval_however_time_steps(
    steps: list[tuple[bool, int, int]],
) -> None:
    window = Window()
    entries: list[tuple[int, int]] = []
    newest = 0
    for asked, time_us, amount in steps:
        if not asked:
            window.add(time_us, amount)
            entries.append((time_us, amount))
            continue
        if time_us < newest - 2_000_000:
            continue  # beyond the slack that a window promises
        newest = max(newest, time_us)
        inside = [a for t, a in entries if time_us - WINDOW_US < t <= time_us]
        assert window.sums(time_us) == (sum(inside), sum(map(abs, inside)))


@given(mids=st.lists(st.integers(900_000, 1_100_000), min_size=3, max_size=140))
def test_volatility_is_the_deviation_of_the_last_fifty_changes(mids: list[int]) -> None:
    volatility = Volatility()
    found = None
    changes = []
    for before, now in pairwise(mids):
        found = volatility.add(before / 100, now / 100)
        changes.append((now / 100 - before / 100) / (before / 100) * 1e4)
    assert found == pytest.approx(pstdev(changes[-50:]), abs=2e-6)


def test_a_quiet_book_has_no_volatility_and_no_flow() -> None:
    top = Top("99", "101", 100.0, 200.0, 0.0, 2.0, 0.0, 99.0, 1.0, 101.0, 1.0)
    windows = FeatureWindows(top)
    for moment in range(60):
        windowed = windows.update(START_US + moment, top)
    assert windowed == (0.0, None, 0.0)
