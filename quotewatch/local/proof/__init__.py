"""Proof: what a run left behind against what the truth file says was sent."""
