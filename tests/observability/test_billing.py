from quotewatch.metrics.catalogue import OWNERS
from quotewatch.metrics.declared.processes import CONSOLE
from quotewatch.observability.billing import EXPORT_SECONDS, FREE_MIB, Bill, bill, bill_of


def test_one_product_fits_the_free_part() -> None:
    assert bill(1).mib <= FREE_MIB
    assert bill(1).dollars == 0


def test_every_process_in_the_cloud_is_billed() -> None:
    assert set(EXPORT_SECONDS) == set(OWNERS) - {CONSOLE}


def test_a_month_of_a_process_adds_up() -> None:
    # maintain: scalars alone, exported every 10 minutes.
    found = bill_of("maintain", 1)
    assert found.bytes == found.series * 8 * 30 * 24 * 6
    # train has one histogram.
    train = bill_of("train", 1)
    assert train.bytes == ((train.series - 1) * 8 + 80) * 30 * 24 * 12


def test_only_the_gateway_grows_with_products_and_by_the_series_it_has_for_each() -> None:
    grown = {owner for owner in EXPORT_SECONDS if bill_of(owner, 20) != bill_of(owner, 1)}
    assert grown == {"gateway"}
    per_product = bill_of("gateway", 2).series - bill_of("gateway", 1).series
    assert bill(500).series == bill(1).series + 499 * per_product


def test_what_is_above_the_free_part_costs() -> None:
    assert Bill(1, 150 * 1_048_576).dollars == 0
    assert round(Bill(1, 151 * 1_048_576).dollars, 4) == 0.2580
