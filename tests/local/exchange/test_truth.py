"""The truth file: every line is whole, in order, and says what became of a message."""

import json
from pathlib import Path

from quotewatch.local.exchange.sessions import Shipment
from quotewatch.local.exchange.truth import TruthFile


def test_lines_have_the_promised_fields_and_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "truth.jsonl"
    truth = TruthFile(path)
    truth.write(1_500_000_000, 1, [Shipment('{"a":"ü"}'.encode(), "match")])
    truth.write(
        2_000_000_000, 2, [Shipment(b'{"cut', "match", fault="malformed"), Shipment(b"x", "y")]
    )
    truth.write(3_000_000_000, 0, [Shipment(b"gone", "match", sent=False, fault="outage")])
    truth.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"t": 1.5, "conn": 1, "message": '{"a":"ü"}', "sent": True, "fault": None},
        {"t": 2.0, "conn": 2, "message": '{"cut', "sent": True, "fault": "malformed"},
        {"t": 2.0, "conn": 2, "message": "x", "sent": True, "fault": None},
        {"t": 3.0, "conn": 0, "message": "gone", "sent": False, "fault": "outage"},
    ]


def test_a_flush_leaves_whole_lines_for_whoever_reads_along(tmp_path: Path) -> None:
    truth = TruthFile(tmp_path / "truth.jsonl")
    for number in range(5_000):
        truth.write(number, 1, [Shipment(b"%d" % number, "match")])
    written = (tmp_path / "truth.jsonl").read_text()
    assert written.endswith("}\n")
    assert 0 < written.count("\n") <= 5_000
    truth.flush()
    assert (tmp_path / "truth.jsonl").read_text().count("\n") == 5_000
    truth.close()


def test_without_a_path_nothing_is_kept() -> None:
    truth = TruthFile(None)
    truth.write(1, 1, [Shipment(b"x", "match")])
    truth.close()
    assert truth._lines == []
