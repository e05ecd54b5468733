"""What all likelihoods promise: shapes, the support, transforms, and finite numbers at extremes."""

import functools

import chex
import hypothesis
import hypothesis.extra.numpy as npst
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from aejax import likelihoods
from aejax.likelihoods.likelihood import require_levels, require_unit_interval

BUILDERS = {
    "bernoulli": likelihoods.bernoulli,
    "continuous_bernoulli": likelihoods.continuous_bernoulli,
    "gaussian": lambda: likelihoods.gaussian(0.3),
    "gaussian_per_pixel": likelihoods.gaussian_per_pixel,
    "gaussian_optimal": likelihoods.gaussian_optimal,
    "laplace": lambda: likelihoods.laplace(0.3),
    "categorical": likelihoods.categorical,
    "logistic_mixture": lambda: likelihoods.logistic_mixture(2),
}
ON_LEVELS = ("categorical", "logistic_mixture")
BOUNDED = ("bernoulli", "continuous_bernoulli", *ON_LEVELS)
EXTREMES = [0.0, 1e-30, -1e-6, 0.49, -0.5, 1.0, -30.0, 100.0, 1e4, -1e4]


SHAPE = (4, 3, 2, 1)

of_all = pytest.mark.parametrize("name", BUILDERS)


def outputs_and_x(name, shape=SHAPE):
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(*shape[:-1], BUILDERS[name]().channels(shape[-1])))
    x = rng.integers(0, 256, shape) / np.float32(255)
    return outputs.astype(np.float32), x.astype(np.float32)


@functools.cache
def compiled_log_prob(name):
    return jax.jit(BUILDERS[name]().log_prob)


@functools.cache
def compiled(name):
    """(outputs, x) -> the gradient by outputs, the log-probabilities and the means, compiled."""
    likelihood = BUILDERS[name]()

    def total(outputs, x):
        rows = likelihood.log_prob(outputs, x)
        return jnp.sum(rows), (rows, likelihood.mean(outputs))

    return jax.jit(jax.grad(total, has_aux=True))


@of_all
@pytest.mark.parametrize("channels", [1, 3])
def test_outputs_and_data_give_a_row_an_image_and_images_back(name, channels):
    likelihood = BUILDERS[name]()
    shape = (3, 2, 1, channels)
    outputs, x = outputs_and_x(name, shape)
    rows = jax.eval_shape(likelihood.log_prob, outputs, x)
    mean = jax.eval_shape(likelihood.mean, outputs)
    chex.assert_shape((rows, mean), [(3,), shape])
    if name != "gaussian_optimal":
        drawn = jax.jit(likelihood.sample)(jax.random.key(1), outputs)
        chex.assert_shape(drawn, shape)
        assert np.isfinite(compiled_log_prob(name)(outputs, drawn)).all()


@of_all
def test_images_do_not_touch_each_other(name):
    outputs, x = outputs_and_x(name)
    log_prob = compiled_log_prob(name)
    alone = [log_prob(outputs[i : i + 1], x[i : i + 1])[0] for i in range(4)]
    np.testing.assert_allclose(log_prob(outputs, x), alone, rtol=1e-5)
    outputs[3], x[3] = 1e4, 0
    np.testing.assert_allclose(log_prob(outputs, x)[:3], alone[:3], rtol=1e-5)


@of_all
def test_jit_and_vmap_change_nothing(name):
    outputs, x = outputs_and_x(name)
    log_prob = BUILDERS[name]().log_prob
    expected = log_prob(outputs, x)
    np.testing.assert_allclose(compiled_log_prob(name)(outputs, x), expected, rtol=1e-5)
    pairs = [a.reshape(2, 2, *a.shape[1:]) for a in (outputs, x)]
    vmapped = jax.vmap(compiled_log_prob(name))(*pairs)
    np.testing.assert_allclose(vmapped, expected.reshape(2, 2), rtol=1e-5)


@of_all
def test_wrong_shapes_are_one_line_with_both(name):
    outputs, x = outputs_and_x(name)
    for wrong in (outputs[:3], outputs[:, 0], outputs[..., :0], outputs.reshape(4, 1, 6, -1)):
        with pytest.raises(ValueError, match=r"\(4, 3, 2, 1\)") as error:
            BUILDERS[name]().log_prob(wrong, x)
        assert str(wrong.shape) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", BOUNDED)
def test_data_outside_the_support_are_refused_where_they_are_at_hand(name):
    outputs, x = outputs_and_x(name)
    log_prob = BUILDERS[name]().log_prob
    for wrong, spans in ((255 * x, r"\[\d.*, 2\d\d\]"), (2 * x - 1, r"\[-0\.\d+, [01][.\d]*\]")):
        for as_given in (wrong, jnp.asarray(wrong)):
            with pytest.raises(ValueError, match=rf"x spans {spans} .*divide 8-bit images by 255"):
                log_prob(outputs, as_given)
        compiled_log_prob(name)(outputs, wrong)
        with pytest.raises(ValueError, match="x spans"):  # traced outputs hide no data
            jax.grad(lambda outputs, x=wrong: log_prob(outputs, x).sum())(outputs)
    x[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"x spans \[nan, nan\]"):
        log_prob(outputs, x)


@pytest.mark.parametrize("name", ON_LEVELS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_every_level_is_told_from_its_neighbours(name, dtype):
    outputs, _ = outputs_and_x(name, (1, 1, 1))
    outputs = np.tile(outputs, (256, 1, 1))
    x = (np.arange(256, dtype=np.float32) / 255).reshape(256, 1, 1)
    require_levels(x.astype(dtype))
    exact = compiled_log_prob(name)(outputs, x)
    np.testing.assert_array_equal(compiled_log_prob(name)(outputs, x.astype(dtype)), exact)
    np.testing.assert_allclose(np.exp(exact).sum(), 1, rtol=1e-5)


@pytest.mark.parametrize("name", ON_LEVELS)
def test_data_between_the_levels_are_refused(name):
    outputs, x = outputs_and_x(name)
    x[1, 2, 0, 0] = 0.5
    with pytest.raises(ValueError, match=r"x holds 0\.5, no multiple of 1/255: .*round"):
        BUILDERS[name]().log_prob(outputs, x)


@of_all
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@hypothesis.settings(max_examples=20, deadline=None, derandomize=True, database=None)
@hypothesis.given(data=st.data())
def test_numbers_are_finite_at_extremes(name, dtype, data):
    shape = data.draw(st.sampled_from([(1, 1), (2, 3, 1, 3)]))
    channels = BUILDERS[name]().channels(shape[-1])
    extremes = npst.arrays(np.float32, (*shape[:-1], channels), elements=st.sampled_from(EXTREMES))
    levels = npst.arrays(np.int32, shape, elements=st.sampled_from([0, 1, 128, 255]))
    outputs = data.draw(extremes).astype(dtype)
    x = (data.draw(levels) / 255).astype(dtype)
    slope, (rows, mean) = compiled(name)(outputs, x)
    chex.assert_tree_all_finite((slope, rows, mean))
    assert slope.dtype == dtype
    assert rows.dtype == jnp.float32


@pytest.mark.parametrize("name", [*BOUNDED, "gaussian", "laplace"])
def test_samples_at_extremes_are_finite_and_within_the_support(name):
    likelihood = BUILDERS[name]()
    shape = (50, 4, 2, likelihood.channels(3))
    outputs = np.random.default_rng(0).choice(np.float32(EXTREMES), shape)
    x = jax.jit(likelihood.sample)(jax.random.key(4), outputs)
    assert np.isfinite(x).all()
    if name in BOUNDED:
        require_unit_interval(x)
    if name in ON_LEVELS:
        require_levels(x)
