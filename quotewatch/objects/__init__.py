"""Small objects, created once or moved by compare-and-set: one port, local files and GCS behind it."""
