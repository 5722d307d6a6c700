"""What a month costs: expectations worked out by hand, from prices written down here."""

import gzip
import json
import re
from datetime import date
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.cost import __main__ as cost
from deploy.cost import traffic
from deploy.cost.estimate import ALL, GATEWAY, Estimate, references
from deploy.cost.facts import CALLS, FACTS, Call, amount
from deploy.cost.invoice import Deployment, Kind, Usage, alert_usages, invoice_of, naive_usages
from deploy.cost.page import BEGIN, END, page, put_into
from deploy.cost.tariff import PRICES, PricesError, Tariff, load_tariff
from deploy.cost.traffic import Stream, Traffic, traffic_of
from deploy.names import functions, scheduled
from functions import label
from ingest_gateway import tape
from ingest_gateway.gateway import HIGH_WATER_SECONDS
from ingest_gateway.pages import ROWS
from quotewatch.bus.topology import STREAMS, topology
from quotewatch.observability import billing
from tests.captures import captures_dir
from tests.import_graph import ROOT

MONTH = 2_592_000  # seconds of 30 days
TIB = 1_099_511_627_776
KINDS: tuple[Kind, ...] = ("service", "pool")


def priced(**said: tuple[float, float]) -> Tariff:
    """Return a tariff in which only these cost something: dollars, and what is free."""
    prices = {
        price.name: msgspec.structs.replace(price, dollars=dollars, free=free)
        for price in load_tariff()
        for dollars, free in [said.get(price.name, (0.0, 0.0))]
    }
    return Tariff("nowhere", prices)


def stream(name: str, rows: float, frames: float, frame_bytes: float) -> Stream:
    return Stream(name, rows, frames, frame_bytes, stored_row_bytes=10)


def deployment(gateway: Kind = "service", **bytes_of: float) -> Deployment:
    """Return one in which every stream has one row and one frame a second."""
    streams = [stream(name, 1, 1, bytes_of.get(name, 1_000)) for name in STREAMS]
    return Deployment(Traffic(1, tuple(streams)), gateway, schedules=5)


# Prices


def test_the_free_part_is_shared_as_it_is_used() -> None:
    usages = [Usage("write", "call_million", 3), Usage("predict", "call_million", 9)]
    found = invoice_of(usages, priced(call_million=(0.5, 4)))
    # Eight of twelve million are paid for: 4 dollars, a quarter of them for write.
    assert (found.of("write"), found.of("predict")) == (1.0, 3.0)
    assert (found.dollars, found.list_dollars) == (4.0, 6.0)


def test_what_is_within_the_free_part_costs_nothing() -> None:
    found = invoice_of([Usage("logs", "logs_gib", 49)], priced(logs_gib=(0.5, 50)))
    assert (found.dollars, found.list_dollars) == (0.0, 24.5)


def test_nothing_costs_but_what_the_prices_say() -> None:
    for products in (1, 20, ALL):
        for kind in KINDS:
            usages = [*deployment_of(products, kind).usages(), *naive_usages(100)]
            assert invoice_of(usages, priced()).list_dollars == 0


def deployment_of(products: int, kind: Kind = GATEWAY) -> Deployment:
    return Deployment(traffic_of(products), kind, schedules=5)


def test_every_price_is_used() -> None:
    used = {usage.price for kind in KINDS for usage in deployment_of(1, kind).usages()}
    used |= {usage.price for usage in alert_usages(1)}
    assert used == {price.name for price in load_tariff()}


def test_every_price_says_when_and_where_it_was_read() -> None:
    for price in load_tariff():
        assert price.seen >= date(2026, 1, 1), price.name
        assert price.page.startswith("https://cloud.google.com/"), price.name
        assert price.dollars > 0, price.name


def test_metrics_have_one_price_in_both_places() -> None:
    price = load_tariff()["metrics_mib"]
    assert (price.dollars, price.free) == (billing.DOLLARS_A_MIB, billing.FREE_MIB)


@pytest.mark.parametrize("text", ["", "{}", '{"currency": "USD", "region": "r", "prices": [{}]}'])
def test_a_file_of_prices_that_cannot_be_used_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text(text)
    with pytest.raises(PricesError, match=r"prices\.json"):
        load_tariff(tmp_path / "prices.json")


# Parts


def test_a_service_is_on_all_month() -> None:
    tariff = priced(always_cpu=(0.001, 92_000), always_memory=(0.0001, 592_000))
    # 2 500 000 seconds of one processor, and 2 000 000 of one GiB.
    assert invoice_of(deployment("service").usages(), tariff).of("gateway") == pytest.approx(2_700)


def test_a_worker_pool_has_prices_of_its_own() -> None:
    tariff = priced(always_cpu=(9, 0), pool_cpu=(0.001, 92_000), pool_memory=(0.0001, 592_000))
    assert invoice_of(deployment("pool").usages(), tariff).of("gateway") == pytest.approx(2_700)


def test_a_frame_is_paid_for_each_way_and_counts_a_thousand_bytes_at_least() -> None:
    found = deployment(raw_orderbook=50_000, features=400)
    tariff = priced(pubsub_tib=(TIB, 0))  # a dollar a byte
    paid = invoice_of(found.usages(), tariff).of("Pub/Sub") / MONTH
    raw = 2 * 50_000
    # Alone in its request a frame counts 1 000 bytes; those pulled together count what they have.
    features = 1_000 + 1_000 + 400
    others = 3 * 2 * 1_000
    announced = 5 * 2 * 1_000 / 60
    assert paid == pytest.approx(raw + features + others + announced)


def test_a_call_counts_each_begun_tenth_of_a_second() -> None:
    tariff = priced(call_cpu=(1, 0))
    found = invoice_of(deployment().usages(), tariff)
    assert found.of("predict") == pytest.approx(MONTH * 0.1)
    [reconcile] = [call for call in CALLS if call.function == "reconcile"]
    took = deployment().call_seconds(reconcile)
    # 0.03 of its own, 8 looks into the catalog at 0.1, 9 files at 0.03.
    assert took == pytest.approx(1.1)
    assert found.of("reconcile") == pytest.approx(8_640 * 1.1)


def test_a_row_takes_its_time_in_the_functions_that_touch_it() -> None:
    call = Call("write", minutes=1, row_seconds=0.01)
    assert deployment().call_seconds(call) == pytest.approx(5 * 60 * 0.01)
    assert deployment().call_seconds(Call("train", minutes=5, row_seconds=0.01)) == pytest.approx(3)


def test_tables_are_kept_and_what_was_replaced_for_two_weeks() -> None:
    found = deployment()
    # Four streams of rows with 10 bytes each, events among them, and labels.
    month_gib = (5 * 10 + 16) * MONTH / 2**30
    assert found.kept_gib == pytest.approx(month_gib)
    commits_a_day = (5 + 1) * 1_440
    metadata_gib = commits_a_day * 14 * 35_000 / 2**30
    kept = invoice_of(found.usages(), priced(storage_gib=(1, 0))).of("storage")
    assert kept == pytest.approx(month_gib * (1 + 14 / 30) + metadata_gib)


def test_each_commit_writes_its_objects() -> None:
    written = invoice_of(deployment().usages(), priced(storage_class_a=(1, 0))).of("files")
    commits = 43_200 * (5 + 1)
    lists, models = 4_320 * 35, 8_640 * 2
    assert written == pytest.approx((commits * 4.1 + lists + models) / 1_000)
    changes = invoice_of(deployment().usages(), priced(catalog_class_a=(1, 0))).of("catalog")
    assert changes == pytest.approx(commits / 1_000_000)


def test_one_message_an_event_pays_for_every_request() -> None:
    # 1 000 a second: 2 592 million requests; published and pushed, 1 000 bytes each.
    tariff = priced(call_million=(0.4, 2), pubsub_tib=(40, 10 / 1_024))
    found = invoice_of(naive_usages(1_000), tariff)
    assert round(found.dollars) == round((2_592 - 2) * 0.4 + (4.7148 - 0.0098) * 40)


def test_alerts_are_told_apart_from_what_is_paid_today() -> None:
    estimate = Estimate(1, load_tariff())
    assert references() > 27  # each of so many alerts names one at least
    assert estimate.alerts.dollars > 0
    later = {price.name for price in load_tariff() if price.since}
    assert later.isdisjoint(line.usage.price for line in estimate.invoice.lines)


# More products


@given(st.tuples(st.integers(1, ALL), st.integers(1, ALL)).map(sorted))
def test_more_products_never_cost_less(products: list[int]) -> None:
    fewer, more = (Estimate(each, load_tariff()) for each in products)
    assert fewer.invoice.dollars <= more.invoice.dollars + 1e-9
    assert fewer.further_month <= more.further_month
    for part in {line.usage.part for line in fewer.invoice.lines} - {"predict", *functions()}:
        assert fewer.invoice.of(part) <= more.invoice.of(part) + 1e-9


def test_the_first_product_is_the_liveliest_and_the_rest_are_thin() -> None:
    rates = [traffic_of(count)["raw_orderbook"].rows_a_second for count in (1, 2, 20, 21)]
    steps = [after - before for before, after in pairwise(rates)]
    assert rates[0] == 18.3
    assert steps == pytest.approx([17.0, 18 * 17.0, 9.1])


def test_a_window_without_rows_makes_no_frame_and_a_large_one_makes_several() -> None:
    assert traffic_of(1)["raw_trades"].frames_a_second < 0.5
    assert traffic_of(20)["raw_orderbook"].frames_a_second == pytest.approx(0.5)
    assert traffic_of(ALL)["raw_orderbook"].frames_a_second > 0.5
    assert traffic_of(ALL)["features"].frames_a_second == pytest.approx(4)


# Held to what it speaks of


def test_the_streams_are_those_of_the_bus_and_features_are_delivered_twice() -> None:
    assert {each.name for each in traffic_of(1).streams} == set(STREAMS)
    delivered = [each.topic for each in topology().subscriptions if "-dead" not in each.topic]
    assert sorted(delivered) == sorted([*STREAMS, "features", "committed"])


def test_the_gateway_closes_pages_at_the_size_that_is_reckoned_with() -> None:
    for found in traffic_of(ALL).streams:
        if found.name in ROWS:
            values = len(ROWS[found.name]) * tape._BYTES_PER_VALUE
            assert traffic._GUESSED_BYTES[found.name] == values
    assert amount("high_water_seconds") == HIGH_WATER_SECONDS


def terraform(name: str) -> str:
    return (ROOT / "terraform" / name).read_text()


def test_functions_are_called_and_sized_as_terraform_says() -> None:
    text = terraform("functions.tf")
    found = re.findall(r'(\w+) = \{\s+memory\s+= "(\d)Gi"\s+cpu\s+= "(\d)"', text)
    memory = {name: float(gib) for name, gib, _ in found}
    assert set(memory) == set(functions())
    assert {cpu for *_, cpu in found} == {"1"}
    assert {(call.function, call.memory_gib) for call in CALLS} <= set(memory.items())
    assert memory["predict"] == 1
    schedules = re.findall(r'schedule\s+= "(\S+) \* \* \* \*"', text)
    minutes = sorted(int(each.removeprefix("*/").replace("*", "1")) for each in schedules)
    assert minutes == sorted({call.function: call.minutes for call in CALLS}.values())
    assert len(minutes) == len(scheduled(functions()))


def test_label_is_called_once_for_each_table_that_write_announces() -> None:
    [on_time, *pushed] = sorted(
        (call for call in CALLS if call.function == "label"), key=lambda call: -call.minutes
    )
    assert on_time.minutes == 5
    assert sum(1 / call.minutes for call in pushed) == len(STREAMS)
    assert sum(call.loads > 0 for call in pushed) == len(label._SOURCES)


def test_the_gateway_is_billed_as_what_terraform_makes() -> None:
    made = re.findall(
        r'resource "google_cloud_run_v2_(service|worker_pool)"', terraform("gateway.tf")
    )
    assert made == ["service" if GATEWAY == "service" else "worker_pool"]


def test_what_is_replaced_is_kept_as_long_as_the_buckets_say() -> None:
    warehouse = terraform("buckets.tf").partition('"warehouse"')[2].partition("\nresource")[0]
    [noncurrent] = re.findall(r"days_since_noncurrent_time = (\d+)", warehouse)
    [soft] = re.findall(r"retention_duration_seconds = (\d+)", warehouse)
    assert amount("gone_days") == int(noncurrent) + int(soft) / 86_400


def test_no_topic_keeps_messages_that_would_be_paid_for() -> None:
    for topic in re.findall(
        r'resource "google_pubsub_topic" .*?\n}', terraform("topics.tf"), re.DOTALL
    ):
        assert "message_retention_duration" not in topic


def messages(capture: str) -> list[tuple[float, dict[str, object]]]:
    with gzip.open(captures_dir() / capture, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    return [(each["received_at"], json.loads(each["message"])) for each in records]


def test_rates_are_those_of_the_captures() -> None:
    thin = messages("exchange/2021-04-17-ten-pairs.jsonl.gz")
    updates = [(at, each) for at, each in thin if each["type"] == "l2update"]
    seconds = updates[-1][0] - updates[0][0]
    batches = {(each["product_id"], int(at / 0.05)) for at, each in updates}
    assert len(batches) / seconds / 10 == pytest.approx(amount("thin_book"), rel=0.03)
    assert len(updates) / len(batches) == pytest.approx(amount("thin_changes"), rel=0.03)
    matches = sum(each["type"] == "match" for _, each in thin)
    assert matches / seconds / 10 == pytest.approx(amount("thin_trades"), rel=0.05)

    live = messages("advanced/2026-08-09-btc-usd-live.jsonl.gz")
    books = [at for at, each in live if each["channel"] == "l2_data"]
    rate = len(books) / (books[-1] - books[0])
    assert rate == pytest.approx(amount("btc_book"), rel=0.03)


# The page


def estimates() -> list[Estimate]:
    return [Estimate(each, load_tariff()) for each in cost.PRODUCTS]


def test_the_parts_on_the_page_add_up() -> None:
    for each in estimates():
        lines = page([each], load_tariff()).splitlines()
        table = [line.split(" | ") for line in lines if line.startswith("| ")]
        amounts = {row[0]: row[1].strip(" |*").replace(",", "") for row in table if len(row) == 2}
        names = list(amounts)
        total = names.index("| **a month**")
        summed = sum(
            float(amounts[name]) for name in names[names.index("| gateway, always on") : total]
        )
        assert summed == pytest.approx(float(amounts["| **a month**"]), abs=4)  # each is rounded


def test_every_fact_and_every_price_is_told_once() -> None:
    text = page(estimates(), load_tariff())
    for fact in FACTS.values():
        assert text.count(f"| {fact.unit} | {fact.source} |") == 1, fact.name
    for price in load_tariff():
        assert price.unit in text


def test_the_gateway_costs_most_with_one_product() -> None:
    [line] = [
        line for line in page(estimates(), load_tariff()).splitlines() if "1 product:" in line
    ]
    assert "gateway" in line.split(":")[1].split(",")[0]


def test_a_page_is_current_once_it_is_written_into(tmp_path: Path) -> None:
    text = f"# Deploy\n\n{BEGIN}\nold\n{END}\n\nmore\n"
    assert not cost.is_current(text)
    (tmp_path / "deploy.md").write_text(text)
    assert cost.main(["--into", str(tmp_path / "deploy.md")]) == 0
    written = (tmp_path / "deploy.md").read_text()
    assert cost.is_current(written)
    assert written.startswith("# Deploy\n\n")
    assert written.endswith("\n\nmore\n")
    assert put_into(written, "old\n") == text


def test_the_page_in_docs_is_current() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    assert cost.is_current(text), "run: python -m deploy.cost --into docs/deploy.md"


def test_a_page_without_marks_is_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deploy.md").write_text("nothing\n")
    assert cost.main(["--into", str(tmp_path / "deploy.md")]) == 2
    assert (tmp_path / "deploy.md").read_text() == "nothing\n"
    assert "deploy.md" in capsys.readouterr().err


def test_json_tells_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cost.main(["--json", "--products", "1,all", "--gateway", "pool"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["products"] for each in told["estimates"]] == [1, ALL]
    for each in told["estimates"]:
        assert sum(line["dollars"] for line in each["lines"]) == pytest.approx(each["dollars"])
    assert {price["name"] for price in told["prices"]} == {price.name for price in load_tariff()}


@pytest.mark.parametrize("products", ["0", "", "-1", "btc", "1,,2"])
def test_products_that_are_no_numbers_are_refused(products: str) -> None:
    with pytest.raises(SystemExit):
        cost.main([f"--products={products}"])


def test_other_prices_can_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = PRICES.read_text().replace('"region": "us-east4"', '"region": "elsewhere"')
    (tmp_path / "mine.json").write_text(text)
    assert cost.main(["--prices", str(tmp_path / "mine.json"), "--markdown"]) == 0
    assert "`elsewhere`" in capsys.readouterr().out
    assert cost.main(["--prices", str(tmp_path / "none.json")]) == 2
