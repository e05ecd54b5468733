"""Keeping libraries' own logs off the terminal where we say the same in one line."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_absl(threshold: int = logging.CRITICAL) -> Iterator[None]:
    """Within it, absl (TFDS, Orbax) logs nothing below `threshold`."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(threshold)
    try:
        yield
    finally:
        logger.setLevel(level)
