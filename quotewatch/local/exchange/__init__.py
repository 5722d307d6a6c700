"""An exchange that speaks both dialects, seeded and deterministic, with every fault we know."""
