"""Who is healthy. Pure: what gcloud shows and what the logs say in, a verdict for each out.

A function is healthy when the revision that runs now has reported what it did when it was called,
and nothing went wrong since. Silence is not health. A call that found it busy says neither, nor
does a call that Scheduler saw fail: it names no revision, and is made again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from deploy.entries import CALLED, LISTENING, PROBED, Entry
from deploy.names import GATEWAY, PUSHED

_LONGEST = 300


@dataclass
class Verdict:
    """What is known of one function, or of the gateway."""

    name: str
    troubles: list[str] = field(default_factory=list)
    reported: bool = False
    refusal: str = ""  # how a call was turned away because another one was being answered
    doubt: str = ""  # what Scheduler says of a call, which may have gone to an older revision

    @property
    def settled(self) -> bool:
        """Whether waiting longer changes nothing."""
        return self.reported or bool(self.troubles)

    def add(self, trouble: str) -> None:
        """Note a trouble, once."""
        if trouble not in self.troubles:
            self.troubles.append(trouble)


@dataclass(frozen=True, slots=True)
class Running:
    """What runs under a name now, and what is wrong with it at first sight."""

    name: str
    revision: str
    troubles: tuple[str, ...] = ()
    ready_since: datetime | None = None  # of the gateway, which Cloud Run asks how it is

    def is_ready_since_before(self, moment: datetime) -> bool:
        """Say whether it was ready at a moment and has been ever since."""
        return self.ready_since is not None and self.ready_since < moment


def function_running(shown: Mapping[str, Any] | None, name: str, commit: str | None) -> Running:
    """Read a function as gcloud shows it; `commit` is what it should be, if that is known."""
    if shown is None:
        return Running(name, "", ("it is not there",))
    troubles = []
    state = shown.get("state")
    if state != "ACTIVE":
        messages = [str(each.get("message", each)) for each in shown.get("stateMessages", ())]
        troubles.append(" ".join([f"its state is {state}", *messages])[:_LONGEST])
    label = shown.get("labels", {}).get("commit", "none")
    if commit is not None and label != commit:
        troubles.append(f"it runs commit {label}, not {commit}")
    return Running(name, str(shown.get("serviceConfig", {}).get("revision", "")), tuple(troubles))


def gateway_running(shown: Mapping[str, Any] | None, image: str | None) -> Running:
    """Read the gateway as gcloud shows it; `image` is what it should run, if that is known."""
    if shown is None:
        return Running(GATEWAY, "", ("it is not there",))
    status: Mapping[str, Any] = shown.get("status", {})
    ready, created = status.get("latestReadyRevisionName"), status.get("latestCreatedRevisionName")
    troubles = []
    conditions = {each.get("type"): each for each in status.get("conditions", ())}
    readiness: Mapping[str, Any] = conditions.get("Ready", {})
    if readiness.get("status") != "True":
        said = readiness.get("message") or readiness.get("reason") or "no reason given"
        troubles.append(f"it is not ready: {said}"[:_LONGEST])
    if ready != created:
        troubles.append(f"its revision {created} did not become ready; {ready} runs on")
    runs = [each.get("image") for each in _containers(shown)]
    if image is not None and image not in runs:
        troubles.append(f"it runs {', '.join(map(str, runs)) or 'nothing'}, not {image}")
    return Running(GATEWAY, str(created or ""), tuple(troubles), _since(readiness))


def judge(
    running: Sequence[Running], entries: Iterable[Entry], epoch: str, kept_since: datetime
) -> list[Verdict]:
    """Return a verdict for each, from what it has said so far; the log begins at `kept_since`."""
    verdicts = {
        each.name: Verdict(each.name, list(each.troubles), each.is_ready_since_before(kept_since))
        for each in running
    }
    revisions = {each.name: each.revision for each in running}
    for entry in entries:
        verdict = verdicts.get(entry.of)
        # What an older revision says while it ends is not about what was deployed.
        if verdict is not None and entry.revision in ("", revisions[entry.of]):
            _take(verdict, entry, epoch)
    return list(verdicts.values())


def _take(verdict: Verdict, entry: Entry, epoch: str) -> None:
    trouble = entry.trouble()
    verdict.refusal = verdict.refusal or entry.refusal()
    if entry.from_scheduler:
        verdict.doubt = verdict.doubt or trouble
    elif trouble:
        verdict.add(trouble)
    elif _is_report(verdict.name, entry, epoch):
        report = entry.payload.get("report")
        error = report.get("error") if isinstance(report, Mapping) else None
        if entry.payload.get("failed") or (verdict.name in PUSHED and error):
            verdict.add(f"reported a failure: {report}"[:_LONGEST])
        verdict.reported = True


def _is_report(name: str, entry: Entry, epoch: str) -> bool:
    """Say whether this is the line that was waited for."""
    if name == GATEWAY:
        return entry.event == LISTENING
    if name in PUSHED:
        return entry.event == PROBED and entry.payload.get("epoch") == epoch
    return entry.event == CALLED


def _since(readiness: Mapping[str, Any]) -> datetime | None:
    told = readiness.get("lastTransitionTime")
    ready = told and readiness.get("status") == "True"
    return datetime.fromisoformat(str(told)) if ready else None


def _containers(shown: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    template: Mapping[str, Any] = shown.get("spec", {}).get("template", {})
    found: Sequence[Mapping[str, Any]] = template.get("spec", {}).get("containers", ())
    return found
