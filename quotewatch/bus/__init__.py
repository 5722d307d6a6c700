"""Frames between processes: one port, Pub/Sub and SQLite behind it."""
