"""What the ledger of `labels` calls things: the features of one horizon, and its marks. Pure."""


def source(horizon_ms: int) -> str:
    """Name the features frames that one horizon has labelled."""
    return f"features@{horizon_ms}"


def batch_mark(horizon_ms: int) -> str:
    """Name the mark that counts the batches of one horizon."""
    return f"batch@{horizon_ms}"


def line_mark(horizon_ms: int) -> str:
    """Name the mark that counts how often its labels were made anew."""
    return f"line@{horizon_ms}"


def first_batch_mark(horizon_ms: int) -> str:
    """Name the mark of the last batch before they were made anew."""
    return f"first@{horizon_ms}"


def memory_mark(horizon_ms: int) -> str:
    """Name the mark that tells which epochs were looked for that the ledger had let go of."""
    return f"history@{horizon_ms}"
