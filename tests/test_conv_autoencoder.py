"""The convolutional autoencoder: its size, noise against the normal distribution, the script."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from specs import image_spec

import aejax
from aejax.evaluation.stability import noisy_codes, unchanged
from aejax.experiments import conv_autoencoder
from aejax.runs.config import check_config


def test_the_lessons_parameters():
    model = conv_autoencoder.Config().model(image_spec())
    batch = {"x": jnp.zeros((2, 28, 28, 1))}
    variables = jax.eval_shape(model.init, jax.random.key(0), batch)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 4385
    assert jax.eval_shape(model.posterior, variables, batch).mean.shape == (2, 128)


def test_a_dense_code_adds_two_dense_layers():
    model = conv_autoencoder.Config(latent_dim=2).model(image_spec())
    batch = {"x": jnp.zeros((2, 28, 28, 1))}
    variables = jax.eval_shape(model.init, jax.random.key(0), batch)
    added = (128 * 2 + 2) + (2 * 128 + 128)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 4385 + added
    assert jax.eval_shape(model.posterior, variables, batch).mean.shape == (2, 2)


def test_a_latent_of_nothing_is_one_line():
    with pytest.raises(ValueError, match="--latent-dim 0 is not positive"):
        check_config(conv_autoencoder.Config(latent_dim=0))


def test_noise_has_the_scale_it_is_told_and_keeps_its_direction():
    codes, sigma = np.ones((20_000, 2), np.float32), np.array([0.5, 3.0], np.float32)
    rungs = noisy_codes(jax.random.key(0), codes, sigma, (0.0, 1.0, 2.0))
    assert rungs.shape == (3, 20_000, 2)
    np.testing.assert_array_equal(rungs[0], codes)
    np.testing.assert_allclose(rungs[1].std(axis=0), sigma, rtol=0.03)
    np.testing.assert_allclose(rungs[2] - 1, 2 * (rungs[1] - 1), rtol=1e-3, atol=1e-5)
    assert abs(np.corrcoef(rungs[1].T)[0, 1]) < 0.03


@pytest.mark.parametrize("spread", [1.0, 10.0])
def test_the_share_unchanged_is_that_of_a_gaussian_code(spread):
    """Codes N(0, s^2) classified by sign, noise N(0, (c s)^2): P = 1/2 + arctan(1 / c) / pi.

    The chance that two jointly normal numbers of correlation 1 / sqrt(1 + c^2) agree in sign
    (Sheppard 1899), whatever s.
    """
    codes = stats.norm(0, spread).rvs((20_000, 1), random_state=0).astype(np.float32)
    scales = np.array([0.0, 0.5, 1.0, 3.0])
    images = []

    def decode(z):
        return z.reshape(-1, 1, 1, 1)

    def classify(x):
        images.append(x.shape)
        return (x.ravel() > 0).astype(int)

    found = unchanged(decode, classify, codes, jax.random.key(1), scales)
    expected = 0.5 + np.arctan2(1, scales) / np.pi
    np.testing.assert_allclose(found, expected, atol=0.015)
    assert found[0] == 1.0
    assert set(images) == {(20_000, 1, 1, 1)}


def test_unchanged_compares_with_the_decoding_and_not_with_the_code():
    """Without noise all is unchanged, wrong as the classes may be."""
    codes = np.arange(6, dtype=np.float32).reshape(6, 1)
    share = unchanged(lambda z: z * 0, lambda x: x[:, 0], codes, jax.random.key(0), (0.0, 5.0))
    np.testing.assert_array_equal(share, [1, 1])


@pytest.mark.slow
@pytest.mark.parametrize("latent_dim", [None, 2])
def test_it_trains_and_leaves_its_figures(latent_dim, tmp_path, few_images, shared_classifier):
    workdir = tmp_path / "r"
    run = aejax.run(
        conv_autoencoder.Config(
            latent_dim=latent_dim, epochs=1, batch_size=128, devices=1, workdir=str(workdir)
        )
    )
    names = {path.stem for path in (workdir / "figures").iterdir()}
    own = "code_maps" if latent_dim is None else "latent"
    assert names == {"curves", "noise", "random_codes", "reconstructions", "stability", own}
    found = json.loads((workdir / "results.json").read_text())
    assert found["unchanged_at_0"] == 1
    assert 0 <= found["unchanged_at_0.5"] <= 1
    assert run.encode(np.zeros((3, 28, 28, 1), np.uint8)).shape == (3, latent_dim or 128)
    opened = aejax.load_run(workdir)
    assert opened.config.latent_dim == latent_dim
    with pytest.raises(aejax.UsageError, match="has no prior to sample from"):
        opened.sample(jax.random.key(0), 1)


@pytest.mark.slow
def test_images_without_labels_leave_what_needs_none(tmp_path):
    config = conv_autoencoder.Config(dataset="photos", epochs=1, workdir=str(tmp_path / "r"))
    aejax.run(config)
    assert not (tmp_path / "r" / "results.json").exists()
    names = {path.stem for path in (tmp_path / "r" / "figures").iterdir()}
    assert names == {"code_maps", "curves", "noise", "random_codes", "reconstructions"}
