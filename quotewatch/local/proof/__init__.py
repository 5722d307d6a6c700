"""Proof: what is on the bus against what the truth file says was sent."""
