"""Real servers, or the nearest thing that runs on one machine, for the tests of the tables."""
