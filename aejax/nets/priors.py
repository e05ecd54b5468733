"""Priors with parameters of their own, as modules: called with `encode`, they give p(z)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from aejax.latents import DiagonalGaussian
from aejax.priors import DiagonalMixture, vamp_prior


class MixturePrior(nn.Module):
    """A learned mixture of diagonal Gaussians, which begins as draws of N(0, I) for means."""

    components: int
    latent_dim: int

    @nn.compact
    def __call__(self, encode: Any) -> DiagonalMixture:
        shape = (self.components, self.latent_dim)
        mean = self.param("mean", nn.initializers.normal(1.0), shape)
        log_sigma = self.param("log_sigma", nn.initializers.zeros, shape)
        logits = self.param("logits", nn.initializers.zeros, shape[:1])
        return DiagonalMixture(logits, DiagonalGaussian(mean, log_sigma))


class ClassMixturePrior(nn.Module):
    """p(z|y): a `MixturePrior` for each class, in arrays with the classes as their first axis."""

    classes: int
    components: int
    latent_dim: int

    @nn.compact
    def __call__(self) -> DiagonalMixture:
        shape = (self.classes, self.components, self.latent_dim)
        mean = self.param("mean", nn.initializers.normal(1.0), shape)
        log_sigma = self.param("log_sigma", nn.initializers.zeros, shape)
        logits = self.param("logits", nn.initializers.zeros, shape[:2])
        return DiagonalMixture(logits, DiagonalGaussian(mean, log_sigma))


class VampPrior(nn.Module):
    """An equal mixture of the posteriors of learned inputs (Tomczak & Welling 2018).

    The images are sigmoids of the parameters, which keeps them in [0, 1] with a gradient
    everywhere; the paper clips instead.
    """

    components: int
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, encode: Callable[[jax.Array], DiagonalGaussian]) -> DiagonalMixture:
        shape = (self.components, *self.shape)
        pseudo_inputs = self.param("pseudo_inputs", nn.initializers.normal(1.0), shape)
        return vamp_prior(encode, jax.nn.sigmoid(pseudo_inputs))
