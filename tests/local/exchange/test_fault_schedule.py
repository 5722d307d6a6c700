"""The schedule of faults: even a short run shows each, and the same seed shows the same."""

from itertools import islice, pairwise
from typing import Literal

import pytest

from quotewatch.coinbase import advanced, exchange
from quotewatch.errors import SettingsError
from quotewatch.local.exchange.config import ExchangeConfig, build_exchange
from quotewatch.local.exchange.fault_schedule import FAULTS, FROM_THE_START, check_faults, schedule
from quotewatch.local.exchange.market_model import US
from quotewatch.local.exchange.sessions import Shipment
from quotewatch.local.exchange.simulation import SimulatedExchange

TIMED = set(FAULTS) - set(FROM_THE_START)
PRODUCTS = ("BTC-USD", "ETH-USD", "ETH-BTC")


def test_a_run_of_twenty_seconds_has_every_fault_and_time_to_recover() -> None:
    moments = list(schedule(FAULTS, 3, 20.0, 8.0))
    assert {moment.fault for moment in moments} == TIMED
    assert all(a.at_us <= b.at_us for a, b in pairwise(moments))
    assert moments[0].at_us > 1.5 * US
    assert moments[-1].at_us < 16 * US
    assert moments[-1].fault == "silence"


def test_the_same_seed_has_the_same_moments() -> None:
    assert list(schedule(FAULTS, 3, 60.0, 8.0)) == list(schedule(FAULTS, 3, 60.0, 8.0))
    assert list(schedule(FAULTS, 3, 60.0, 8.0)) != list(schedule(FAULTS, 4, 60.0, 8.0))


def test_longer_runs_repeat_and_endless_runs_never_stop() -> None:
    assert sum(moment.fault == "restart" for moment in schedule(["restart"], 1, 65.0, 8.0)) == 3
    endless = list(islice(schedule(["restart"], 1, None, 8.0), 50))
    assert endless[-1].at_us > 900 * US


def test_a_long_silence_stretches_the_cycle() -> None:
    moments = list(schedule(["silence"], 1, 120.0, 30.0))
    assert [moment.number for moment in moments] == [0]
    moments = list(schedule(["silence"], 1, 160.0, 30.0))
    assert moments[1].at_us - moments[0].at_us == 80 * US


def test_no_faults_have_no_moments() -> None:
    assert list(schedule([], 1, None, 8.0)) == []
    assert list(schedule(FROM_THE_START, 1, None, 8.0)) == []


def test_what_is_no_fault_is_refused_with_all_there_are() -> None:
    with pytest.raises(SettingsError, match=r"no such fault: flood; there are drop_trades, "):
        check_faults(["crossed", "flood"], 3)


@pytest.mark.parametrize("dialect", ["exchange", "advanced"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_client_that_reconnects_meets_every_fault(
    dialect: Literal["exchange", "advanced"], seed: int
) -> None:
    config = ExchangeConfig(
        products=PRODUCTS, dialect=dialect, seed=seed, faults=FAULTS, seconds=20.0
    )
    simulated = build_exchange(config, US)
    seen, closings, lowest = run_with_reconnects(simulated, 20.0)
    in_messages = {shipment.fault for shipment in seen if shipment.fault}
    wanted = TIMED - {"disconnect", "restart", "rest_down"}
    assert in_messages >= wanted
    assert {fault for fault, _ in closings} == {"disconnect", "restart"}
    assert lowest == 4_000_000
    snapshots = [s.text for s in seen if b'"snapshot"' in s.text and b'"BTC-USD"' in s.text]
    assert max(map(len, snapshots)) > (1_000_000 if dialect == "exchange" else 4_900_000)


def run_with_reconnects(
    simulated: SimulatedExchange, seconds: float
) -> tuple[list[Shipment], list[tuple[str, int]], int]:
    seen: list[Shipment] = []
    closings: list[tuple[str, int]] = []
    rest_down_us = 0
    session = simulated.open()
    requests = (exchange if simulated.dialect.name == "exchange" else advanced).subscribe(
        PRODUCTS[:-1]  # the last one is delisted
    )
    for request in requests:
        simulated.request(session, request)
    for step in range(1, round(seconds * 100) + 1):
        simulated.advance(US + step * 10_000)
        seen += session.take()
        before = simulated.plan.rest_down_until_us
        rest_down_us = max(rest_down_us, before - simulated.market.now_us)
        if simulated.plan.hangups:
            closings += simulated.plan.hangups
            simulated.plan.hangups.clear()
            seen += simulated.close(session)
            session = simulated.open()
            for request in requests:
                simulated.request(session, request)
    return seen, closings, 4_000_000 if rest_down_us > 3_900_000 else rest_down_us


@pytest.mark.parametrize("dialect", ["exchange", "advanced"])
def test_a_delisted_product_is_refused(dialect: Literal["exchange", "advanced"]) -> None:
    config = ExchangeConfig(products=PRODUCTS, dialect=dialect, faults=("bad_product",))
    simulated = build_exchange(config, US)
    session = simulated.open()
    requests = (exchange if dialect == "exchange" else advanced).subscribe(PRODUCTS)
    simulated.request(session, requests[0])
    answers = session.take()
    if dialect == "exchange":
        assert [shipment.kind for shipment in answers] == ["error"]
        assert b"ETH-BTC is not a valid product" in answers[0].text
    else:
        assert b"ETH-BTC" not in answers[-1].text
        assert b"BTC-USD" in answers[-1].text
