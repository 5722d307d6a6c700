"""The always-on gateway: Coinbase's socket in, frames on the bus out."""
