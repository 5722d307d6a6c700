"""Known runs of every process: what each of its metrics must say, to the last sample."""
