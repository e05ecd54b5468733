"""Wrong data: two denoising autoencoders, each on its own data set's test images and the other's.

An autoencoder knows the images that it was trained on and no others; the table shows how far.

Command:   python experiments/wrong_data.py --first runs/denoising --second runs/denoising_fashion
Expected:  each data set's own model is ahead of the other's in PSNR and SSIM
Cost:      seconds, after two runs of denoising.py, one with --dataset fashion_mnist; or after two
           populations of them (--population seeds=3), whose members are compared seed by seed
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from aejax import figures
from aejax.cli.flags import one_line_errors, parse
from aejax.data.dataset import Dataset
from aejax.data.load import load_dataset
from aejax.errors import UsageError
from aejax.evaluation.reconstruction import quality
from aejax.experiments import denoising
from aejax.runs import directory as files
from aejax.runs.opening import load_run
from aejax.runs.run import Run

Table = dict[str, dict[str, list[float]]]
METRICS = ("psnr", "ssim")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments:
    """Denoise the test images of two runs' data sets with both runs' models."""

    first: str = "runs/denoising"
    """Run directory of a denoising run, or of a population of them."""
    second: str = "runs/denoising_fashion"
    """Run directory of another, trained on another data set with the same --noise and --net."""
    data_dir: str | None = None
    """TFDS data directory. Default: that of each run, $TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    workdir: str = "runs/wrong_data"
    """Directory for the table and the picture."""


def opened(flag: str, workdir: str) -> list[Run]:
    """The denoising run in `workdir`, or the members of the population there.

    Raises:
        UsageError: naming the flag, if there is none, or it is another experiment's.
    """
    members = sorted(Path(workdir, files.MEMBERS).glob("*"))
    folders = members or [Path(workdir)]
    if not all((folder / files.CONFIG).exists() for folder in folders):
        raise UsageError(f"{flag} {workdir} holds no run: give the --workdir of a denoising.py run")
    try:
        return [load_run(folder, denoising.Config) for folder in folders]
    except UsageError as error:
        raise UsageError(f"{flag}: {error}") from error


def settings(run: Run) -> denoising.Config:
    """The run's configuration."""
    assert isinstance(run.config, denoising.Config)
    return run.config


def paired(first: list[Run], second: list[Run]) -> list[tuple[Run, Run]]:
    """The runs of both data sets, seed by seed.

    Raises:
        UsageError: unless the seeds are the same, and where `check_pair` does.
    """
    seeds, others = ([run.config.seed for run in runs] for runs in (first, second))
    if seeds != others:
        raise UsageError(f"--first has the seeds {seeds} and --second {others}: give the same")
    pairs = list(zip(first, second, strict=True))
    for pair in pairs:
        check_pair(*pair)
    return pairs


def check_pair(first: Run, second: Run) -> None:
    """Raises a `UsageError` unless the runs differ in the data set and in nothing that compares."""
    one, two = settings(first), settings(second)
    if one.dataset == two.dataset:
        raise UsageError(
            f"--first {first.workdir} and --second {second.workdir} are both of {one.dataset}: "
            "give a --second of another data set"
        )
    for name in ("noise", "net"):
        if getattr(one, name) != getattr(two, name):
            raise UsageError(
                f"--first has --{name} {getattr(one, name)} and --second {getattr(two, name)}: "
                f"give runs of one {name}"
            )
    shapes = first.spec["x"].shape, second.spec["x"].shape
    if shapes[0] != shapes[1]:
        raise UsageError(
            f"--first has images of {shapes[0]} and --second of {shapes[1]}: "
            "give data sets of one size"
        )


def denoised(pair: tuple[Run, Run], clean: np.ndarray) -> dict[str, np.ndarray]:
    """Clean images `[N, H, W, C]` with noise, the same for both runs, and denoised by each."""
    noisy = denoising.damaged(settings(pair[0]), clean)
    return {"noisy": noisy} | {run.config.dataset: run.reconstruct(noisy) for run in pair}


def compare(pairs: list[tuple[Run, Run]], tests: list[Dataset]) -> Table:
    """PSNR (dB) and SSIM of each pair: "IMAGES by MODEL" or "IMAGES noisy" -> metric -> values."""
    table: Table = {}
    for pair in pairs:
        for run, test in zip(pair, tests, strict=True):
            clean = np.asarray(test["x"], np.float32) / 255
            for name, images in denoised(pair, clean).items():
                does = "noisy" if name == "noisy" else f"by {name}"
                row = table.setdefault(f"{run.config.dataset} {does}", {m: [] for m in METRICS})
                values = quality(images, clean)
                for metric in METRICS:
                    row[metric].append(values[metric])
    return table


def lines(table: Table) -> list[str]:
    """The table as text: a row a set of test images and a model, means over the seeds."""
    width = max(map(len, table)) + 2
    return ["test images".ljust(width) + "   PSNR (dB)   SSIM"] + [
        f"{name.ljust(width)}{np.mean(row['psnr']):12.2f}{np.mean(row['ssim']):7.3f}"
        for name, row in table.items()
    ]


def picture(pair: tuple[Run, Run], tests: list[Dataset]) -> Figure:
    """For each data set the noisy images, what both models make of them, and the clean ones."""
    rows: dict[str, np.ndarray] = {}
    for run, test in zip(pair, tests, strict=True):
        clean = figures.first_of_each_class(test, 10)
        for name, images in (denoised(pair, clean) | {"clean": clean}).items():
            does = name if name in ("noisy", "clean") else f"by {name}'s model"
            rows[f"{run.config.dataset}\n{does}"] = images
    return figures.named_rows(rows)


def command(arguments: Arguments) -> str:
    """The command with its flags that differ from the defaults, the places of data aside."""
    flags = [
        f" --{name} {getattr(arguments, name)}"
        for name in ("first", "second")
        if getattr(arguments, name) != getattr(Arguments(), name)
    ]
    return "python experiments/wrong_data.py" + "".join(flags)


def main() -> None:
    """Parses the flags and leaves the table and the picture."""
    with one_line_errors("wrong_data.py"):
        arguments = parse(Arguments, "wrong_data.py", sys.argv[1:])
        pairs = paired(opened("--first", arguments.first), opened("--second", arguments.second))
        configs = [run.config for run in pairs[0]]
        tests = [load_dataset(c.dataset, "test", arguments.data_dir or c.data_dir) for c in configs]
        table = compare(pairs, tests)
        print("\n".join(lines(table)))
        workdir = Path(arguments.workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        seeds = [first.config.seed for first, _ in pairs]
        found = {"command": command(arguments), "seeds": seeds, "table": table}
        files.write_json(workdir / "table.json", found)
        picture(pairs[0], tests).savefig(workdir / "wrong_data.png", dpi=150)
        print(f"{workdir}/: table.json, wrong_data.png")


if __name__ == "__main__":
    main()
