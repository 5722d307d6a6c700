"""Iceberg tables: what is durable, with the ledger of the frames it came from."""
