"""What a trained VAE's latent space is good for: samples, interpolation, traversal, attributes.

Interpolation straight and along the great arc (White 2016, arXiv 1609.04468) beside mixing pixels;
attribute vectors as in MusicVAE (Roberts et al. 2018, arXiv 1803.05428), for two attributes that
can be measured in any image, ink and slant. Any run with a prior can be opened.

Command:   python experiments/vae.py --latent-dim 8 --workdir runs/vae8
           python experiments/latent_space.py --run runs/vae8
Expected:  midpoints of straight lines lie well inside the prior's shell, those of arcs on it, and
           both look more like a digit than mixed pixels; an attribute rises with its vector, the
           other stays, but classes differ in ink, and at strength 1 half of them have changed
Cost:      half a minute on two cores, after the run
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from aejax import figures
from aejax.data.dataset import ImageDataset
from aejax.data.tfds import load_dataset
from aejax.errors import UsageError
from aejax.evaluation import latent_space
from aejax.evaluation.classifier import train_classifier
from aejax.runs import directory as files
from aejax.runs.flags import one_line_errors, parse
from aejax.runs.run import Run, load_run

Probabilities = Callable[[Any], np.ndarray]
Row = dict[str, float]
WAYS = {"straight line": latent_space.lerp, "great arc": latent_space.slerp}
ATTRIBUTES = {"ink": latent_space.ink, "slant": latent_space.slant}
STRENGTHS = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
STEPS = 11  # along a path, and along a dimension
CONFIDENT = 0.9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments:
    """Sample, interpolate, traverse and do arithmetic in the latent space of a trained run."""

    run: str = "runs/vae"
    """Run directory of a model with a prior (vae.py, ...)."""
    data_dir: str | None = None
    """TFDS data directory. Default: that of the run, $TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    count: int = 1000
    """Samples, and pairs of test images, that the tables measure."""
    seed: int = 0
    """Seed of the samples and the pairs."""
    workdir: str = "runs/latent_space"
    """Directory for the tables and the pictures."""


def opened(arguments: Arguments) -> Run:
    """The run to look at.

    Raises:
        UsageError: if there is none, or its model has no prior, or a flag makes no sense.
    """
    if arguments.count < 2:
        raise UsageError(f"--count {arguments.count} is less than 2, and spreads are measured")
    if not 0 <= arguments.seed < 2**32:
        raise UsageError(f"--seed {arguments.seed} is not within 0 and 2^32 - 1")
    if not (Path(arguments.run) / files.CONFIG).exists():
        raise UsageError(
            f"--run {arguments.run} holds no run: make one with "
            f"python experiments/vae.py --latent-dim 8 --workdir {arguments.run}"
        )
    run = load_run(arguments.run)
    if run.recipe.sample_prior is None:
        raise UsageError(f"--run {arguments.run} is of {run.config.name}.py, which has no prior")
    return run


def prior_codes(run: Run, key: jax.Array, count: int) -> np.ndarray:
    """Draws of the run's prior, `[count, D]`."""
    assert run.recipe.sample_prior is not None
    return np.asarray(run.recipe.sample_prior(run.state.eval_params, key, count))


def judged(probabilities: np.ndarray) -> Row:
    """How surely a classifier takes images for one class, from its `[N, classes]`."""
    confidence = probabilities.max(axis=-1)
    return {
        "confidence": float(confidence.mean()),
        "share_confident": float(np.mean(confidence >= CONFIDENT)),
        "class_entropy": latent_space.class_entropy(probabilities.argmax(axis=-1)),
    }


def generation(
    run: Run, classes_of: Probabilities, z: np.ndarray, test: np.ndarray
) -> dict[str, Row]:
    """Samples decoded from codes `[N, D]`, beside test images and their reconstructions."""
    restored, sampled = run.reconstruct(test), run.decode(z)
    images = {"test images": test, "reconstructions": restored, "samples": sampled}
    return {name: judged(classes_of(x)) for name, x in images.items()}


def pairs(data: ImageDataset, rng: np.random.Generator, count: int) -> np.ndarray:
    """Indices `[count, 2]` of random images of different classes."""
    drawn = rng.integers(len(data), size=(20 * count, 2))
    return drawn[data.labels[drawn[:, 0]] != data.labels[drawn[:, 1]]][:count]


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
    run: Run, classes_of: Probabilities, images: np.ndarray, typical: float
) -> tuple[dict[str, Row], dict[str, list[float]]]:
    """What lies at the middle of the paths, and the mean confidence along them.

    `typical` is the mean norm of the prior's codes; a norm of 1 is as far out as they are.
    """
    found, codes = paths(run, images)
    table: dict[str, Row] = {}
    along = {}
    for name, x in found.items():
        sure = [judged(classes_of(step)) for step in x]
        along[name] = [row["confidence"] for row in sure]
        table[name] = {k: sure[STEPS // 2][k] for k in ("confidence", "share_confident")}
        if name in codes:
            norms = np.linalg.norm(codes[name], axis=-1).mean(axis=-1) / typical
            table[name] |= {"norm": float(norms[STEPS // 2]), "norm_at_ends": float(norms[0])}
    return table, along


def vectors(run: Run, train: ImageDataset) -> dict[str, np.ndarray]:
    """The attribute vectors `[D]`, of the training images."""
    images = train.images[:10_000] / np.float32(255)
    codes = jnp.asarray(run.encode(images))
    return {
        name: np.asarray(latent_space.attribute_vector(codes, measure(jnp.asarray(images))))
        for name, measure in ATTRIBUTES.items()
    }


def arithmetic(
    run: Run, classes_of: Probabilities, codes: np.ndarray, added: dict[str, np.ndarray]
) -> dict[str, dict[str, Row]]:
    """What adding a vector to codes `[N, D]` changes, by attribute and strength.

    The change of every attribute, in its standard deviations over the images at strength 0, and the
    share of images whose class stays.
    """

    def measured(z: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        x = run.decode(z)
        values = {name: np.asarray(of(jnp.asarray(x))) for name, of in ATTRIBUTES.items()}
        return values, classes_of(x).argmax(axis=-1)

    before, classes = measured(codes)
    table: dict[str, dict[str, Row]] = {name: {} for name in added}
    for name, vector in added.items():
        for strength in STRENGTHS:
            after, now = measured(codes + strength * vector)
            table[name][f"{strength:+.1f}"] = {
                k: float(np.mean(after[k] - before[k]) / before[k].std()) for k in ATTRIBUTES
            } | {"class_kept": float(np.mean(now == classes))}
    return table


def lines(tables: dict[str, Any]) -> list[str]:
    """The tables as text."""
    title = f"confident: a class has {CONFIDENT} or more"
    text = [f"{title:42s}confidence   confident  entropy of classes (nats)"]
    for name, row in tables["generation"].items():
        cells = f"{row['confidence']:10.3f}{row['share_confident']:12.3f}"
        text.append(f"  {name:40s}{cells}{row['class_entropy']:12.3f}")
    text.append(f"{'halfway between two test images':42s}confidence   confident  norm (at ends)")
    for name, row in tables["interpolation"].items():
        norm = f"{row['norm']:12.2f} ({row['norm_at_ends']:.2f})" if "norm" in row else ""
        text.append(f"  {name:40s}{row['confidence']:10.3f}{row['share_confident']:12.3f}{norm}")
    heads = "".join(f"{name:>12}" for name in ATTRIBUTES)
    text.append(f"{'attribute vector added, change in sd':40s}{heads}   class kept")
    for name, by_strength in tables["arithmetic"].items():
        for strength, row in by_strength.items():
            changes = "".join(f"{row[k]:+12.2f}" for k in ATTRIBUTES)
            text.append(f"  {strength} x {name:31s}{changes}{row['class_kept']:13.3f}")
    return text


def pictures(
    run: Run, test: ImageDataset, z: np.ndarray, added: dict[str, np.ndarray]
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


def traversals(run: Run, test: ImageDataset, z: np.ndarray) -> Figure:
    """One test image's code, moved along a dimension a row; those that vary most come first.

    A dimension goes from -3 to 3 standard deviations of the prior, whose draws are z `[N, D]`.
    """
    codes = run.encode(test.images[:10_000])
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


def load(run: Run, data_dir: str | None) -> tuple[ImageDataset, ImageDataset]:
    """The training and the test images of the run's data set.

    Raises:
        UsageError: if they do not have two classes or more.
    """
    name, where = run.config.dataset, data_dir or run.config.data_dir
    train, test = (load_dataset(name, split, where) for split in ("train", "test"))
    if len(np.unique(test.labels)) < 2:
        raise UsageError(f"--run {run.workdir} is of {name}, which has no two classes to tell")
    return train, test


def main() -> None:
    """Parses the flags, opens the run, and leaves the tables and the pictures."""
    with one_line_errors("latent_space.py"):
        arguments = parse(Arguments, "latent_space.py", sys.argv[1:])
        run = opened(arguments)
        train, test = load(run, arguments.data_dir)
        count, rng = arguments.count, np.random.default_rng(arguments.seed)
        classes_of = latent_space.class_probabilities(train_classifier(train), train)
        z = prior_codes(run, jax.random.key(arguments.seed), max(count, 100))
        typical = float(np.linalg.norm(z, axis=-1).mean())
        ends = test.images[pairs(test, rng, count)] / np.float32(255)
        halfway, along = interpolation(run, classes_of, ends, typical)
        added = vectors(run, train)
        tables = {
            "generation": generation(run, classes_of, z, test.images[:count]),
            "interpolation": halfway,
            "arithmetic": arithmetic(run, classes_of, run.encode(test.images[:count]), added),
        }
        print("\n".join(lines(tables)))
        workdir = Path(arguments.workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        files.write_json(workdir / "table.json", tables)
        drawn = dict(pictures(run, test, z, added))
        t = np.linspace(0, 1, STEPS).tolist()
        drawn["confidence"] = figures.lines({"confidence of the classifier": along}, t, "t")
        for name, figure in drawn.items():
            figure.savefig(workdir / f"{name}.png", dpi=150)
        print(f"{workdir}/: table.json, {', '.join(f'{name}.png' for name in drawn)}")


if __name__ == "__main__":
    main()
