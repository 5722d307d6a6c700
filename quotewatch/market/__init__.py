"""What the messages mean: book, continuity, features. Pure."""
