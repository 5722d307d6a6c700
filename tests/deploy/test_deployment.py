"""A whole deploy against a cloud that keeps count: what is changed, in what order, what is said."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import pytest

from tests.deploy.clouds import FakeCloud
from tests.deploy.fake_gcloud import ALL, PROJECT, REGION

PATIENCE_SECONDS = 60.0  # far beyond what is needed: only a failure waits so long


def test_everything_is_deployed_and_found_to_be_alive(cloud: FakeCloud) -> None:
    outcome = cloud.deploy()

    assert outcome.code == 0, outcome.said
    head = cloud.checkout.head
    assert cloud.world.deployed == {**dict.fromkeys(ALL, head), "gateway": cloud.image}
    for name in (*ALL, "gateway"):
        assert f"  {name:<10} healthy" in outcome.said


def test_what_python_cannot_read_is_refused_before_anything_is_touched(cloud: FakeCloud) -> None:
    cloud.checkout.write("quotewatch/broken.py", "def (\n")
    cloud.checkout.commit("broken")

    outcome = cloud.deploy()

    assert outcome.code == 2
    assert "quotewatch/broken.py cannot be deployed: invalid syntax" in outcome.said
    assert "Nothing was changed." in outcome.said
    cloud.assert_untouched()


def test_what_lies_in_a_working_tree_and_never_runs_may_be_broken(cloud: FakeCloud) -> None:
    cloud.checkout.write("scratch/broken.py", "def (\n")

    assert cloud.deploy("--allow-dirty", "--no-smoke").code == 0


def test_each_line_is_shown_as_it_is_run(cloud: FakeCloud) -> None:
    outcome = cloud.deploy("--no-smoke")

    shown = outcome.said.splitlines()
    for call in cloud.changing():
        assert " ".join(call.line) in shown


def test_the_gateway_comes_after_its_image_and_all_functions(cloud: FakeCloud) -> None:
    assert cloud.deploy("--no-smoke").code == 0

    words = [call.words for call in cloud.changing()]
    assert words[-1] == ("run", "services", "update", "gateway")
    assert len(words) == len(ALL) + 2


def test_what_ships_is_the_commit_and_not_what_lies_around(cloud: FakeCloud) -> None:
    cloud.checkout.write(".gitignore", "secret.env\n")
    cloud.checkout.commit("ignore")
    cloud.checkout.write("secret.env", "TOKEN=1\n")

    assert cloud.deploy("--no-smoke").code == 0

    folders = {call.folder for call in cloud.changing()}
    [folder] = folders
    assert folder != cloud.checkout.root
    assert not folder.exists()


def test_a_dirty_tree_is_refused_before_anything_is_touched(cloud: FakeCloud) -> None:
    cloud.checkout.write("functions/write.py", "# changed\n")
    cloud.checkout.write("new.py", "")

    outcome = cloud.deploy()

    assert outcome.code == 2
    assert "functions/write.py, new.py" in outcome.said
    assert "--allow-dirty" in outcome.said
    cloud.assert_untouched()


def test_a_dirty_tree_that_is_wanted_ships_under_a_label_of_its_own(cloud: FakeCloud) -> None:
    cloud.checkout.write("functions/write.py", "# changed\n")

    outcome = cloud.deploy("--allow-dirty", "--no-smoke")

    assert outcome.code == 0, outcome.said
    [label] = {label for name, label in cloud.world.deployed.items() if name != "gateway"}
    assert label.startswith(f"{cloud.checkout.head}-dirty-")
    assert len(label) <= 63
    assert {call.folder for call in cloud.changing()} == {cloud.checkout.root}


def test_an_older_commit_can_be_brought_back_for_one_function(cloud: FakeCloud) -> None:
    first = cloud.checkout.head
    cloud.checkout.write("functions/write.py", "# broken\n")
    second = cloud.checkout.commit("second")
    assert cloud.deploy().code == 0

    outcome = cloud.deploy(f"--commit={first[:10]}", "--only=write")

    assert outcome.code == 0, outcome.said
    others = {name: label for name, label in cloud.world.deployed.items() if name in ALL}
    assert others == {**dict.fromkeys(ALL, second), "write": first}


def test_an_older_commit_without_one_of_the_functions_is_refused(cloud: FakeCloud) -> None:
    (cloud.checkout.root / "functions" / "train.py").unlink()
    older = cloud.checkout.commit("without train")
    cloud.checkout.write("functions/train.py", "# again\n")
    cloud.checkout.commit("with train")

    outcome = cloud.deploy(f"--commit={older}")

    assert outcome.code == 2
    assert "that commit has no function train yet; leave it out: make deploy" in outcome.said
    alone = cloud.deploy(f"--commit={older}", "--only=train")
    assert "that commit has no function train yet; choose a newer one" in alone.said
    left = ",".join(name for name in ("image", *ALL, "gateway") if name != "train")
    assert f'--only={left}"' in outcome.said
    cloud.assert_untouched()


def test_the_gateway_alone_brings_its_image(cloud: FakeCloud) -> None:
    assert cloud.deploy("--only=gateway", "--no-smoke").code == 0

    assert [call.words[0] for call in cloud.changing()] == ["builds", "run"]


def test_a_function_that_does_not_build_stops_no_other_but_the_gateway(cloud: FakeCloud) -> None:
    cloud.world.failing = {"functions deploy train": "Build failed: no such package: scikit"}

    outcome = cloud.deploy()

    assert outcome.code == 1
    assert set(cloud.world.deployed) == set(ALL) - {"train"}
    assert "Build failed: no such package: scikit" in outcome.said
    assert "gateway    left out: it comes after train" in outcome.said
    assert (
        f'make deploy PROJECT={PROJECT} REGION={REGION} ARGS="--only=train,gateway"' in outcome.said
    )
    assert cloud.world.published == {}


def test_what_failed_can_be_deployed_alone_afterwards(cloud: FakeCloud) -> None:
    cloud.world.failing = {"functions deploy train": "Build failed"}
    cloud.deploy()
    cloud.world.failing = {}

    outcome = cloud.deploy("--only=train,gateway")

    assert outcome.code == 0, outcome.said
    assert set(cloud.world.deployed) == {*ALL, "gateway"}


def test_a_dry_run_shows_every_line_and_asks_nobody(cloud: FakeCloud) -> None:
    outcome = cloud.deploy("--dry-run")
    assert outcome.code == 0
    assert cloud.gcloud.calls == []
    assert cloud.apis.calls == []
    shown = [line for line in outcome.said.splitlines() if line.startswith("gcloud ")]

    cloud.deploy()

    assert sorted(shown) == sorted(" ".join(call.line) for call in cloud.changing())


def test_a_dry_run_needs_no_gcloud_and_no_clean_tree(
    cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.checkout.write("new.py", "")
    cloud.without("gcloud")
    monkeypatch.setenv("PATH", str(cloud.programs))

    outcome = cloud.deploy("--dry-run")

    assert outcome.code == 0, outcome.said
    assert "gcloud functions deploy write" in outcome.said


def test_what_is_to_be_deployed_alone_must_exist(cloud: FakeCloud) -> None:
    outcome = cloud.deploy("--only=wirte")

    assert outcome.code == 2
    assert "wirte is nothing to deploy; choose from image, label" in outcome.said
    cloud.assert_untouched()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_what_it_started_and_says_how_far_it_came(
    cloud: FakeCloud, number: signal.Signals
) -> None:
    cloud.world.hanging = "functions deploy train"
    process = cloud.start()
    finished = [f"{name}: done" for name in ("image", *ALL) if name != "train"]
    before = heard(process, finished)
    wait_until(lambda: is_at(cloud, "train"), process)

    process.send_signal(number)
    process.send_signal(number)  # impatience ends nothing sooner, and leaves nothing behind
    after, _ = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 130, before + after
    assert "train      interrupted" in after
    assert "gateway    not started" in after
    assert "write      done" in after
    assert "--only=train,gateway" in after
    for call in cloud.gcloud.calls:
        with pytest.raises(ProcessLookupError):
            os.kill(call.pid, 0)


def test_interrupted_while_it_only_looks_it_says_that_nothing_was_changed(cloud: FakeCloud) -> None:
    cloud.world.hanging = "services list"
    process = cloud.start()
    wait_until(lambda: any("services" in call.words for call in cloud.gcloud.calls), process)

    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 130
    assert "Nothing was changed." in said
    cloud.assert_untouched()


def heard(process: "subprocess.Popen[str]", beginnings: Iterable[str]) -> str:
    """Read what a deploy says until each of these has begun a line."""
    assert process.stdout is not None
    said, left = "", set(beginnings)
    while left:
        line = process.stdout.readline()
        assert line, f"it ended without {left}: {said}"
        said += line
        left -= {beginning for beginning in left if line.startswith(beginning)}
    return said


def is_at(cloud: FakeCloud, name: str) -> bool:
    return any(call.words == ("functions", "deploy", name) for call in cloud.gcloud.calls)


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"it never came so far: {process.communicate()[0]}")
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
