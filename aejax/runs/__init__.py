"""The glue of an experiment: flags, run directory, logging, resume."""
