"""The command line of an experiment: `script.py [train|evaluate|encode|reconstruct|sample]`."""

import contextlib
import dataclasses
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aejax.errors import DivergedError, UsageError
from aejax.runs import directory as files
from aejax.runs.config import Config
from aejax.runs.run import Run, load_run, run

COMMANDS = ("train", "evaluate", "encode", "reconstruct", "sample")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OnImages:
    """Which run, and which images to use it on."""

    workdir: str
    """Run directory."""
    split: str = "test"
    """Split of the data set that the run was trained on."""
    data_dir: str | None = None
    """TFDS data directory. Default: $TFDS_DATA_DIR, or ~/tensorflow_datasets."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Sample:
    """Which run, and what to draw from it."""

    workdir: str
    """Run directory."""
    count: int = 100
    """How many images."""
    seed: int = 0
    """Seed of the draws."""


def main(config_class: type[Config], argv: Sequence[str] | None = None) -> None:
    """Runs an experiment's script; bad input is one line on standard error and exit status 2."""
    argv = list(sys.argv[1:] if argv is None else argv)
    command = argv.pop(0) if argv and argv[0] in COMMANDS else "train"
    try:
        _dispatch(config_class, command, argv)
    except (UsageError, DivergedError) as error:
        _fail(config_class, str(error))
    except ModuleNotFoundError as error:
        _fail(config_class, f"{error.name} is not installed: pip install 'aejax[examples]'")
    except OSError as error:
        _fail(config_class, f"{error.filename or 'a file'}: {error.strerror or error}")
    except KeyboardInterrupt as error:
        print(f"\n{error}" if str(error) else "\ninterrupted", file=sys.stderr)
        sys.exit(130)


def _dispatch(config_class: type[Config], command: str, argv: list[str]) -> None:
    if command == "train":
        run(_parse(config_class, config_class, command, argv))
        return
    arguments_class = _Sample if command == "sample" else _OnImages
    arguments = _parse(arguments_class, config_class, command, argv)
    opened = load_run(arguments.workdir, config_class)
    commands: dict[str, Callable[[Run, Any], None]] = {
        "evaluate": _evaluate,
        "encode": _encode,
        "reconstruct": _reconstruct,
        "sample": _sample,
    }
    commands[command](opened, arguments)


def _evaluate(opened: Run, arguments: _OnImages) -> None:
    data = _images(opened, arguments)
    metrics = opened.evaluate(data)
    files.write_json(opened.workdir / "evaluation.json", {"split": arguments.split} | metrics)
    print(f"{arguments.split}, {len(data):,} images: {opened.recipe.headline(metrics)}")


def _encode(opened: Run, arguments: _OnImages) -> None:
    data = _images(opened, arguments)
    path = opened.workdir / f"codes_{_as_file_name(arguments.split)}.npz"
    codes = opened.encode(data.images)
    np.savez_compressed(path, codes=codes, labels=data.labels)
    print(f"{path}: codes {list(codes.shape)}, labels [{len(data)}]")


def _reconstruct(opened: Run, arguments: _OnImages) -> None:
    from aejax import figures

    data = _images(opened, arguments)
    images = figures.first_of_each_class(data, 20)
    figure = figures.reconstructions(images, opened.reconstruct(images))
    _save(opened, f"reconstructions_{_as_file_name(arguments.split)}", figure)


def _sample(opened: Run, arguments: _Sample) -> None:
    from aejax import figures

    if arguments.count < 1:
        raise UsageError(f"--count {arguments.count} is not positive")
    images = opened.sample(jax.random.key(arguments.seed), arguments.count)
    _save(opened, "samples", figures.image_grid(images))


def _images(opened: Run, arguments: _OnImages) -> Any:
    from aejax.data.tfds import load_dataset

    return load_dataset(opened.config.dataset, arguments.split, arguments.data_dir)


def _save(opened: Run, name: str, figure: Any) -> None:
    path = opened.workdir / files.FIGURES / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)
    print(path)


def _as_file_name(split: str) -> str:
    return re.sub(r"[^\w.-]+", "_", split)


def _parse(cls: type[Any], config_class: type[Config], command: str, argv: list[str]) -> Any:
    """The flags as an instance of `cls`; tyro's box of an error becomes one line."""
    import tyro

    script = f"{config_class.name}.py"
    if command == "train":
        prog = f"{script} [{'|'.join(COMMANDS)}]"
        argv_default: Any = cls()
    else:
        prog, argv_default = f"{script} {command}", _with_workdir(cls, config_class)
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(
                cls, prog=prog, args=argv, default=argv_default, config=(tyro.conf.FlagCreatePairsOff,)
            )
    except SystemExit as error:
        if error.code == 0:
            raise
        raise UsageError(_one_line(errors.getvalue(), script)) from None


def _with_workdir(cls: type[Any], config_class: type[Config]) -> Any:
    return cls(workdir=str(Path("runs") / config_class.name))


def _one_line(box: str, script: str) -> str:
    """The first paragraph of tyro's message, and the flags that it thinks were meant."""
    lines = [re.sub(r"^[│╭╰─ ]+|[│╮╯─ ]+$", "", line) for line in box.splitlines()]
    text = [line for line in lines[1:] if line]
    end = next((i for i, line in enumerate(text) if re.match(r"(Perhaps|Argument|For full)", line)), 1)
    meant = [line.split()[0] for line in text if line.startswith("--")]
    hint = f"did you mean {', '.join(meant[:3])}? " if "Perhaps" in box and meant else ""
    return f"{' '.join(text[:end]).rstrip('.')}; {hint}see {script} --help"


def _fail(config_class: type[Config], message: str) -> None:
    if os.environ.get("AEJAX_TRACEBACK"):
        raise
    print(f"{config_class.name}.py: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
