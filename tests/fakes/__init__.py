"""Strict stand-ins for cloud APIs without a local form: they refuse what the real ones do."""
