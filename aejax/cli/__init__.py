"""The command line: flags from dataclasses, an experiment's commands, errors as one line."""
