"""Every public formula with arguments that it takes: (function, arrays), by name."""

from functools import partial

import jax
import numpy as np

from aejax import (
    aggregate_posterior,
    bounds,
    corruptions,
    dequantization,
    divergences,
    estimators,
    latents,
    likelihoods,
    metrics,
    penalties,
    priors,
)

_RNG = np.random.default_rng(0)
KEY = np.asarray(jax.random.key_data(jax.random.key(0)))


def normal(*shape):
    return _RNG.normal(size=shape).astype(np.float32)


def levels(*shape):
    return (_RNG.integers(0, 256, shape) / 255).astype(np.float32)


def keyed(function):
    """The function, of a key's data."""
    return lambda data, *rest: function(jax.random.wrap_key_data(data), *rest)


def gaussian(mean, log_sigma):
    return latents.DiagonalGaussian(mean, log_sigma)


PICTURES = levels(4, 12, 12, 1)
RATIO, X, Z = normal(3, 4), levels(4, 5), normal(4, 3)
BY_LIKELIHOOD = {
    "bernoulli_log_prob": (likelihoods.bernoulli_log_prob, normal(4, 5), X),
    "continuous_bernoulli_log_prob": (likelihoods.continuous_bernoulli_log_prob, normal(4, 5), X),
    "gaussian_log_prob": (likelihoods.gaussian_log_prob, normal(4, 5), normal(4, 5), X),
    "gaussian_per_pixel_log_prob": (likelihoods.gaussian_per_pixel_log_prob, normal(4, 10), X),
    "gaussian_optimal_log_prob": (likelihoods.gaussian_optimal_log_prob, normal(4, 5), X),
    "laplace_log_prob": (likelihoods.laplace_log_prob, normal(4, 5), normal(4, 5), X),
    "categorical_log_prob": (likelihoods.categorical_log_prob, normal(4, 2 * 256), levels(4, 2)),
    "logistic_mixture_log_prob": (
        likelihoods.logistic_mixture_log_prob,
        normal(4, 5, 6),
        levels(4, 5, 1),
    ),
    "token_log_prob": (
        likelihoods.token_log_prob,
        normal(4, 5, 7),
        _RNG.integers(0, 7, (4, 5)).astype(np.int32),
    ),
}
BY_LATENT = {
    "gaussian_kl": (divergences.gaussian_kl, Z, normal(4, 3)),
    "gaussian_kl_per_dimension": (divergences.gaussian_kl_per_dimension, Z, normal(4, 3)),
    "gaussian_kl_between": (divergences.gaussian_kl_between, *(normal(4, 3) for _ in range(4))),
    "DiagonalGaussian.log_prob": (
        lambda z, *of: gaussian(*of).log_prob(z),
        Z,
        normal(4, 3),
        normal(4, 3),
    ),
    "DiagonalGaussian.kl": (
        lambda *of: gaussian(*of[:2]).kl(gaussian(*of[2:])),
        *(normal(4, 3) for _ in range(4)),
    ),
    "DiagonalMixture.log_prob": (
        lambda z, logits, *of: priors.DiagonalMixture(logits, gaussian(*of)).log_prob(z),
        Z,
        normal(2),
        normal(2, 3),
        normal(2, 3),
    ),
}
BY_BOUND = {
    "elbo": (bounds.elbo, RATIO),
    "iwae_bound": (bounds.iwae_bound, RATIO),
    "miwae_bound": (partial(bounds.miwae_bound, groups=3), RATIO),
    "ciwae_bound": (partial(bounds.ciwae_bound, beta=0.3), RATIO),
    "renyi_bound": (partial(bounds.renyi_bound, alpha=0.5), RATIO),
    "importance_weights": (estimators.importance_weights, RATIO),
    "miwae_weights": (partial(estimators.miwae_weights, groups=3), RATIO),
    "two_gradient_bound": (estimators.two_gradient_bound, RATIO, RATIO, abs(RATIO)),
    "scaled_gradient": (estimators.scaled_gradient, normal(3, 4, 2), RATIO),
}
BY_PAIR = {
    "squared_mmd": (
        lambda x, y: divergences.squared_mmd(x, y, divergences.rbf(1.0)),
        Z,
        normal(4, 3),
    ),
    "squared_mmd of inverse_multiquadric": (
        lambda x, y: divergences.squared_mmd(x, y, divergences.inverse_multiquadric(2.0)),
        Z,
        normal(4, 3),
    ),
    "median_distance": (divergences.median_distance, Z, normal(4, 3)),
    "aggregate_log_probs": (
        lambda z, *of: aggregate_posterior.aggregate_log_probs(z, gaussian(*of), 20),
        Z,
        normal(4, 3),
        normal(4, 3),
    ),
    "GaussianMixture.log_prob": (
        lambda z, mean, factor: latents.GaussianMixture(mean, factor).log_prob(z),
        Z,
        normal(2, 3),
        np.eye(3, dtype=np.float32)[None] + 0.1 * normal(2, 3, 3),
    ),
    "activity": (penalties.activity, Z),
    "sigmoid_contraction": (penalties.sigmoid_contraction, Z, normal(5, 3)),
    "contraction": (
        lambda data, x: penalties.contraction(
            lambda x: x[:, :2] ** 2, x, jax.random.wrap_key_data(data)
        ),
        KEY,
        Z,
    ),
}
BY_IMAGE = {
    "squared_error_per_pixel": (metrics.squared_error_per_pixel, PICTURES, PICTURES[::-1]),
    "psnr": (metrics.psnr, PICTURES, PICTURES[::-1]),
    "ssim": (metrics.ssim, PICTURES, PICTURES[::-1]),
    "bits_per_dim": (partial(metrics.bits_per_dim, num_dims=5), normal(4)),
}
BY_DRAW = {
    "reparameterize": (keyed(latents.reparameterize), KEY, Z, normal(4, 3)),
    "DiagonalGaussian.samples": (
        keyed(lambda key, *of: gaussian(*of).samples(key, 2)),
        KEY,
        Z,
        normal(4, 3),
    ),
    "gaussian_noise": (keyed(corruptions.gaussian_noise), KEY, X),
    "salt_and_pepper": (keyed(corruptions.salt_and_pepper), KEY, X),
    "masking": (keyed(corruptions.masking), KEY, X),
    "dequantize": (keyed(dequantization.dequantize), KEY, X),
}
FORMULAS = BY_LIKELIHOOD | BY_LATENT | BY_BOUND | BY_PAIR | BY_IMAGE
PIECES = FORMULAS | BY_DRAW
