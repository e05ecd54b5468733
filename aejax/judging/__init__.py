"""Judges of images: a classifier that is trained for it, and what passes for one of the data."""
