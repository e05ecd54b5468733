"""What a trained VAE's latent space is good for: samples, interpolation, traversal, attributes.

Interpolation straight and along the great arc (White 2016, arXiv 1609.04468) beside mixing pixels;
attribute vectors as in MusicVAE (Roberts et al. 2018, arXiv 1803.05428), for two attributes that
can be measured in any image, ink and slant. Any run with a prior can be opened, and several runs of
one command, or a population, for the mean and the range over seeds.

A judge says whether an image passes for one of the data (see `aejax.judging.judge`). The first
table shows what share of the images it recognises, and of images that are none of the data.

Command:   python experiments/vae.py --latent-dim 8 --population seeds=3 --workdir runs/vae8
           python experiments/latent_space.py --run runs/vae8
Expected:  the judge refuses noise, clothes and inverted digits, but two thirds of digits mixed half
           and half pass; midpoints of straight lines lie well inside the prior's shell, those of
           arcs on it, recognised as often as mixed pixels; an attribute rises with its vector, the
           other stays, but classes differ in ink, and at strength 1 half of them have changed
Cost:      a minute on two cores, after the runs
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from aejax import figures
from aejax.cli.commands import has_prior
from aejax.cli.flags import one_line_errors, parse
from aejax.data.dataset import Dataset
from aejax.data.load import load_dataset
from aejax.errors import UsageError
from aejax.evaluation import latent_space
from aejax.evaluation.controls import controls, pairs
from aejax.judging.judge import Judge, fit_judge
from aejax.runs import directory as files
from aejax.runs.opening import load_run
from aejax.runs.run import Run
from aejax.streams import seed_stream

Row = dict[str, float]
Table = dict[str, Row]
WAYS = {"straight line": latent_space.lerp, "great arc": latent_space.slerp}
ATTRIBUTES = {"ink": latent_space.ink, "slant": latent_space.slant}
STRENGTHS = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
STEPS = 11  # along a path, and along a dimension


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments:
    """Sample, interpolate, traverse and do arithmetic in the latent space of a trained run."""

    run: tuple[str, ...] = ("runs/vae",)
    """Run directories of models with a prior (vae.py, ...) that differ in the seed alone, or a
    population's directory."""
    data_dir: str | None = None
    """TFDS data directory. Default: that of the run, $TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    count: int = 1000
    """Samples, and pairs of test images, that the tables measure."""
    seed: int = 0
    """Seed of the samples and the pairs."""
    workdir: str = "runs/latent_space"
    """Directory for the tables and the pictures."""


def opened(arguments: Arguments) -> list[Run]:
    """The runs to look at.

    Raises:
        UsageError: if there is none, or a model has no prior, or they are not of one kind, or a
            flag makes no sense.
    """
    if arguments.count < 2:
        raise UsageError(f"--count {arguments.count} is less than 2, and spreads are measured")
    seed_stream(arguments.seed, "data")  # refuses one that no key can be made of
    runs = [load_run(path) for given in arguments.run for path in members(given)]
    for run in runs:
        if not has_prior(run):
            raise UsageError(f"--run {run.workdir} is of {run.config.name}.py, which has no prior")
    alike = {dataclasses.replace(run.config, seed=0, workdir=None, resume=False) for run in runs}
    if len(alike) > 1:
        raise UsageError(f"--run {' '.join(arguments.run)}: the runs differ in more than the seed")
    return runs


def members(directory: str) -> list[Path]:
    """The run directories in a population's directory, or the run directory itself."""
    path = Path(directory)
    if (path / files.POPULATION).exists():
        return sorted((path / files.MEMBERS).iterdir())
    if not (path / files.CONFIG).exists():
        raise UsageError(
            f"--run {directory} holds no run: make one with "
            f"python experiments/vae.py --latent-dim 8 --workdir {directory}"
        )
    return [path]


def judged(judge: Judge, x: np.ndarray) -> Row:
    """What the judge says of images `[N, H, W, C]`."""
    classes, recognised = judge.verdict(x)
    return {
        "recognised": float(np.mean(recognised)),
        "class_entropy": latent_space.class_entropy(classes),
    }


def generation(run: Run, judge: Judge, z: np.ndarray, test: np.ndarray) -> Table:
    """Samples decoded from codes `[N, D]`, beside test images and their reconstructions."""
    restored, sampled = run.reconstruct(test), run.decode(z)
    images = {"test images": test, "reconstructions": restored, "samples": sampled}
    return {name: judged(judge, x) for name, x in images.items()}


def refused(judge: Judge, test: Dataset, rng: np.random.Generator, other: Dataset | None) -> Table:
    """What the judge says of test images, and of images that are none of the data."""
    shares = {"test images": judge.recognised(test["x"])}
    shares |= {name: judge.recognised(x) for name, x in controls(test, rng, other)}
    return {name: {"recognised": share} for name, share in shares.items()}


def another(data: Dataset, data_dir: str | None) -> Dataset | None:
    """Images of another data set in the same shape, or None where none is at hand."""
    name = "mnist5k" if data.name == "fashion_mnist" else "fashion_mnist"
    try:
        other = load_dataset(name, "test", data_dir)
    except UsageError:  # Fashion-MNIST is not prepared here, and there is no network
        return None
    return other if other.spec["x"].shape == data.spec["x"].shape else None


def paths(run: Run, images: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """From image to image, pairs `[N, 2, H, W, C]` in [0, 1], by each way and by mixing pixels.

    Returns:
        the images on the way, `[T, N, H, W, C]` each, and the codes, `[T, N, D]` each.
    """
    a, b = (run.encode(images[:, end]) for end in (0, 1))
    codes = {
        name: np.asarray(latent_space.path(way, jnp.asarray(a), jnp.asarray(b), STEPS))
        for name, way in WAYS.items()
    }
    found = {
        name: run.decode(z.reshape(-1, z.shape[-1])).reshape(STEPS, *images[:, 0].shape)
        for name, z in codes.items()
    }
    ends = jnp.asarray(images[:, 0]), jnp.asarray(images[:, 1])
    found["mixed pixels"] = np.asarray(latent_space.path(latent_space.lerp, *ends, STEPS))
    return found, codes


def interpolation(
    run: Run, judge: Judge, images: np.ndarray, typical: float
) -> tuple[Table, dict[str, list[float]]]:
    """What lies at the middle of the paths, and the share that is recognised along them.

    `typical` is the mean norm of the prior's codes; a norm of 1 is as far out as they are.
    """
    found, codes = paths(run, images)
    table: Table = {}
    along = {}
    for name, x in found.items():
        along[name] = [judge.recognised(step) for step in x]
        table[name] = {"recognised": along[name][STEPS // 2], "at_ends": along[name][0]}
        if name in codes:
            norms = np.linalg.norm(codes[name], axis=-1).mean(axis=-1) / typical
            table[name] |= {"norm": float(norms[STEPS // 2]), "norm_at_ends": float(norms[0])}
    return table, along


def vectors(run: Run, train: Dataset) -> dict[str, np.ndarray]:
    """The attribute vectors `[D]`, of the training images."""
    images = train["x"][:10_000] / np.float32(255)
    codes = jnp.asarray(run.encode(images))
    return {
        name: np.asarray(latent_space.attribute_vector(codes, measure(jnp.asarray(images))))
        for name, measure in ATTRIBUTES.items()
    }


def arithmetic(run: Run, judge: Judge, codes: np.ndarray, added: dict[str, np.ndarray]) -> Table:
    """What adding a vector to codes `[N, D]` changes, by attribute and strength.

    The change of every attribute, in its standard deviations over the images at strength 0, and the
    shares of images whose class stays, and which are recognised.
    """

    def measured(x: np.ndarray) -> dict[str, np.ndarray]:
        return {name: np.asarray(of(jnp.asarray(x))) for name, of in ATTRIBUTES.items()}

    images = run.decode(codes)
    before, classes = measured(images), judge.classifier.classify(images)
    table: Table = {}
    for name, vector in added.items():
        for strength in STRENGTHS:
            moved = run.decode(codes + strength * vector)
            after, (now, recognised) = measured(moved), judge.verdict(moved)
            table[f"{name} {strength:+.1f}"] = {
                k: float(np.mean(after[k] - before[k]) / before[k].std()) for k in ATTRIBUTES
            } | {
                "class_kept": float(np.mean(now == classes)),
                "recognised": float(np.mean(recognised)),
            }
    return table


def measured(
    run: Run, judge: Judge, train: Dataset, test: Dataset, arguments: Arguments
) -> tuple[dict[str, Table], dict[str, list[float]]]:
    """The tables of a run, and what is recognised along its interpolations."""
    count, rng = arguments.count, np.random.default_rng(arguments.seed)
    z = run.prior_codes(seed_stream(arguments.seed, "results"), count)
    typical = float(np.linalg.norm(z, axis=-1).mean())
    ends = test["x"][pairs(test, rng, count)] / np.float32(255)
    halfway, along = interpolation(run, judge, ends, typical)
    first = test["x"][:count]
    return {
        "generation": generation(run, judge, z, first),
        "halfway": halfway,
        "arithmetic": arithmetic(run, judge, run.encode(first), vectors(run, train)),
    }, along


def over_seeds(tables: Sequence[dict[str, Table]]) -> dict[str, dict[str, list[float]]]:
    """Tables of runs as one, its rows named by table and row, its values a list over the runs."""
    return {
        f"{table}: {row}": {
            column: [of_run[table][row][column] for of_run in tables] for column in columns
        }
        for table, rows in tables[0].items()
        for row, columns in rows.items()
    }


def lines(table: dict[str, dict[str, list[float]]]) -> list[str]:
    """The table as text: the mean over runs, with their range where there are several."""
    return [
        f"{row:56s}" + "  ".join(f"{column} {_text(values)}" for column, values in columns.items())
        for row, columns in table.items()
    ]


def _text(values: list[float]) -> str:
    spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def pictures(
    run: Run, test: Dataset, z: np.ndarray, added: dict[str, np.ndarray]
) -> Iterator[tuple[str, Figure]]:
    """Samples of the codes `[N, D]`, interpolations, traversals and attributes."""
    yield "samples", figures.image_grid(run.decode(z[:100]))
    images = figures.first_of_each_class(test, 10).astype(np.float32)
    ends = np.stack([images[:4], images[::-1][:4]], axis=1)
    found, _ = paths(run, ends)
    rows = {f"{way}, {i + 1}": x[:, i] for i in range(len(ends)) for way, x in found.items()}
    yield "interpolations", figures.named_rows(rows)
    yield "traversals", traversals(run, test, z)
    codes = run.encode(images)
    yield (
        "attributes",
        figures.named_rows(
            {
                f"{name} {strength:+.1f}": run.decode(codes + np.float32(strength) * vector)
                for name, vector in added.items()
                for strength in STRENGTHS
            }
        ),
    )


def traversals(run: Run, test: Dataset, z: np.ndarray) -> Figure:
    """One test image's code, moved along a dimension a row; those that vary most come first.

    A dimension goes from -3 to 3 standard deviations of the prior, whose draws are z `[N, D]`.
    """
    codes = run.encode(test["x"][:10_000])
    variance = codes.var(axis=0)
    first = np.argsort(-variance, kind="stable")[:10]
    steps = np.linspace(-3, 3, STEPS, dtype=np.float32)
    values = z.mean(axis=0)[first, None] + z.std(axis=0)[first, None] * steps
    moved = np.asarray(
        latent_space.traversal(jnp.asarray(codes[0]), jnp.asarray(first), jnp.asarray(values))
    )
    return figures.named_rows(
        {
            f"dimension {d}\nvariance {variance[d]:.2f}": run.decode(row)
            for d, row in zip(first, moved, strict=True)
        }
    )


def load(run: Run, data_dir: str | None) -> tuple[Dataset, Dataset]:
    """The training and the test images of the runs' data set.

    Raises:
        UsageError: if they do not have two classes or more.
    """
    name, where = run.config.dataset, data_dir or run.config.data_dir
    train, test = (load_dataset(name, split, where) for split in ("train", "test"))
    if len(np.unique(test.labels)) < 2:
        raise UsageError(f"--run {run.workdir} is of {name}, which has no two classes to tell")
    return train, test


def main() -> None:
    """Parses the flags, opens the runs, and leaves the tables and the pictures."""
    with one_line_errors("latent_space.py"):
        arguments = parse(Arguments, "latent_space.py", sys.argv[1:])
        runs = opened(arguments)
        train, test = load(runs[0], arguments.data_dir)
        judge = fit_judge(train)
        rng, other = np.random.default_rng(arguments.seed), another(test, arguments.data_dir)
        shared = {"judge": refused(judge, test, rng, other)}
        found = [measured(run, judge, train, test, arguments) for run in runs]
        table = over_seeds([shared | tables for tables, _ in found])
        print("\n".join(lines(table)))
        workdir = Path(arguments.workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        record = {"command": command(arguments), "seeds": [run.config.seed for run in runs]}
        files.write_json(workdir / "table.json", record | {"table": table})
        z = runs[0].prior_codes(seed_stream(arguments.seed, "pictures"), 1000)
        drawn = dict(pictures(runs[0], test, z, vectors(runs[0], train)))
        t = np.linspace(0, 1, STEPS).tolist()
        along = {
            way: np.mean([of_run[way] for _, of_run in found], axis=0).tolist()
            for way in found[0][1]
        }
        drawn["recognised"] = figures.lines({"share recognised by the judge": along}, t, "t")
        for name, figure in drawn.items():
            figure.savefig(workdir / f"{name}.png", dpi=150)
        print(f"{workdir}/: table.json, {', '.join(f'{name}.png' for name in drawn)}")


def command(arguments: Arguments) -> str:
    """The command, without the flags that say where things are."""
    words = ["python experiments/latent_space.py", "--run", *arguments.run]
    for name in ("count", "seed"):
        value = getattr(arguments, name)
        words += [] if value == getattr(Arguments(), name) else [f"--{name}", str(value)]
    return " ".join(words)


if __name__ == "__main__":
    main()
