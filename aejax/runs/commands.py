"""The command line of an experiment: `script.py [train|evaluate|encode|reconstruct|sample]`."""

import dataclasses
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from aejax.data.dataset import ImageDataset
from aejax.data.tfds import load_dataset
from aejax.errors import UsageError
from aejax.runs import directory as files
from aejax.runs.config import Config
from aejax.runs.flags import one_line_errors, parse
from aejax.runs.run import Run, load_run, run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OnImages:
    """Use a trained run on the images of its data set."""

    workdir: str
    """Run directory."""
    split: str = "test"
    """Split of the data set that the run was trained on."""
    data_dir: str | None = None
    """TFDS data directory. Default: $TFDS_DATA_DIR, or ~/tensorflow_datasets."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Sample:
    """Draw images from a trained run's prior."""

    workdir: str
    """Run directory."""
    count: int = 100
    """How many images."""
    seed: int = 0
    """Seed of the draws."""


def main(config_class: type[Config], argv: Sequence[str] | None = None) -> None:
    """Runs an experiment's script; bad input is one line on standard error and exit status 2."""
    argv = list(sys.argv[1:] if argv is None else argv)
    script = f"{config_class.name}.py"
    commands: dict[str, tuple[type[Any], Callable[[Run, Any], None]]] = {
        "evaluate": (_OnImages, _evaluate),
        "encode": (_OnImages, _encode),
        "reconstruct": (_OnImages, _reconstruct),
        "sample": (_Sample, _sample),
    }
    with one_line_errors(script):
        if argv and argv[0] in commands:
            arguments_class, use = commands[argv[0]]
            default = arguments_class(workdir=str(Path("runs") / config_class.name))
            arguments = parse(arguments_class, f"{script} {argv[0]}", argv[1:], default)
            use(load_run(arguments.workdir, config_class), arguments)
        else:
            prog = f"{script} [train|{'|'.join(commands)}]"
            run(parse(config_class, prog, argv[1:] if argv[:1] == ["train"] else argv))


def _evaluate(opened: Run, arguments: _OnImages) -> None:
    data = _images(opened, arguments)
    metrics = opened.evaluate(data)
    files.write_json(opened.workdir / files.EVALUATION, {"split": arguments.split} | metrics)
    print(f"{arguments.split}, {len(data):,} images: {opened.recipe.headline(metrics)}")


def _encode(opened: Run, arguments: _OnImages) -> None:
    data = _images(opened, arguments)
    codes = opened.encode(data.images)
    path = opened.workdir / f"codes_{_as_file_name(arguments.split)}.npz"
    np.savez_compressed(path, codes=codes, labels=data.labels)
    print(f"{path}: codes {list(codes.shape)}, labels [{len(data)}]")


def _reconstruct(opened: Run, arguments: _OnImages) -> None:
    from aejax import figures

    images = figures.first_of_each_class(_images(opened, arguments), 20)
    figure = figures.reconstructions(images, opened.reconstruct(images))
    _save(opened, f"reconstructions_{_as_file_name(arguments.split)}", figure)


def _sample(opened: Run, arguments: _Sample) -> None:
    from aejax import figures

    if arguments.count < 1:
        raise UsageError(f"--count {arguments.count} is not positive")
    images = opened.sample(jax.random.key(arguments.seed), arguments.count)
    _save(opened, "samples", figures.image_grid(images))


def _images(opened: Run, arguments: _OnImages) -> ImageDataset:
    return load_dataset(
        opened.config.dataset, arguments.split, arguments.data_dir or opened.config.data_dir
    )


def _save(opened: Run, name: str, figure: "Figure") -> None:
    path = opened.workdir / files.FIGURES / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)
    print(path)


def _as_file_name(split: str) -> str:
    return re.sub(r"[^\w.-]+", "_", split)
