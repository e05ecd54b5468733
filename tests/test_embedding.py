"""Codes as embeddings: what is measured of a model and of PCA, the picture, the script."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import aejax
from aejax import figures, models
from aejax.experiments.embedding import (
    Arguments,
    by_model,
    by_pca,
    check_dimensions,
    measure,
)
from aejax.runs import seed_table


def test_a_models_codes_and_reconstructions(images):
    def decode(variables, z, batch=None):
        return jax.nn.sigmoid(z.reshape(-1, 8, 8, 1) / variables["scale"])

    stub = models.Model(
        init=None,
        posterior=lambda variables, batch: models.Point(
            batch["x"].reshape(len(batch["x"]), -1) * variables["scale"]
        ),
        prior=None,
        log_likelihood=None,
        decode=decode,
        draw=None,
    )
    codes, test_codes, restored = by_model((stub, {"scale": 2.0}), images, images)
    pixels = images["x"] / 255
    np.testing.assert_allclose(codes, 2 * pixels.reshape(37, 64), rtol=1e-5)
    np.testing.assert_array_equal(codes, test_codes)
    np.testing.assert_allclose(restored, 1 / (1 + np.exp(-pixels)), rtol=1e-5)
    row = measure((codes, test_codes, restored), images, images)
    np.testing.assert_allclose(row["squared_error"], np.mean((restored - pixels) ** 2), rtol=1e-5)
    assert row["linear_probe"] == 1.0  # 64 dimensions part 37 points as one likes


def test_pca_restores_all_that_its_components_span(images):
    centred = (images["x"] / 255).reshape(37, -1)
    values = np.linalg.svd(centred - centred.mean(axis=0), compute_uv=False)
    _, _, restored = by_pca(5, images, images)
    assert restored.min() >= 0
    assert restored.max() <= 1
    error = ((restored.reshape(37, -1) - centred) ** 2).sum()
    # Eckart-Young: the error is the rest of the spectrum; clipping can only lower it.
    assert error <= (values[5:] ** 2).sum() * (1 + 1e-5)
    assert error >= 0.8 * (values[5:] ** 2).sum()


def test_lines_are_drawn_where_the_values_are():
    panels = {"a": {"one": [1.0, 2.0], "two": [3.0, 4.0]}, "b": {"one": [0.0, 0.5]}}
    figure = figures.lines(panels, [2, 32], "size", logarithmic=True)
    first, second = figure.axes
    assert [line.get_label() for line in first.lines] == ["one", "two"]
    np.testing.assert_array_equal(first.lines[1].get_xydata(), [[2, 3], [32, 4]])
    assert [tick.get_text() for tick in second.get_xticklabels()] == ["2", "32"]


@pytest.mark.slow
def test_the_script_compares_on_real_digits(start):
    flags = ["--dimensions", "8", "2", "--epochs", "4", "--hidden", "64", "--workdir", "out"]
    done = start("embedding.py", *flags)
    assert done.returncode == 0, done.stderr
    assert Path("out/embedding.png").exists()
    found = json.loads(Path("out/table.json").read_text())
    assert found["seeds"] == [0]
    table = found["table"]
    methods = ("PCA", "autoencoder", "VAE")
    assert list(table) == [f"{method}, {size}" for size in (8, 2) for method in methods]
    for method in methods:
        (eight,), (two,) = table[f"{method}, 8"]["knn"], table[f"{method}, 2"]["knn"]
        assert eight > max(0.6, two)
        assert table[f"{method}, 8"]["squared_error"] < table[f"{method}, 2"]["squared_error"]


def test_each_seed_stands_in_the_table():
    one, two, three = Arguments(seed=4, seeds=3).each_seed()
    assert [(x.seed, x.seeds) for x in (one, two, three)] == [(4, 1), (5, 1), (6, 1)]
    tables = [{"a": {"x": 1.0, "y": 2.0}, "b": {"x": 0.0, "y": 1.0}}, {"a": {"x": 3.0, "y": 0.0}}]
    table = seed_table.over_seeds([tables[0], tables[0] | tables[1]])
    assert table["a"] == {"x": [1.0, 3.0], "y": [2.0, 0.0]}
    assert seed_table.column_means(table) == {"x": [0.5, 1.5], "y": [1.5, 0.5]}
    assert seed_table.text(table)[1].split() == ["a", "2", "1"]
    assert seed_table.text(table)[2].split() == ["1-3", "0-2"]


def test_the_same_seed_gives_the_same_table(images):
    from aejax.experiments.embedding import vae

    settings = Arguments(hidden=(8,), epochs=2, batch_size=10)
    one, two = (vae(settings, 2, images)[1] for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, one, two)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"epochs": 0}, "--epochs 0 is not positive"),
        ({"learning_rate": -1.0}, "--learning-rate -1.0 is not a positive number"),
        ({"hidden": (8, 0)}, r"--hidden \(8, 0\) has a width that is not positive"),
        ({"seed": -1}, "--seed -1 is not within"),
        ({"seed": 2**32 - 1, "seeds": 2}, "--seed 4294967296 is not within"),
        ({"seeds": 0}, "--seeds 0 is not positive"),
        ({"batch_size": 5000}, "batch size 5000 is larger than the data set"),
    ],
)
def test_a_bad_flag_is_one_line(flags, message):
    with pytest.raises(aejax.UsageError, match=message):
        Arguments(**flags).load()


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [((2, 0), "--dimensions 0 is not within 1 and 37"), ((38,), "38"), ((2, 2), "each once")],
)
def test_a_bad_size_is_one_line(dimensions, message, images):
    with pytest.raises(aejax.UsageError, match=message):
        check_dimensions("--dimensions", dimensions, images)
