"""Where data comes from: one file a kind, each gives a `Source`."""
