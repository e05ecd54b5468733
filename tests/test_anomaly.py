"""Anomaly scores against closed forms and other libraries, the pictures, the script."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_gaussian import LinearGaussian

import aejax
from aejax import figures, models, nets
from aejax.evaluation import anomaly
from aejax.experiments import anomaly as script
from aejax.experiments.anomaly import Arguments, held_out
from aejax.latents import DiagonalGaussian
from aejax.likelihoods import bernoulli

STUB = dataclasses.replace(
    LinearGaussian().model,
    posterior=lambda v, batch: DiagonalGaussian(batch["x"][:, 0, 0], batch["x"][:, 0, 0]),
    decode=lambda variables, z, batch=None: jnp.full((37, 8, 8, 1), 0.5),
)


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    scores, anomalous = rng.integers(0, 9, 60).astype(float), rng.uniform(size=60) < 0.3
    high, low = scores[anomalous][:, None], scores[~anomalous][None]
    expected = np.mean((high > low) + 0.5 * (high == low))
    assert anomaly.auroc(scores, anomalous) == pytest.approx(expected)
    assert anomaly.auroc(-scores, anomalous) == pytest.approx(1 - expected)
    with pytest.raises(ValueError, match="0 of 60 are anomalous: AUROC needs both"):
        anomaly.auroc(scores, np.zeros(60, bool))


def bound(linear, x, shift):
    posterior = linear.encode(linear.params, x)
    posterior = posterior._replace(mean=posterior.mean + shift)
    model = dataclasses.replace(linear.model, posterior=lambda variables, batch: posterior)
    bound_model = model.bind(linear.variables)
    return anomaly.negative_elbo(jax.random.key(0), bound_model, {"x": x}, draws=20_000)


def test_at_the_true_posterior_the_bound_is_the_likelihood():
    linear = LinearGaussian()
    x = linear.data(5)
    np.testing.assert_allclose(bound(linear, x, 0.0), -linear.log_marginal(x), atol=0.05)


def test_at_another_posterior_it_lies_above_by_the_divergence():
    linear = LinearGaussian()
    x = linear.data(5)
    log_sigma = linear.encode(linear.params, x).log_sigma
    divergence = 0.5 * (0.3**2 * np.exp(-2 * log_sigma)).sum(axis=-1)
    found = bound(linear, x, 0.3) - bound(linear, x, 0.0)
    np.testing.assert_allclose(found, divergence, atol=0.05)


def test_of_a_flax_vae_it_is_that_of_its_draws():
    model = models.vae(*nets.mlp_pair((4, 4, 1), (6,)), 2, bernoulli())
    batch = {"x": jnp.asarray(np.random.default_rng(0).uniform(size=(3, 4, 4, 1)), jnp.float32)}
    variables = model.init(jax.random.key(0), batch)
    found = anomaly.negative_elbo(jax.random.key(1), model.bind(variables), batch, draws=4)
    q = model.posterior(variables, batch)
    z = jnp.stack([q.sample(key) for key in jax.random.split(jax.random.key(1), 4)])
    errors = -model.log_likelihood(variables, batch, z).mean(axis=0)
    mean, sigma = np.asarray(q.mean), np.exp(q.log_sigma)
    kl = 0.5 * (mean**2 + sigma**2 - 1 - 2 * np.log(sigma)).sum(axis=-1)
    np.testing.assert_allclose(found, errors + kl, rtol=1e-5)


def test_pca_leaves_what_its_components_do_not_span(images):
    x = (images["x"] / 255).reshape(37, -1)
    train, test = x[:30], x[30:]
    _, _, directions = np.linalg.svd(train - train.mean(axis=0))
    rest = (test - train.mean(axis=0)) @ directions[4:].T
    restored = anomaly.pca_restored(images["x"][:30], images["x"][30:], 4)
    found = anomaly.squared_error(images["x"][30:], restored)
    np.testing.assert_allclose(found, (rest**2).sum(axis=-1), rtol=1e-4)


def test_distance_to_the_mean_image():
    images = np.array([[0, 255], [0, 0]], np.uint8).reshape(2, 1, 2, 1)
    mean = anomaly.mean_image(images, images[:1])
    np.testing.assert_allclose(anomaly.squared_error(images[:1], mean), [0.25])


def test_the_nearest_image_is_the_least_distant(images):
    train, test = images["x"][:30], images["x"][30:]
    pairs = (train[None] / 255 - test[:, None] / 255).reshape(7, 30, -1)
    found = anomaly.squared_error(test, anomaly.nearest_image(train, test))
    np.testing.assert_allclose(found, (pairs**2).sum(axis=-1).min(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(anomaly.nearest_image(train, train), train / np.float32(255))


def test_cross_entropy_is_that_of_bernoulli_pixels_and_finite_beyond_0_and_1(images):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=images["x"].shape)
    x = images["x"] / 255  # x log p + (1 - x) log (1 - p), of grey pixels too
    by_hand = x * np.logaddexp(0, -logits) + (1 - x) * np.logaddexp(0, logits)
    by_hand = by_hand.reshape(37, -1).sum(axis=-1)
    found = anomaly.cross_entropy(images["x"], 1 / (1 + np.exp(-logits)))
    np.testing.assert_allclose(found, by_hand, rtol=1e-5)
    beyond = anomaly.cross_entropy(images["x"], np.where(logits > 0, 1.2, -0.1))
    clipped = anomaly.cross_entropy(images["x"], np.where(logits > 0, 0.999, 0.001))
    np.testing.assert_allclose(beyond, clipped)


def test_every_method_is_scored_by_both_errors(images, monkeypatch):
    trained = lambda training, size, normal: (STUB, {})  # noqa: E731
    for name in ("autoencoder", "vae"):
        monkeypatch.setattr(script, name, trained)
    monkeypatch.setattr(script, "negative_elbo", lambda key, bound, batch: batch["x"][:, 0, 0, 0])
    found = script.scores(Arguments(), dict.fromkeys(script.MODELS, 4), images, images["x"])
    methods = ("autoencoder", "VAE", "PCA", "mean image", "nearest image")
    pairs = [f"{method}, {error}" for method in methods for error in script.ERRORS]
    assert sorted(found) == sorted([*pairs, "VAE, -ELBO"])
    # The stub restores every image as grey, whose cross-entropy is ln 2 a pixel, whatever it is.
    for method in ("autoencoder", "VAE"):
        np.testing.assert_allclose(found[f"{method}, cross-entropy"], 64 * np.log(2), rtol=1e-5)
    assert np.all(found["nearest image, squared error"] == 0)


def test_a_code_is_chosen_without_the_class_that_is_held_out():
    table = {"PCA": {4: {0: 0.9, 1: 0.6, 2: 0.6}, 8: {0: 0.1, 1: 0.7, 2: 0.7}}}
    assert script.chosen(table, 0) == {"PCA": 8}
    assert script.chosen(table, 1) == {"PCA": 4}


def test_without_a_class_only_its_images_are_gone(images):
    rest = anomaly.without_class(images, 1)
    kept = [i for i, label in enumerate(images.labels) if label != 1]
    np.testing.assert_array_equal(rest["x"], images["x"][kept])
    np.testing.assert_array_equal(rest.labels, images.labels[kept])


def test_dots_stand_over_their_group():
    figure = figures.dots({"x": [0.9, 0.2], "y": [0.5, 0.6]}, ["a", "b"], "AUROC", chance=0.5)
    drawn = {line.get_label(): line for line in figure.axes[0].lines}
    np.testing.assert_array_equal(np.round(drawn["x"].get_xdata()), [0, 1])
    np.testing.assert_array_equal(drawn["y"].get_ydata(), [0.5, 0.6])


def test_marks_frame_their_images():
    rows = {name: np.zeros((3, 4, 5, 1)) for name in ("a", "b")}
    marks = {"a": np.array([False, False, True]), "b": np.array([True, False, False])}
    frames = figures.marked_rows(rows, marks).axes[0].patches
    # Images of 4 x 5 pixels stand 1 apart: their corners' pixels are these.
    assert [(*frame.get_xy(), frame.get_width(), frame.get_height()) for frame in frames] == [
        (12, 0, 4, 3),
        (0, 5, 4, 3),
    ]


def test_dots_of_several_seeds_stand_at_their_mean_with_their_range():
    figure = figures.dots({"x": [[0.8, 1.0], [0.1, 0.3]]}, ["a", "b"], "AUROC", chance=0.5)
    axes = figure.axes[0]
    drawn = next(line for line in axes.lines if line.get_label() == "x")
    np.testing.assert_allclose(drawn.get_ydata(), [0.9, 0.2])
    (bars,) = axes.collections
    np.testing.assert_allclose([bar[:, 1] for bar in bars.get_segments()], [[0.8, 1], [0.1, 0.3]])


@pytest.mark.slow
def test_the_script_finds_the_2_and_not_the_1(start):
    flags = ["--classes", "2", "1", "--epochs", "5", "--hidden", "128", "--latent-dim", "8"]
    done = start("anomaly.py", *flags, "--seeds", "2", "--workdir", "out")
    assert done.returncode == 0, done.stderr
    pictures = ("auroc_cross-entropy.png", "auroc_squared_error.png", "most_anomalous.png")
    assert {path.name for path in Path("out").iterdir()} == {*pictures, "table.json"}
    found = json.loads(Path("out/table.json").read_text())
    assert found["seeds"] == [0, 1]
    assert found["command"].startswith("python experiments/anomaly.py --hidden 128 --epochs 5")
    table = found["table"]
    assert list(table) == ["1", "2", "mean"]
    for score in ("autoencoder, cross-entropy", "VAE, cross-entropy", "VAE, -ELBO"):
        assert min(table["2"][score]) > 0.75
        assert max(table["1"][score]) < 0.5
    both = [table["1"]["PCA, squared error"], table["2"]["PCA, squared error"]]
    np.testing.assert_allclose(table["mean"]["PCA, squared error"], np.mean(both, axis=0))


def test_an_unknown_class_is_one_line(images):
    with pytest.raises(aejax.UsageError, match="--classes 12 is no class of .* within 0 and 2"):
        held_out(Arguments(classes=(1, 12)), images, images)


def test_one_class_cannot_be_held_out(images):
    one = aejax.Dataset(
        {"x": images["x"], "label": np.zeros(37, np.int32)}, {"label": ("a",)}, "one"
    )
    with pytest.raises(aejax.UsageError, match="has one class"):
        held_out(Arguments(), one, one)
