"""The runbook has a section for every alert, and what it tells to type and to look at exists."""

import io
import re
import shlex
from pathlib import Path

import pytest

from quotewatch.__main__ import _parser
from quotewatch.local.sql_console import run_sql
from quotewatch.metrics.declared.processes import STAGES
from quotewatch.observability.alerts import POLICIES
from quotewatch.observability.metrics_page import panels_by_metric
from quotewatch.streams import STREAMS, TABLES
from quotewatch.tables.catalog import Tables, catalog_properties

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "runbook.md").read_text()
ALERTS, _, OPERATIONS = PAGE.partition("\n# Operations\n")
SECTIONS = {
    part.partition("\n")[0]: part.partition("\n")[2]
    for part in re.split(r"^## ", ALERTS, flags=re.MULTILINE)[1:]
}
COMMANDS = sorted(
    {
        *re.findall(r"`(python -m quotewatch [^`]+)`", PAGE),
        *re.findall(r"^    (python -m quotewatch .+)$", PAGE, re.MULTILINE),
    }
)
QUERIES = [shlex.split(each)[4] for each in COMMANDS if each.split()[3] == "sql"]
BOLD = ["Means", "Look", "Likely", "Do", "Closes"]
STAND_INS = {"STREAM": next(iter(STREAMS)), "TABLE": next(iter(TABLES)), "NAME": STAGES[0]}


def test_every_alert_has_its_section_and_every_section_an_alert() -> None:
    assert list(SECTIONS) == [each.slug for each in POLICIES]


@pytest.mark.parametrize("slug", SECTIONS)
def test_a_section_says_all_there_is_to_know_and_is_short(slug: str) -> None:
    assert re.findall(r"^- \*\*(\w+)\*\*: ", SECTIONS[slug], re.MULTILINE) == BOLD
    assert len(SECTIONS[slug].split()) < 160


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert all(link[1:] in SECTIONS for link in links if link.startswith("#"))
    pages = {link.partition("#")[0] for link in links if not link.startswith("#")}
    assert all((ROOT / "docs" / page).is_file() for page in pages)


def test_what_is_done_on_purpose_is_there() -> None:
    assert re.findall(r"^## (.+)$", OPERATIONS, re.MULTILINE) == [
        "Roll back a function",
        "Redeploy the gateway without a hole",
        "Redrive quarantine and dead letters",
        "Rotate secrets",
        "Tear down without losing data",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_the_command_line_takes(command: str) -> None:
    words = shlex.split(command)[3:]
    filled = [re.sub("STREAM|TABLE|NAME", lambda it: STAND_INS[it[0]], word) for word in words]
    assert _parser().parse_args(filled if words[0] != "sql" else words)


def test_queries_can_be_asked_of_the_tables(tmp_path: Path) -> None:
    tables = Tables(catalog_properties("", "", tmp_path))
    try:
        for name in TABLES:
            tables.load(name)
        for query in QUERIES:
            assert run_sql(tables, query, io.StringIO(), form="json") == 0
    finally:
        tables.close()


def test_log_lines_are_written_somewhere() -> None:
    phrases = re.findall(r"[Ll]og lines? ((?:`\w+`(?:, | and )?)+)", PAGE)
    names = {name for phrase in phrases for name in re.findall(r"`(\w+)`", phrase)}
    sources = "".join(
        each.read_text()
        for room in ("quotewatch", "ingest_gateway")
        for each in (ROOT / room).rglob("*.py")
    )
    assert len(names) > 8
    assert not [name for name in names if f'"{name}"' not in sources]


def test_panels_are_on_a_dashboard() -> None:
    titles = {title for shown in panels_by_metric().values() for title in shown}
    assert set(re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", PAGE)) <= titles
