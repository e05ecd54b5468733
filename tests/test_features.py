"""Distances by features against scipy's matrix root, a double loop and closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from aejax.evaluation.features import fingerprint, frechet_distance, kernel_distance

RNG = np.random.default_rng(0)


def test_frechet_distance_is_that_of_scipys_root():
    x = RNG.normal(size=(300, 5)) @ RNG.normal(size=(5, 5))
    y = RNG.normal(size=(200, 5)) @ RNG.normal(size=(5, 5)) + 1
    c, d = np.cov(x.T), np.cov(y.T)
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(c + d - 2 * linalg.sqrtm(c @ d).real)
    np.testing.assert_allclose(frechet_distance(x, y), expected, rtol=1e-8)
    np.testing.assert_allclose(frechet_distance(x, x), 0, atol=1e-8)


def test_frechet_distance_of_a_shift_and_a_scale_is_known():
    x = RNG.normal(size=(500, 3))
    np.testing.assert_allclose(frechet_distance(x, x + 2.0), 12.0, rtol=1e-8)
    spread = np.trace(np.cov(x.T))
    apart = np.sum(x.mean(0) ** 2)
    np.testing.assert_allclose(frechet_distance(x, 2 * x), spread + apart, rtol=1e-8)


def test_frechet_distance_where_features_are_constant():
    x = np.concatenate([RNG.normal(size=(50, 2)), np.zeros((50, 2))], axis=1)
    assert np.isfinite(frechet_distance(x, x + 1))


def test_kernel_distance_is_a_double_loop():
    x, y = RNG.normal(size=(6, 4)), RNG.normal(size=(5, 4)) + 0.5

    def k(a, b):
        return (a @ b / 4 + 1) ** 3

    def within(a):
        return np.mean([k(a[i], a[j]) for i in range(len(a)) for j in range(len(a)) if i != j])

    expected = within(x) + within(y) - 2 * np.mean([k(a, b) for a in x for b in y])
    np.testing.assert_allclose(kernel_distance(x, y), expected, rtol=1e-10)


def test_kernel_distance_is_without_bias():
    values = [
        kernel_distance(RNG.normal(size=(20, 3)), RNG.normal(size=(30, 3))) for _ in range(400)
    ]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20


def test_a_fingerprint_tells_parameters_apart():
    params = {"a": jnp.arange(3.0), "b": {"c": jnp.ones((2, 2))}}
    assert fingerprint(params) == fingerprint({"b": {"c": jnp.ones((2, 2))}, "a": jnp.arange(3.0)})
    assert fingerprint(params) != fingerprint(params | {"a": jnp.arange(3.0) + 1e-6})
    assert len(fingerprint(params)) == 12


def test_bad_input_is_one_line():
    with pytest.raises(ValueError, match=r"\(1, 3\) and \(5, 3\) are not"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"\(5, 3\) and \(5, 4\) are not"):
        kernel_distance(np.zeros((5, 3)), np.zeros((5, 4)))
