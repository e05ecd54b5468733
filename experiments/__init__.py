"""One file a recipe; each is a script, and importable as aejax.experiments.NAME."""
