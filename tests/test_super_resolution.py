"""Super-resolution: sizes, sub-pixel order, interpolation against another library, the script."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import aejax
from aejax.evaluation.interpolation import enlarged
from aejax.experiments import super_resolution
from aejax.nets.superres import Bottleneck, Residual, depth_to_space


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_the_lessons_parameters():
    recipe = super_resolution.Config().build((28, 28, 1))
    params = jax.eval_shape(recipe.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    assert size(params) == 3801


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 64, 3)])
def test_sizes(shape, factor):
    height, width, channels = shape
    small = jnp.ones((2, height // factor, width // factor, channels))
    for net in (Bottleneck(shape, factor), Residual(factor)):
        out, _ = jax.eval_shape(net.init_with_output, jax.random.key(0), small)
        assert out.shape == (2, *shape)


def test_a_new_residual_network_is_bilinear():
    small = jax.random.uniform(jax.random.key(0), (2, 7, 7, 3))
    out, _ = Residual(2).init_with_output(jax.random.key(1), small)
    np.testing.assert_allclose(out, jax.image.resize(small, (2, 14, 14, 3), "bilinear"), atol=1e-6)


def test_channels_become_pixels_in_reading_order():
    x = jnp.arange(8.0).reshape(1, 1, 1, 8)
    np.testing.assert_array_equal(depth_to_space(x, 2)[0], [[[0, 1], [2, 3]], [[4, 5], [6, 7]]])


def test_linear_enlargement_is_scipys():
    small = np.random.default_rng(0).uniform(size=(1, 6, 5, 1)).astype(np.float32)
    places = np.mgrid[0:12, 0:10] / 2 - 0.25  # the centres of the new pixels
    expected = ndimage.map_coordinates(small[0, ..., 0], places, order=1, mode="nearest")
    ways = enlarged(small, 2)
    np.testing.assert_allclose(ways["bilinear"][0, ..., 0], expected, atol=1e-5)
    np.testing.assert_array_equal(
        ways["nearest"][0, ..., 0], np.kron(small[0, ..., 0], np.ones((2, 2)))
    )


@pytest.mark.parametrize("net", ["bottleneck", "residual"])
def test_it_trains_and_compares(net, tmp_path):
    config = super_resolution.Config(net=net, epochs=1, factor=4, workdir=str(tmp_path / "r"))
    run = aejax.run(config)
    names = {path.stem for path in (tmp_path / "r" / "figures").iterdir()}
    assert names == {"curves", "from_noise", "super_resolution"}
    assert (tmp_path / "r" / "results.json").exists()
    assert run.reconstruct(np.zeros((2, 28, 28, 1), np.uint8)).shape == (2, 28, 28, 1)


def test_colour_trains():
    """A step on colour images; the loss falls."""
    from aejax.training.loop import fit
    from aejax.training.state import TrainState

    ramps = np.linspace(0, 255, 32 * 32 * 3).reshape(1, 32, 32, 3)
    images = np.concatenate([ramps, ramps[:, ::-1], ramps[:, :, ::-1]] * 8).astype(np.uint8)
    data = aejax.ImageDataset(images, np.zeros(24, np.int32), (), "ramps")
    recipe = super_resolution.Config(net="residual", factor=4).build((32, 32, 3))
    params = recipe.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    state = TrainState.create(params, recipe.optimizer, jax.random.key(1))
    _, history = fit(state, recipe.loss_fn, recipe.optimizer, data, epochs=3, batch_size=8)
    assert history[-1]["loss"] < history[0]["loss"]


def test_a_factor_that_does_not_divide_is_one_line():
    with pytest.raises(ValueError, match="--factor 4 does not divide the sides of 30x28 images"):
        super_resolution.Config(factor=4).build((30, 28, 1))
