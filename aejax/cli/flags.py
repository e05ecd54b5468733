"""Flags from a frozen dataclass, and errors as one line."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

from aejax.cli import kinds
from aejax.errors import DivergedError, UsageError
from aejax.processes.interrupt import Terminated

T = TypeVar("T")


def parse(
    cls: type[T], prog: str, argv: Sequence[str], default: T | None = None, note: str = ""
) -> T:
    """The flags as an instance of `cls`; its field docstrings are the help.

    `note` ends the help's first lines. A field of `cls.kinds` is chosen by its name, and its
    value's own flags stand beside the others.

    Raises:
        UsageError: for a wrong flag or value; tyro's box becomes one line.
        SystemExit: with status 0 after `--help`.
    """
    import tyro

    shown, argv = kinds.chosen(cls, list(argv))
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            parsed = tyro.cli(
                shown,
                prog=prog,
                description=f"{kinds.description(cls, shown)} {note}",
                args=argv,
                default=shown() if default is None else default,
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
            )
    except SystemExit as error:
        if error.code == 0:
            raise
        message = kinds.belongs_to(cls, shown, argv) or _one_line(errors.getvalue())
        raise UsageError(f"{message}; see {prog.split()[0]} --help") from None
    return parsed if shown is cls else cls(**vars(parsed))


@contextlib.contextmanager
def one_line_errors(prog: str) -> Iterator[None]:
    """Within it, bad input ends the script with one line on standard error and exit status 2.

    Ctrl-C ends it with status 130, SIGTERM with 143 once all is saved. With AEJAX_TRACEBACK set,
    errors are raised as they are.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        print(f"\n{error}" if str(error) else "\ninterrupted", file=sys.stderr)
        sys.exit(143 if isinstance(error, Terminated) else 130)
    except (UsageError, DivergedError, ModuleNotFoundError, OSError) as error:
        if os.environ.get("AEJAX_TRACEBACK"):
            raise
        print(f"{prog}: error: {' '.join(_message(error).split())}", file=sys.stderr)
        sys.exit(2)


def _message(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed: pip install 'aejax[examples]'"
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror or error}"
    return str(error)


def _one_line(box: str) -> str:
    """The first paragraph of tyro's message, and the flags that it thinks were meant."""
    lines = [re.sub(r"^[│|]\s?|\s*[│|]$", "", line) for line in box.splitlines()[1:]]
    text = [line.strip() for line in lines if not re.fullmatch(r"[─╰╯+\-\s]*", line)]
    ends = [i for i, line in enumerate(text) if re.match(r"Perhaps|Argument|For full", line)]
    message = " ".join(text[: ends[0] if ends else 1]).rstrip(".")
    message = re.sub(r"^Error parsing \w+: (?=--)", "", message)  # a range's own text says it all
    meant = [x.split()[0] for x in text if x.startswith("--") and not x.startswith("--help")]
    return f"{message}; did you mean {', '.join(meant[:3])}?" if "Perhaps" in box else message
