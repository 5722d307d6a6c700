"""What Cloud Monitoring was told against what happened: counters against answers, rows and frames.

Exact for every instance that ended in order. One that was killed may lack what it had not exported.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from quotewatch.bus.topology import STREAMS
from quotewatch.streams import CAPTURED, TABLES
from tests.cloudlike import gateway
from tests.cloudlike.calls import Call
from tests.cloudlike.component import Instance
from tests.cloudlike.deployment import Deployment
from tests.cloudlike.plan import FUNCTIONS, GATEWAY, MORTALS
from tests.cloudlike.settling import done_frames
from tests.fakes.monitoring.server import QUOTEWATCH, MonitoringFake
from tests.fakes.monitoring.store import Series
from tests.fakes.monitoring.values import NS_PER_SECOND

_JOB, _TASK = "job", "task_id"
Counts = Counter[tuple[str, ...]]  # a counter's name and the values of its labels -> its value


@dataclass
class Exports:
    """What was exported, and what is wrong with it."""

    tasks: dict[str, int] = field(default_factory=dict)  # by component
    exact: int = 0  # counters that were compared with what they count, one by one
    rows_told: dict[str, int] = field(default_factory=dict)  # by table, of all instances
    refused: int = 0
    losses: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Task:
    """One process, as Cloud Monitoring knows it."""

    began: float
    counts: Counts


def judge(deployment: Deployment, stored: Mapping[str, int]) -> Exports:
    """Compare; Cloud Monitoring has ended, and all who export."""
    fake = MonitoringFake.load(deployment.servers.measured)
    exports = Exports(refused=len(fake.refusals))
    exports.losses += [f"Cloud Monitoring refused {each}" for each in fake.refusals[:5]]
    tasks = _tasks(fake.held())
    for name in MORTALS:
        exports.tasks[name] = len(tasks[name])
        exports.losses += _unlike(deployment, name, tasks[name], exports)
    exports.losses += [f"{name} is no component and exports" for name in tasks.keys() - {*MORTALS}]
    exports.losses += list(_rows(deployment, tasks, stored, exports))
    return exports


def _tasks(held: Sequence[Series]) -> dict[str, list[_Task]]:
    """Put the counters of each process together, by job."""
    began: dict[tuple[str, str], float] = {}
    counts: dict[tuple[str, str], Counts] = defaultdict(Counter)
    for series in held:
        if series.kind != "CUMULATIVE" or series.value_type == "DISTRIBUTION":
            continue
        place = series.resource_labels[_JOB], series.resource_labels[_TASK]
        began[place] = series.newest.start_ns / NS_PER_SECOND
        labels = [value for name, value in sorted(series.labels.items()) if name != "environment"]
        value = series.newest.value
        assert isinstance(value, int | float)
        counts[place][series.metric_type.removeprefix(QUOTEWATCH), *labels] += round(value)
    found: dict[str, list[_Task]] = defaultdict(list)
    for (job, task), values in counts.items():
        found[job].append(_Task(began[job, task], values))
    return found


def _unlike(
    deployment: Deployment, name: str, tasks: Sequence[_Task], exports: Exports
) -> Iterator[str]:
    """Compare each instance of a component with its task."""
    instances = deployment.components[name].instances
    if len(tasks) > len(instances):
        yield f"{name}: {len(tasks)} tasks export and {len(instances)} instances there were"
    for instance in instances:
        mine = [task for task in tasks if instance.began <= task.began <= _end(instance)]
        wanted = _WANTED[name](deployment, instance)
        if instance.killed or not wanted:
            continue
        if len(mine) != 1:
            yield f"{name}, instance {instance.number}: {len(mine)} tasks export, not one"
            continue
        for key, value in wanted.items():
            exports.exact += 1
            if mine[0].counts[key] != value:
                yield (
                    f"{name}, instance {instance.number}: {' '.join(key)} was exported as"
                    f" {mine[0].counts[key]}, and is {value}"
                )


def _end(instance: Instance) -> float:
    return float("inf") if instance.ended is None else instance.ended


def _of_calls(name: str) -> Callable[[Deployment, Instance], Counts]:
    """Return what counts the runs of a function by the answers it gave."""

    def wanted(deployment: Deployment, instance: Instance) -> Counts:
        counts: Counts = Counter()
        for call in _answered(deployment, name, instance):
            counts["stage_runs_total", "ok" if call.ok else "failed", name] += 1
        return counts

    return wanted


def _of_write(deployment: Deployment, instance: Instance) -> Counts:
    """Add the rows its answers tell of."""
    counts = _of_calls("write")(deployment, instance)
    for call in _answered(deployment, "write", instance):
        for stream, each in (call.report or {}).get("streams", {}).items():
            counts["processor_row_writes_total", "inserted", stream] += each["inserted"]
            counts["processor_row_writes_total", "duplicate", stream] += each["duplicate"]
            counts["processor_acks_total",] += each["acked"]
    return +counts


def _answered(deployment: Deployment, name: str, instance: Instance) -> list[Call]:
    return [
        call
        for call in deployment.calls.of(name)
        if call.instance == instance.number and not call.broken and call.looked
    ]


def _of_gateway(deployment: Deployment, instance: Instance) -> Counts:
    """Count the frames that are in the tables under its epoch."""
    epoch = gateway.epoch_of(instance)
    if epoch is None or gateway.logged(instance.program.log, "leftover_published"):
        return Counter()  # it also published what others had left
    counts: Counts = Counter()
    for stream in CAPTURED:
        done = done_frames(deployment.tables, stream, stream).get(epoch)
        counts["gateway_frames_published_total", stream] = 0 if done is None else done.count
    return +counts


def _rows(
    deployment: Deployment,
    tasks: Mapping[str, Sequence[_Task]],
    stored: Mapping[str, int],
    exports: Exports,
) -> Iterator[str]:
    """Compare the rows that were told of, whoever wrote them, with those that are stored."""
    killed = {name for name in FUNCTIONS if _was_killed(deployment, name)}
    for table in TABLES:
        key = ("iceberg_rows_written_total", table)
        told = sum(task.counts[key] for each in tasks.values() for task in each)
        exports.rows_told[table] = told
        there = stored.get(table, 0)
        if told > there or (told < there and not killed & _writers(table)):
            yield f"{table}: {there} rows are stored, {told} were exported as written"


def _writers(table: str) -> set[str]:
    by_table = {"labels": {"label"}, "gaps": {"reconcile"}, "raw_trades": {"write", "reconcile"}}
    return by_table.get(table, {"write"} if table in STREAMS else set())


def _was_killed(deployment: Deployment, name: str) -> bool:
    return any(each.killed for each in deployment.components[name].instances)


_WANTED: Mapping[str, Callable[[Deployment, Instance], Counts]] = {
    **{name: _of_calls(name) for name in FUNCTIONS},
    "write": _of_write,
    GATEWAY: _of_gateway,
}
