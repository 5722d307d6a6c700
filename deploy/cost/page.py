"""What a month costs, as Markdown: for a page of the docs, between two marks, or for a terminal."""

from collections.abc import Iterable, Iterator, Sequence

from deploy.cost.estimate import ALL, Estimate, other
from deploy.cost.facts import CALLS, FACTS
from deploy.cost.tariff import Price, Tariff

BEGIN, END = "<!-- cost -->", "<!-- /cost -->"

_PARTS = {
    "gateway": "gateway, always on",
    "predict": "`predict`, pushed each frame of features",
    "write": "`write`, each minute",
    "label": "`label`, pushed and each 5 minutes",
    "train": "`train`, each 5 minutes",
    "reconcile": "`reconcile`, each 5 minutes",
    "maintain": "`maintain`, each 10 minutes",
    "Pub/Sub": "Pub/Sub",
    "files": "Cloud Storage, requests",
    "storage": "Cloud Storage, a month of data and what was replaced lately",
    "catalog": "BigLake catalog, requests",
    "metrics": "Cloud Monitoring",
    "logs": "Cloud Logging",
    "images": "Artifact Registry",
    "schedules": "Cloud Scheduler",
    "secrets": "Secret Manager",
}
_DOMINANT = 3
_CENTS_BELOW = 10.0


def page(estimates: Sequence[Estimate], tariff: Tariff) -> str:
    """Return the whole of it."""
    days = sorted(price.seen for price in tariff)
    opening = (
        f"US dollars a month of 30 days in `{tariff.region}`, at prices read from {days[0]} to"
        f" {days[-1]} (`deploy/cost/prices.json`). An estimate, made by `python -m deploy.cost`;"
        " nobody has seen a bill."
    )
    parts = [
        opening,
        "\n".join(_totals(estimates)),
        "\n".join(_remarks(estimates)),
        _folded("What it is reckoned from", [*_facts(), "", *_calls(estimates)]),
        _folded("Prices", _prices(tariff)),
    ]
    return "\n\n".join(parts) + "\n"


def put_into(text: str, estimated: str) -> str:
    """Return a page with the estimate between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{estimated}{END}{after}"


def _totals(estimates: Sequence[Estimate]) -> Iterator[str]:
    yield _row(["", *(_title(each) for each in estimates)])
    yield _row(["---", *("---:" for _ in estimates)])
    yield _row(
        [
            "messages of the exchange a second",
            *(f"{each.traffic.messages_a_second:,.0f}" for each in estimates),
        ]
    )
    for part, title in _PARTS.items():
        yield _row([title, *(_dollars(each.invoice.of(part)) for each in estimates)])
    yield _row(["**a month**", *(f"**{_dollars(each.invoice.dollars)}**" for each in estimates)])
    for title, amounts in (
        ("with the free parts used elsewhere", [each.invoice.list_dollars for each in estimates]),
        ("each further month of data kept adds", [each.further_month for each in estimates]),
        ("not in the sum: alerts, once they cost", [each.alerts.dollars for each in estimates]),
        (
            "Pub/Sub and `predict`, were each message an event",
            [each.naive.dollars for each in estimates],
        ),
    ):
        yield _row([title, *(_dollars(amount) for amount in amounts)])


def _remarks(estimates: Sequence[Estimate]) -> Iterator[str]:
    for each in estimates:
        total = each.invoice.dollars
        costly = sorted(_PARTS, key=each.invoice.of, reverse=True)[:_DOMINANT]
        shares = ", ".join(f"{part} {each.invoice.of(part) / total:.0%}" for part in costly)
        yield f"- Most of it, {_title(each)}: {shares}."
    kind = estimates[0].gateway
    there = " / ".join(_dollars(each.as_other_kind) for each in estimates)
    yield f"- The gateway is a {_KINDS[kind]}; as a {_KINDS[other(kind)]} it would cost {there}."
    yield (
        "- Data is kept until you delete it, so storage grows by the month: that line is what a"
        " second month costs."
    )
    since = next((price.since for price in estimates[0].tariff if price.since), None)
    if since:
        yield f"- Alerts are announced to cost from {since} on, by the metrics that they name."
    yield (
        "- Not counted: taxes, builds, what Grafana reads, an outage that fills the bus. Nothing is"
        " sent to the internet but requests."
    )


_KINDS = {"service": "service billed by instance", "pool": "worker pool"}


def _facts() -> Iterator[str]:
    yield _row(["amount", "of", "from"])
    yield _row(["---:", "---", "---"])
    for fact in FACTS.values():
        yield _row([f"{fact.amount:,g}", fact.unit, fact.source])


def _calls(estimates: Sequence[Estimate]) -> Iterator[str]:
    """Yield what calls do: the seconds are those of the cloud, for each number of products."""
    counted = ("loads", "commits", "reads")
    seconds = [f"s, {_title(each)}" for each in estimates]
    yield _row(["call of", "each", *seconds, "tables looked up", "commits", "files read"])
    yield _row(["---", "---:", *("---:" for _ in seconds), *("---:" for _ in counted)])
    for call in CALLS:
        took = [f"{each.deployment.call_seconds(call):.1f}" for each in estimates]
        each = f"{call.minutes * 60:g} s"
        counts = [f"{getattr(call, name):g}" for name in counted]
        yield _row([f"`{call.function}`", each, *took, *counts])


def _prices(tariff: Tariff) -> Iterator[str]:
    yield _row(["USD", "a", "free a month", "read", "from"])
    yield _row(["---:", "---", "---:", "---", "---"])
    for price in tariff:
        yield _row(
            [f"{price.dollars:.9f}".rstrip("0").rstrip("."), _unit(price), f"{price.free:,g}",
             f"{price.seen}", price.page]
        )  # fmt: skip


def _unit(price: Price) -> str:
    return f"{price.unit} ({price.note})" if price.note else price.unit


def _folded(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"<details><summary>{title}</summary>", "", *lines, "", "</details>"])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _title(each: Estimate) -> str:
    products = each.traffic.products
    if products == ALL:
        return f"all ({products})"
    return f"{products} product{'s' if products > 1 else ''}"


def _dollars(amount: float) -> str:
    return f"{amount:,.2f}" if amount < _CENTS_BELOW else f"{amount:,.0f}"
