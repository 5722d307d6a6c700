"""Stands in for every function until the first deploy: refuses, so that nothing counts as done."""


def refuse(_: object) -> tuple[str, int]:
    """Answer 503: Scheduler tries again, Pub/Sub keeps its message."""
    return "not deployed yet: make deploy\n", 503


label = maintain = predict = reconcile = train = write = refuse
