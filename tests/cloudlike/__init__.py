"""Like the cloud, on one machine: every component a process of its own, and any of them killed."""
