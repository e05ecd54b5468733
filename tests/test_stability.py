"""No NaN where the mathematics is finite: formulas over shapes, types and extreme values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from aejax import bounds
from aejax.divergences import gaussian_kl, gaussian_kl_between
from aejax.latents import DiagonalGaussian

DTYPES = [pytest.param(jnp.float32, marks=pytest.mark.slow), jnp.bfloat16]  # the coarser is quick
QUICK = settings(max_examples=10, deadline=None, derandomize=True)


def values(low, high, shape):
    elements = st.floats(low, high, width=32, allow_subnormal=False)
    return arrays.arrays(np.float32, shape, elements=elements)


SHAPES = st.sampled_from([(1, 1), (3, 2), (2, 5)])
MEANS_AND_SCALES = SHAPES.flatmap(lambda s: st.tuples(values(-1e4, 1e4, s), values(-30, 30, s)))


def finite(function, *args):
    value, grads = jax.value_and_grad(lambda *a: function(*a).sum(), argnums=range(len(args)))(
        *args
    )
    leaves = [value, *jax.tree.leaves(grads)]
    assert all(np.isfinite(np.asarray(leaf, np.float32)).all() for leaf in leaves), (value, args)


@pytest.mark.parametrize("dtype", DTYPES)
@QUICK
@given(pair=MEANS_AND_SCALES)
def test_kl_to_the_prior(dtype, pair):
    mean, log_sigma = (jnp.asarray(a, dtype) for a in pair)
    finite(gaussian_kl, mean, log_sigma)
    # Not negative but for rounding, which is relative to the largest of the terms.
    terms = jnp.maximum(mean**2, jnp.exp(2 * log_sigma)).sum(axis=-1) + 60
    assert (gaussian_kl(mean, log_sigma) >= -jnp.finfo(dtype).eps * 8 * terms).all()


@QUICK
@given(pair=MEANS_AND_SCALES)
def test_kl_of_a_gaussian_to_itself_is_zero(pair):
    mean, log_sigma = map(jnp.asarray, pair)
    np.testing.assert_array_equal(gaussian_kl_between(mean, log_sigma, mean, log_sigma), 0)


@pytest.mark.parametrize("dtype", DTYPES)
@QUICK
@given(pair=SHAPES.flatmap(lambda s: st.tuples(values(-1e3, 1e3, s), values(-15, 15, s))))
def test_log_density_and_draws(dtype, pair):
    mean, log_sigma = (jnp.asarray(a, dtype) for a in pair)

    def at_a_draw(mean, log_sigma):
        q = DiagonalGaussian(mean, log_sigma)
        return q.log_prob(q.sample(jax.random.key(0)))

    finite(at_a_draw, mean, log_sigma)


@pytest.mark.parametrize("dtype", DTYPES)
@QUICK
@given(log_weights=SHAPES.flatmap(lambda s: values(-1e6, 1e6, s)))
def test_bounds(dtype, log_weights):
    weights = jnp.asarray(log_weights, dtype)
    for bound in (
        bounds.elbo,
        bounds.iwae_bound,
        lambda w: bounds.renyi_bound(w, 0.5),
        lambda w: bounds.renyi_bound(w, 2.0),
        lambda w: bounds.ciwae_bound(w, 0.3),
    ):
        finite(bound, weights)
    greatest = np.asarray(weights, np.float64).max(axis=0)
    slack = float(jnp.finfo(dtype).eps) * (np.abs(greatest) + 10)
    assert (np.asarray(bounds.iwae_bound(weights), np.float64) <= greatest + slack).all()
