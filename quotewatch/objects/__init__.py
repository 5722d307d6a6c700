"""Small objects, created once or moved by compare-and-set: local files and GCS, one port."""
