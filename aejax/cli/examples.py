"""The commands that make examples of a trained run: reconstruct, sample, interpolate."""

import dataclasses

import numpy as np

from aejax.data.dataset import Dataset
from aejax.errors import UsageError
from aejax.evaluation import latent_space
from aejax.runs import directory as files
from aejax.runs.run import Run
from aejax.runs.splits import load_split
from aejax.settings import setting
from aejax.streams import seed_stream


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnImages:
    """Use a trained run on the images of its data set."""

    workdir: str
    """Run directory."""
    split: str = "test"
    """Split of the data set that the run was trained on: test, train, validation, ..."""
    data_dir: str | None = None
    """TFDS data directory. Default: $TFDS_DATA_DIR, or ~/tensorflow_datasets."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """Draw images from a trained run's prior."""

    workdir: str
    """Run directory."""
    count: int = setting(100, at_least=1)
    """How many images."""
    seed: int = setting(0, at_least=0, below=2**32)
    """Seed of the draws."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interpolate(OnImages):
    """Decode codes along the great arc between those of two images."""

    first: int = setting(0, at_least=0)
    """Which image of the split it begins with."""
    last: int = setting(1, at_least=0)
    """Which it ends with."""
    count: int = setting(8, at_least=2)
    """How many codes, the two included."""


def reconstruct(opened: Run, arguments: OnImages) -> None:
    """Leaves images of a split and their reconstructions."""
    from aejax import figures

    examples = figures.first_of_each_class(opened.config.observe(images_of(opened, arguments)), 20)
    name = files.measured_at("reconstructions", arguments.split, step_of(opened))
    exhibit(opened, name, {"example": examples, "reconstruction": opened.reconstruct(examples)})


def sample(opened: Run, arguments: Sample) -> None:
    """Leaves what is decoded from draws of the prior."""
    images = opened.sample(seed_stream(arguments.seed, "samples"), arguments.count)
    name = f"samples_{step_of(opened)}_count{arguments.count}_seed{arguments.seed}"
    exhibit(opened, name, {"sample": images})


def interpolate(opened: Run, arguments: Interpolate) -> None:
    """Leaves what is decoded along an arc of codes."""
    data = opened.config.observe(images_of(opened, arguments))
    ends = arguments.first, arguments.last
    if max(ends) >= len(data):
        raise UsageError(f"--first {ends[0]} or --last {ends[1]} is not below {len(data):,} images")
    codes = opened.encode({key: a for key, a in data.rows(list(ends)).items() if key != "label"})
    if not np.issubdtype(codes.dtype, np.floating):
        raise UsageError(f"{opened.config.name} has codes between which there are none")
    along = np.asarray(latent_space.path(latent_space.slerp, codes[0], codes[1], arguments.count))
    name = files.measured_at("interpolation", arguments.split, step_of(opened))
    name = f"{name}_{ends[0]}_to_{ends[1]}_count{arguments.count}"
    exhibit(opened, name, {"interpolation": opened.decode(along)})


def exhibit(opened: Run, name: str, rows: dict[str, np.ndarray]) -> None:
    """Leaves examples in the run's figures as its experiment shows them, and says where."""
    path = opened.workdir / files.FIGURES / name
    path.parent.mkdir(exist_ok=True)
    for left in opened.config.exhibit(path, rows):
        print(left)


def images_of(opened: Run, arguments: OnImages) -> Dataset:
    """The split that a command is given."""
    return load_split(opened.config, arguments.split, arguments.data_dir)


def step_of(opened: Run) -> int:
    """The step at which a run was left."""
    return int(opened.state.step)
