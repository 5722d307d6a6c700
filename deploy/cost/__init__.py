"""What a month in the cloud costs: `python -m deploy.cost`."""
