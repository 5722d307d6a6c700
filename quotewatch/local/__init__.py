"""The whole system on one machine: simulated exchange, replay, stack, console."""
