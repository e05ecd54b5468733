"""Wrong data: two denoising autoencoders, each on its own data set's test images and the other's.

An autoencoder knows the images that it was trained on and no others; the table shows how far.

Command:   python experiments/wrong_data.py --first runs/denoising --second runs/denoising_fashion
Expected:  each data set's own model is ahead of the other's in PSNR and SSIM
Cost:      seconds, after two runs of denoising.py, one with --dataset fashion_mnist
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from aejax import figures
from aejax.data.dataset import ImageDataset
from aejax.data.tfds import load_dataset
from aejax.errors import UsageError
from aejax.evaluation.reconstruction import quality
from aejax.experiments import denoising
from aejax.runs import directory as files
from aejax.runs.flags import one_line_errors, parse
from aejax.runs.run import Run, load_run

Table = dict[str, dict[str, dict[str, float]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments:
    """Denoise the test images of two runs' data sets with both runs' models."""

    first: str = "runs/denoising"
    """Run directory of a denoising run."""
    second: str = "runs/denoising_fashion"
    """Run directory of another, trained on another data set with the same --noise."""
    data_dir: str | None = None
    """TFDS data directory. Default: that of each run, $TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    workdir: str = "runs/wrong_data"
    """Directory for the table and the picture."""


def opened(flag: str, workdir: str) -> Run:
    """The denoising run in `workdir`.

    Raises:
        UsageError: naming the flag, if there is none, or it is another experiment's.
    """
    if not (Path(workdir) / files.CONFIG).exists():
        raise UsageError(f"{flag} {workdir} holds no run: give the --workdir of a denoising.py run")
    try:
        return load_run(workdir, denoising.Config)
    except UsageError as error:
        raise UsageError(f"{flag}: {error}") from error


def check_pair(first: Run, second: Run) -> None:
    """Raises a `UsageError` unless the runs differ in the data set and in nothing that compares."""
    one, two = first.config, second.config
    assert isinstance(one, denoising.Config)
    assert isinstance(two, denoising.Config)
    if one.dataset == two.dataset:
        raise UsageError(
            f"--first {first.workdir} and --second {second.workdir} are both of {one.dataset}: "
            "give a --second of another data set"
        )
    if one.noise != two.noise:
        raise UsageError(
            f"--first has --noise {one.noise} and --second {two.noise}: give runs of one noise"
        )
    if first.image_shape != second.image_shape:
        raise UsageError(
            f"--first has images of {first.image_shape} and --second of {second.image_shape}: "
            "give data sets of one size"
        )


def denoised(runs: list[Run], clean: np.ndarray) -> dict[str, np.ndarray]:
    """Clean images `[N, H, W, C]` with noise, the same for all runs, and denoised by each."""
    config = runs[0].config
    assert isinstance(config, denoising.Config)
    noisy = denoising.damaged(config, clean)
    return {"noisy": noisy} | {run.config.dataset: run.reconstruct(noisy) for run in runs}


def compare(runs: list[Run], tests: list[ImageDataset]) -> Table:
    """PSNR (dB) and SSIM: by the images' data set, then by the model's, with the noisy images'."""
    table: Table = {}
    for run, test in zip(runs, tests, strict=True):
        clean = np.asarray(test.images, np.float32) / 255
        table[run.config.dataset] = {
            name: {k: v for k, v in quality(images, clean).items() if k in ("psnr", "ssim")}
            for name, images in denoised(runs, clean).items()
        }
    return table


def lines(table: Table) -> list[str]:
    """The table as text: a row a set of test images, a column a model."""
    titles = ["noisy" if name == "noisy" else f"by {name}" for name in next(iter(table.values()))]
    text = ["PSNR (dB), SSIM".ljust(24) + "".join(f"{title:>20}" for title in titles)]
    for data, columns in table.items():
        cells = [f"{cell['psnr']:.2f}, {cell['ssim']:.3f}" for cell in columns.values()]
        text.append(f"test images {data}".ljust(24) + "".join(f"{cell:>20}" for cell in cells))
    return text


def picture(runs: list[Run], tests: list[ImageDataset]) -> Figure:
    """For each data set the noisy images, what both models make of them, and the clean ones."""
    rows: dict[str, np.ndarray] = {}
    for run, test in zip(runs, tests, strict=True):
        clean = figures.first_of_each_class(test, 10)
        for name, images in (denoised(runs, clean) | {"clean": clean}).items():
            does = name if name in ("noisy", "clean") else f"by {name}'s model"
            rows[f"{run.config.dataset}\n{does}"] = images
    return figures.named_rows(rows)


def main() -> None:
    """Parses the flags and leaves the table and the picture."""
    with one_line_errors("wrong_data.py"):
        arguments = parse(Arguments, "wrong_data.py", sys.argv[1:])
        runs = [opened("--first", arguments.first), opened("--second", arguments.second)]
        check_pair(*runs)
        configs = [run.config for run in runs]
        tests = [load_dataset(c.dataset, "test", arguments.data_dir or c.data_dir) for c in configs]
        table = compare(runs, tests)
        print("\n".join(lines(table)))
        workdir = Path(arguments.workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        files.write_json(workdir / "table.json", table)
        picture(runs, tests).savefig(workdir / "wrong_data.png", dpi=150)
        print(f"{workdir}/: table.json, wrong_data.png")


if __name__ == "__main__":
    main()
