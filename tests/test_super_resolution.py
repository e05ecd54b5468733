"""Super-resolution: sizes, sub-pixel order, interpolation against another library, the script."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio
from specs import image_spec, shapes_of

import aejax
from aejax.evaluation.interpolation import enlarged
from aejax.experiments import super_resolution
from aejax.nets.superres import Bottleneck, Residual, depth_to_space


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("factor", [2, 4])
def test_the_lessons_parameters(factor):
    model = super_resolution.Config(factor=factor).model(image_spec())
    assert size(shapes_of(model)) == 3801


@pytest.mark.parametrize("factor", [2, 4])
def test_the_bottleneck_is_four_by_four(factor):
    """The encoder pools no further than the decoder's grid, whatever the factor."""
    network = Bottleneck((28, 28, 1), factor)
    small = jnp.zeros((2, 28 // factor, 28 // factor, 1))

    def intermediates(small):
        variables = network.init(jax.random.key(1), small)
        return network.apply(variables, small, capture_intermediates=True)

    _, state = jax.eval_shape(intermediates, small)
    (code,) = state["intermediates"]["PoolEncoder_0"]["__call__"]
    assert code.shape == (2, 4 * 4 * 8)


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


@pytest.mark.slow
@pytest.mark.parametrize("net", ["bottleneck", "residual"])
def test_it_trains_and_compares(net, tmp_path, few_images):
    config = super_resolution.Config(
        net=net, epochs=1, factor=4, devices=1, workdir=str(tmp_path / "r")
    )
    run = aejax.run(config)
    names = {path.stem for path in (tmp_path / "r" / "figures").iterdir()}
    assert names == {"curves", "from_noise", "super_resolution"}
    assert (tmp_path / "r" / "results.json").exists()
    assert run.reconstruct(np.zeros((2, 28, 28, 1), np.uint8)).shape == (2, 28, 28, 1)


@pytest.mark.parametrize("net", ["bottleneck", "residual"])
@pytest.mark.slow
def test_colour_from_end_to_end(net, tmp_path, few_images, capsys):
    config = super_resolution.Config(
        dataset="photos", net=net, factor=4, epochs=3, batch_size=64, workdir=str(tmp_path / "r")
    )
    run = aejax.run(config)
    losses = [record["loss"] for record in run.history if record["split"] == "test"]
    assert losses[-1] < losses[0]
    assert run.reconstruct(np.zeros((2, 32, 32, 3), np.uint8)).shape == (2, 32, 32, 3)
    found = json.loads((tmp_path / "r" / "results.json").read_text())
    assert found["psnr_bilinear"] > found["psnr_nearest"]
    assert super_resolution.verdict(found) in capsys.readouterr().out


@pytest.mark.parametrize("wins", [True, False])
def test_it_says_which_is_better(wins):
    model, bicubic = (31.0, 30.5) if wins else (28.0, 30.5)
    found = {"psnr_model": model, "psnr_bicubic": bicubic, "psnr_over_bicubic": model - bicubic}
    found |= {"share_over_bicubic": 0.25, "ssim_model": 0.9, "ssim_bicubic": 0.8}
    said = super_resolution.verdict(found)
    assert said.startswith("the model beats bicubic" if wins else "bicubic beats the model")
    assert "better on 25% of the images" in said


def test_psnr_is_scikit_images_and_finite_for_an_exact_image():
    images = np.random.default_rng(0).uniform(size=(3, 12, 12, 3)).astype(np.float32)
    restored = np.clip(images + np.float32(0.05), 0, 1)
    restored[1] = images[1]
    got = super_resolution.decibels(images, restored)
    assert got[1] == 100
    for i in (0, 2):
        expected = peak_signal_noise_ratio(images[i], restored[i], data_range=1)
        np.testing.assert_allclose(got[i], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((30, 28, 1), "--factor 4 does not divide the sides of 30x28 images"),
        ((8, 8, 3), "images of 8x8 are smaller than SSIM's 11x11 window"),
    ],
)
def test_images_that_do_not_fit_are_one_line(shape, message):
    with pytest.raises(ValueError, match=message):
        super_resolution.Config(factor=4).model(image_spec(shape))


def test_the_bottleneck_needs_sides_that_come_back():
    with pytest.raises(ValueError, match="images of 22x22 do not come back from 3 poolings"):
        super_resolution.Config().model(image_spec((22, 22, 1)))
    super_resolution.Config(net="residual").model(image_spec((22, 22, 1)))
