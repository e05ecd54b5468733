"""Populations: many members trained as one, each of which is a run of its own."""
