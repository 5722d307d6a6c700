"""Doors: one short file per deployed function. A door names its trigger and calls its stage."""
