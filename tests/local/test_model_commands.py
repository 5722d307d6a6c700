"""What was learnt, from the command line: seen, rolled back, and learnt anew."""

import json
from pathlib import Path
from typing import Any

import pytest

from quotewatch.__main__ import main
from tests.stages.test_train import market, models, trained
from tests.tables.desk import open_desk
from tests.tables.labelled import label_now, labels_in, store_some


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory of a run with three versions."""
    monkeypatch.chdir(tmp_path)
    frames = market()
    with open_desk(tmp_path) as committer:
        for part in (frames[:10], frames[10:20], frames[20:]):
            store_some(committer, part)
            label_now(committer)
            trained(committer, tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run a command that answers in JSON."""
    assert main(arguments) == 0
    return json.loads(capsys.readouterr().out)


def shown(capsys: pytest.CaptureFixture[str], run: Path, *arguments: str) -> Any:
    return said(capsys, "model", "--json", "--data", str(run), *arguments)["500"]


def test_versions_and_scores_are_listed_the_newest_first(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = shown(capsys, run)
    names = list(listed["versions"])
    assert names == sorted(names, reverse=True)
    assert listed["current"] == names[0]
    newest = listed["versions"][names[0]]
    assert newest["labels"] > 1_000
    assert newest["test_then_train"]["all"]["base_rate"] > 0
    assert main(["model", "--data", str(run)]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in names)
    assert "base rate alone" in text


def test_rolling_back_is_one_command_and_holds_until_it_is_taken_back(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest, *_, oldest = shown(capsys, run)["versions"]
    listed = shown(capsys, run, "--horizon-ms", "500", "--use", oldest)
    assert (listed["current"], listed["pinned"]) == (oldest, True)
    assert main(["model", "--data", str(run)]) == 0
    assert "pinned" in capsys.readouterr().out
    with open_desk(run) as committer:
        trained(committer, run)
    capsys.readouterr()
    assert shown(capsys, run)["current"] == oldest
    listed = shown(capsys, run, "--horizon-ms", "500", "--follow")
    assert (listed["current"], listed["pinned"]) == (newest, False)


def test_a_version_that_is_not_there_is_refused_with_those_that_are(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["model", "--data", str(run), "--horizon-ms", "500", "--use", "000-000000999"]
    assert main(given) == 1
    error = capsys.readouterr().err
    assert "000-000000999 does not exist" in error
    assert models(run).versions()[-1] in error


def test_with_several_models_it_must_be_said_which(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUOTEWATCH_HORIZON_MS", "500,5000")
    assert main(["model", "--data", str(run), "--follow"]) == 2
    assert "500, 5000" in capsys.readouterr().err


def test_a_version_that_does_not_load_is_shown_with_the_reason(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = models(run).versions()[-1]
    path = run / "objects" / "models" / "500ms" / "versions" / newest
    path.write_bytes(b"{}")
    assert "refused" in shown(capsys, run)["versions"][newest]
    assert main(["model", "--data", str(run)]) == 0
    assert newest in capsys.readouterr().out


@pytest.mark.parametrize("horizon", ["0", "0.5", "soon", "600001"])
def test_a_horizon_that_is_none_is_refused(
    horizon: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["relabel", "--horizon-ms", horizon])
    assert "expected whole milliseconds" in capsys.readouterr().err


def test_labels_are_made_anew_and_learnt_from_the_beginning(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_desk(run) as committer:
        before = labels_in(committer)
    answer = said(capsys, "relabel", "--horizon-ms", "500", "--data", str(run))
    assert answer["removed"] == answer["labelled"] == len(before)
    with open_desk(run) as committer:
        assert len(labels_in(committer)) == len(before)
        trained(committer, run)
    capsys.readouterr()
    listed = shown(capsys, run)
    assert listed["current"].startswith("001-")
    assert listed["versions"][listed["current"]]["labels"] == len(before)


def test_labels_that_could_not_be_made_anew_are_not_removed(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_desk(run) as committer:
        before = labels_in(committer)
        table = committer.tables.load("features")
        table.append(table.scan().to_arrow().slice(0, 1))
    assert main(["relabel", "--horizon-ms", "500", "--data", str(run)]) == 1
    assert "repair-ledger features" in capsys.readouterr().err
    with open_desk(run) as committer:
        assert labels_in(committer) == before


def test_a_horizon_nobody_has_labelled_is_labelled(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = said(capsys, "relabel", "--horizon-ms", "1000", "--data", str(run))
    assert answer["removed"] == 0
    assert answer["labelled"] > 1_000


def test_where_nothing_was_ever_stored_it_says_where_to_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "--data", str(tmp_path / "nowhere")]) == 2
    assert "--data" in capsys.readouterr().err
