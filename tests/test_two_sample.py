"""Two-sample tests: their statistics against other code, their nulls against what they promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from aejax.divergences import rbf
from aejax.divergences import squared_mmd as mmd
from aejax.evaluation import two_sample
from aejax.latents import gaussian_ring

CLASSIFIERS = {
    two_sample.quadratic_accuracy: make_pipeline(
        PolynomialFeatures(2), StandardScaler(), RidgeClassifier()
    ),
    two_sample.neighbours_accuracy: KNeighborsClassifier(5),
}


def samples(n=300, m=200, dim=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dim)), rng.normal(size=(m, dim)), rng


def differences(x, y, rng, **others):
    statistics = two_sample.usual_statistics({"rbf": rbf(1.0)})
    return two_sample.permutation_tests(statistics, x, y, rng, **others)


def test_the_mmd_of_every_division_is_the_unbiased_estimate():
    x, y, rng = samples()
    rows = np.concatenate([x, y]).astype(np.float32)
    divisions = np.stack([rng.permutation(500) < 300 for _ in range(3)], axis=1)
    found = two_sample.squared_mmd(rbf(1.0))(rows, divisions.astype(np.float32))
    for value, first in zip(found, divisions.T, strict=True):
        expected = mmd(jnp.asarray(rows[first]), jnp.asarray(rows[~first]), rbf(1.0))
        assert value == pytest.approx(float(expected), abs=2e-6)


@pytest.mark.parametrize("accuracy", CLASSIFIERS, ids=("quadratic", "neighbours"))
def test_the_accuracies_are_scikit_learns(accuracy):
    x, y, _ = samples()
    rows, first = np.concatenate([1.5 * x, y]), np.arange(500) < 300
    folds = KFold(5, shuffle=True, random_state=0)
    expected = cross_val_score(CLASSIFIERS[accuracy], rows, first, cv=folds).mean()
    found = accuracy(rows, first[:, None].astype(np.float32))
    assert found[0] == pytest.approx(expected, abs=0.003)


def test_moments_of_the_samples_themselves():
    x, y, rng = samples()
    found = differences(x, y, rng, permutations=2)
    assert found["mean_off_by"].value == pytest.approx(np.abs(x.mean(0) - y.mean(0)).mean())
    assert found["deviation_off_by"].value == pytest.approx(np.abs(x.std(0) - y.std(0)).mean())


def test_p_values_of_one_distribution_are_uniform():
    """Kolmogorov's test of the p-values of forty pairs, for each statistic."""
    found = [
        {
            name: t.p_value
            for name, t in differences(*samples(60, 60, seed=seed), permutations=40).items()
        }
        for seed in range(40)
    ]
    for name in found[0]:
        # Accuracies are coarse, with ties that make the p-values larger: never smaller.
        kind = "two-sided" if "accuracy" not in name else "greater"
        assert stats.kstest([f[name] for f in found], "uniform", alternative=kind).pvalue > 1e-3


def test_a_deviation_that_is_off_is_seen_by_its_own_statistic():
    x, y, rng = samples(1000, 1000)
    found = differences(1.15 * x, y, rng)
    for name in ("deviation_off_by", "two_sample_accuracy_quadratic"):
        assert found[name].value > found[name].quantile
        assert found[name].p_value < 0.05
    assert found["mean_off_by"].p_value > 0.05


def test_the_neighbours_and_the_mmd_see_what_covariances_do_not():
    key, other = jax.random.split(jax.random.key(0))
    ring = np.asarray(gaussian_ring().samples(key, 500))
    normal = np.asarray(jax.random.normal(other, (500, 2))) * ring.std(axis=0)
    found = differences(ring, normal, np.random.default_rng(0))
    for name in ("two_sample_accuracy_neighbours", "mmd2_rbf"):
        assert found[name].value > 2 * found[name].quantile - 0.5
        assert found[name].p_value == pytest.approx(1 / 201)


def test_many_dimensions_are_classified_without_their_products():
    x, y, rng = samples(200, 200, dim=30)
    found = differences(x + 1, y, rng, permutations=20)
    assert found["two_sample_accuracy_quadratic"].value > 0.9
