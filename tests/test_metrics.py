"""Image metrics against scikit-image, the others against arithmetic."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from aejax.metrics import bits_per_dim, psnr, squared_error_per_pixel, ssim

PER_IMAGE = [squared_error_per_pixel, psnr, ssim]


def pair(shape, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=shape)
    return x, np.clip(x + 0.2 * rng.normal(size=shape), 0, 1)


@pytest.mark.parametrize("shape", [(3, 11, 11, 1), (2, 17, 32, 3)])
def test_per_image_metrics_equal_scikit_image(shape):
    x, y = pair(shape)
    given = jnp.asarray(x), jnp.asarray(y)
    got = {f: f(*given) for f in PER_IMAGE}
    chex.assert_shape(list(got.values()), shape[:1])
    chex.assert_tree_all_finite(list(got.values()))
    for i, (a, b) in enumerate(zip(x, y, strict=True)):
        np.testing.assert_allclose(
            got[squared_error_per_pixel][i], mean_squared_error(a, b), rtol=1e-5
        )
        expected = peak_signal_noise_ratio(a, b, data_range=1)
        np.testing.assert_allclose(got[psnr][i], expected, rtol=1e-5)
        _, similarity = structural_similarity(
            a,
            b,
            data_range=1,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        expected = similarity[5:-5, 5:-5].mean()  # where the whole window lies in the image
        np.testing.assert_allclose(got[ssim][i], expected, rtol=1e-4)


def test_psnr_of_a_known_error():
    x = jnp.zeros((2, 4, 5, 3))
    y = jnp.stack([jnp.full((4, 5, 3), 0.1), jnp.full((4, 5, 3), 0.01)])
    np.testing.assert_allclose(psnr(x, y), [20, 40], rtol=1e-5)


def test_equal_images():
    x = jnp.asarray(pair((2, 12, 12, 1))[0])
    chex.assert_trees_all_equal(squared_error_per_pixel(x, x), jnp.zeros(2))
    chex.assert_trees_all_equal(psnr(x, x), jnp.full(2, jnp.inf))
    np.testing.assert_allclose(ssim(x, x), [1, 1], rtol=1e-6)


def test_ssim_of_flat_images_is_the_luminance_term():
    c1 = 0.01**2
    expected = (2 * 0.25 * 0.75 + c1) / (0.25**2 + 0.75**2 + c1)
    with jax.enable_x64(True):
        x, y = jnp.full((1, 11, 11, 1), 0.25), jnp.full((1, 11, 11, 1), 0.75)
        np.testing.assert_allclose(ssim(x, y), [expected], rtol=1e-9)


def test_ssim_of_a_negative_is_negative():
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 16, 16, 1)))
    assert ssim(x, 1 - x)[0] < 0


@pytest.mark.parametrize("f", PER_IMAGE)
def test_per_image_metrics_are_symmetric(f):
    x, y = map(jnp.asarray, pair((2, 12, 13, 3)))
    chex.assert_trees_all_close(f(x, y), f(y, x), rtol=1e-5)


@pytest.mark.parametrize("f", PER_IMAGE)
def test_check_grads(f):
    with jax.enable_x64(True):
        x, y = map(jnp.asarray, pair((1, 11, 12, 1)))
        check_grads(jax.jit(f), (x, y), 1, modes=("fwd", "rev"))


@pytest.mark.parametrize("f", PER_IMAGE)
def test_jit_and_vmap_change_nothing(f):
    x, y = map(jnp.asarray, pair((4, 12, 12, 1)))
    expected = f(x, y)
    chex.assert_trees_all_close(jax.jit(f)(x, y), expected, rtol=1e-5)
    pairs = [a.reshape(2, 2, 12, 12, 1) for a in (x, y)]
    chex.assert_trees_all_close(jax.vmap(f)(*pairs), expected.reshape(2, 2), rtol=1e-5)


@pytest.mark.parametrize("f", PER_IMAGE)
@pytest.mark.parametrize("shape", [(12, 12, 1), (3, 12, 12, 1), (2, 12, 12, 3), (2, 144)])
def test_differing_shapes_raise(f, shape):
    x = jnp.zeros((2, 12, 12, 1))
    with pytest.raises(
        ValueError, match=r"x \(2, 12, 12, 1\) and y .* must both be \[B, H, W, C\]"
    ):
        f(x, jnp.zeros(shape))
    with pytest.raises(ValueError, match=r"x \(2, 144\) and y \(2, 144\)"):
        f(jnp.zeros((2, 144)), jnp.zeros((2, 144)))


@pytest.mark.parametrize("side", [(10, 12), (12, 8)])
def test_ssim_needs_room_for_its_window(side):
    x = jnp.zeros((1, *side, 1))
    with pytest.raises(ValueError, match=rf"images of {side[0]}x{side[1]} .* 11x11"):
        ssim(x, x)


def test_bits_per_dim():
    """784 fair coins cost one bit each."""
    nats = jnp.array([784 * np.log(2), 0.0])
    got = bits_per_dim(nats, 784)
    chex.assert_shape(got, (2,))
    np.testing.assert_allclose(got, [1, 0], rtol=1e-6)
    chex.assert_trees_all_close(jax.jit(bits_per_dim)(nats, 784), got, rtol=1e-6)
