"""How the processes of a run learn at once that one of them is gone.

JAX notices a lost process by missing heartbeats, after a minute or two, and then aborts without a
word about the run; meanwhile the others wait for its part of a sum. Here every process holds a
connection to the first, which the system closes when either of them ends, however it ends. The
first tells the others, and outlives them: JAX's coordination service is in it, and where that ends,
JAX aborts the others. If it is the first that is lost, its service goes with it: then JAX may be
quicker in the others and abort them with a text of its own (status 134, SIGABRT).
"""

import atexit
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import jax

from aejax.errors import DivergedError, UsageError
from aejax.processes.processes import broadcast, is_first, several

LOST = 3  # exit status
_PATIENCE_S = 10  # what ends in all processes (Ctrl-C, a loss that is NaN) ends within that
_TO_BE_TOLD_S = 2  # within this a watcher knows of a lost process
_DONE, _LEFT, _LOST = b"D", b"L", b"X"


@contextlib.contextmanager
def lifeline(host: str | None, last_words: Callable[[], str]) -> Iterator[None]:
    """Within it, this process ends with status 3 as soon as another one is gone.

    Args:
        host: under which the others reach the first process; None for its own name.
        last_words: what is then said on standard error, after what happened.
    """
    if not several():
        yield
        return
    leaving = threading.Event()
    try:
        ends = _connections(host)
    except OSError as error:
        atexit.register(_end_at_once)
        raise UsageError(
            f"process {jax.process_index()} and the first do not reach each other ({error}): name "
            "the first's host in --coordinator as the others see it"
        ) from error
    lost = partial(_end_all, ends, threading.Lock(), last_words)
    arguments = [(end, leaving, lost) for end in ends]
    watchers = [threading.Thread(target=_watch, args=args, daemon=True) for args in arguments]
    for watcher in watchers:
        watcher.start()
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, UsageError | DivergedError):
            # Sums over all processes fail where one is gone: then a watcher ends this one.
            time.sleep(_TO_BE_TOLD_S)
        leaving.set()
        _say(ends, _LEFT)
        until = time.monotonic() + _PATIENCE_S
        for watcher in watchers:
            watcher.join(max(0, until - time.monotonic()))
        if any(watcher.is_alive() for watcher in watchers):
            # The others are not leaving: JAX would wait for them as the interpreter ends.
            atexit.register(_end_at_once)
        raise
    _say(ends, _DONE)
    for watcher in watchers:
        watcher.join()


def _connections(host: str | None) -> list[socket.socket]:
    """The first process's connections to all others; of another process, that to the first."""
    if not is_first():
        name, port = broadcast("").split()
        return [socket.create_connection((name, int(port)), timeout=60)]
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    with socket.create_server(("", 0), family=family, dualstack_ipv6=both) as server:
        broadcast(f"{host or socket.gethostname()} {server.getsockname()[1]}")
        server.settimeout(60)
        return [server.accept()[0] for _ in range(jax.process_count() - 1)]


def _end_at_once() -> None:
    """What the interpreter does last, in place of JAX's waiting for all processes."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(2)


def _say(ends: list[socket.socket], word: bytes) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.sendall(word)


def _watch(end: socket.socket, leaving: threading.Event, lost: Callable[[], None]) -> None:
    end.settimeout(None)
    word = _next_word(end)
    if word == _DONE or (word == _LEFT and leaving.wait(_PATIENCE_S)):
        return
    if leaving.is_set():  # it did not end as this one does: nothing to wait for
        threading.Event().wait()
    lost()


def _next_word(end: socket.socket) -> bytes:
    """What the process at the other end says next; nothing once it is gone."""
    try:
        return end.recv(1)
    except OSError:
        return b""


def _end_all(
    ends: list[socket.socket], once: threading.Lock, last_words: Callable[[], str]
) -> None:
    """Ends this process, which knows of a lost one; if it is the first, after all others."""
    once.acquire()  # for good: what other watchers find now are the ends of those told
    _say(ends, _LOST)
    print(f"\nanother process of this run is gone: {last_words()}", file=sys.stderr, flush=True)
    if is_first():
        until = time.monotonic() + _PATIENCE_S
        for end in ends:
            end.settimeout(max(0.01, until - time.monotonic()))
            while _next_word(end):
                pass
    os._exit(LOST)  # the main thread may wait for the lost process within XLA
