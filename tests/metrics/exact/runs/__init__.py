"""The runs, one module a process or a chain of them; each names its owners and has `known_run`."""
