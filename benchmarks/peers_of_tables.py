"""Other writers of Iceberg on the same Arrow rows: daft and dlt, in processes of their own.

`python -m benchmarks.peers_of_tables PEER FILE ROUNDS`; the file holds the rows as Arrow IPC. Best
wall and CPU seconds of a commit to a table that grows, no dedupe and no progress kept beside it.
daft wants an older pyarrow and pyiceberg than ours: it has a folder of its own.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks import _timing

_DAFT_FOLDER = _timing.ROOT / ".venv" / "daft-0.7"
FOLDERS: dict[str, Path | None] = {"daft": _DAFT_FOLDER, "dlt": None}


def measure(peer: str, rows: Path, rounds: int) -> dict[str, float] | str:
    """Measure one of them; why it could not be, where it could not."""
    folder = FOLDERS[peer]
    if folder is not None and not folder.is_dir():
        return f"{peer} is not installed: .venv/{folder.name} is missing"
    try:
        found: dict[str, float] = _timing.measure(
            "benchmarks.peers_of_tables", peer, str(rows), str(rounds), path=folder
        )
    except _timing.MeasureError as error:
        return f"{peer} did not run: {error}"
    return found


def _daft(rows: pa.Table, folder: Path) -> Callable[[], object]:
    """Return a commit by daft: an append to an unpartitioned table of a SQLite catalog."""
    daft: Any = import_module("daft")
    catalogs: Any = import_module("pyiceberg.catalog")
    catalog = catalogs.load_catalog(
        "daft", type="sql", uri=f"sqlite:///{folder / 'catalog.db'}", warehouse=f"file://{folder}"
    )
    catalog.create_namespace("bench")
    table = catalog.create_table("bench.rows", rows.schema)
    return lambda: daft.from_arrow(rows).write_iceberg(table, mode="append")


def _dlt(rows: pa.Table, folder: Path) -> Callable[[], object]:
    """Return a load by dlt: its filesystem destination with Iceberg as the table's format."""
    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
    os.environ["DLT_DATA_DIR"] = str(folder / "state")
    dlt: Any = import_module("dlt")
    pipeline = dlt.pipeline(
        pipeline_name="bench",
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.filesystem(bucket_url=f"file://{folder / 'lake'}"),
        dataset_name="bench",
    )
    return lambda: pipeline.run(
        rows, table_name="rows", table_format="iceberg", write_disposition="append"
    ).raise_on_failed_jobs()


_PEERS = {"daft": _daft, "dlt": _dlt}


def _measure(peer: str, file: str, rounds: str) -> None:
    with pa.memory_map(file) as source, pa.ipc.open_file(source) as reader:
        rows = reader.read_all()
    best_wall = best_cpu = float("inf")
    with tempfile.TemporaryDirectory() as folder:
        commit = _PEERS[peer](rows, Path(folder))
        for _ in range(int(rounds) + 1):  # the first one makes the table
            wall, cpu = time.perf_counter(), time.process_time()
            commit()
            best_wall = min(best_wall, time.perf_counter() - wall)
            best_cpu = min(best_cpu, time.process_time() - cpu)
    print(json.dumps({"wall": best_wall, "cpu": best_cpu}))


if __name__ == "__main__":
    _measure(*sys.argv[1:4])
