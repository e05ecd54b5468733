"""Ctrl-C or SIGTERM during training: finish the compiled call, save, and say how to go on."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # SIGTERM is what a machine that is taken away sends


class Terminated(KeyboardInterrupt):
    """SIGTERM came, and what there was is saved."""


# By how much they weigh where several processes are told different things.
REASONS: tuple[type[KeyboardInterrupt] | None, ...] = (None, KeyboardInterrupt, Terminated)


@contextmanager
def watch_signals() -> Iterator[Callable[[], type[KeyboardInterrupt] | None]]:
    """Within it, the first Ctrl-C or SIGTERM is only noted, and the second acts as usual.

    Yields:
        A function that gives what to raise, `KeyboardInterrupt` or `Terminated`, once one came.
    """
    noted: type[KeyboardInterrupt] | None = None

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal noted
        noted = Terminated if signum == signal.SIGTERM else KeyboardInterrupt
        restore()

    def restore() -> None:
        for signum, handler in previous.items():
            signal.signal(signum, handler)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    previous = {signum: signal.getsignal(signum) for signum in SIGNALS}
    for signum in SIGNALS:
        signal.signal(signum, note)
    try:
        yield lambda: noted
    finally:
        restore()
