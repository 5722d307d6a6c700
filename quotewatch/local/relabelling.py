"""Make one horizon's labels anew from stored features; the model learns them from the beginning."""

import json
from contextlib import closing
from pathlib import Path
from typing import TextIO

from rich.console import Console

from quotewatch.labelling import Labelling
from quotewatch.local.existing import settings_of_run
from quotewatch.logs import configure_logs
from quotewatch.resources import Resources
from quotewatch.tables.histories import Histories
from quotewatch.tables.label_reset import forget_labels


def relabel(horizon_ms: int, data: Path | None, out: TextIO, progress: TextIO) -> int:
    """Let go of the labels there are, make them again, and say how many there are now."""
    configure_logs()
    console = Console(file=progress)
    with closing(Resources(settings_of_run(data))) as resources:
        # Looked at first: what cannot be made anew is not removed.
        Histories(resources.tables).check()
        gone = forget_labels(resources.committer, horizon_ms)
        labelled = frames = 0
        with console.status(f"labelling at {horizon_ms} ms") as status:
            histories = Histories(resources.tables)
            labelling = Labelling(resources.committer, resources.clock, histories, horizon_ms)
            for portion in labelling.portions():
                stored = labelling.store(portion)
                labelled += stored.rows
                frames += stored.frames
                status.update(f"labelling at {horizon_ms} ms: {labelled:,} of about {gone:,} rows")
    said = {"horizon_ms": horizon_ms, "removed": gone, "labelled": labelled, "frames": frames}
    out.write(json.dumps(said) + "\n")
    out.flush()
    return 0
