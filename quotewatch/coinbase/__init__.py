"""The two wire dialects of Coinbase as typed messages. Pure."""
