"""Probabilistic PCA as a latent variable model, of which everything is known."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from aejax.latents import LOG_2PI, DiagonalGaussian, standard_normal
from aejax.likelihoods import Likelihood
from aejax.models import Model
from aejax.models.decoding import log_prob


class LinearGaussian:
    """x = W z + b + sigma e, with z and e of N(0, I).

    The columns of W are orthogonal, so that the posterior is a diagonal Gaussian. `inflation`
    multiplies q's standard deviations: at 1, q(z|x) is the posterior.
    """

    def __init__(self, latent=2, observed=5, sigma=0.6, inflation=1.0):
        rng = np.random.default_rng(0)
        orthogonal = np.linalg.qr(rng.normal(size=(observed, latent)))[0]
        self.w = orthogonal * rng.uniform(0.7, 1.5, latent)
        self.b = rng.normal(size=observed)
        self.sigma, self.inflation, self.latent = sigma, inflation, latent
        self.params = {"w": jnp.float32(self.w), "b": jnp.float32(self.b)}

    @property
    def variables(self):
        return {"params": self.params}

    @property
    def model(self):
        likelihood = Likelihood(self.log_prob, lambda mean: mean, self.sample)

        def decode(variables, z, batch=None):
            return self.decode(variables["params"], z)

        def log_likelihood(variables, batch, z):
            return log_prob(likelihood, lambda z: decode(variables, z), batch["x"], z)

        return Model(
            init=lambda key, batch: self.variables,
            posterior=lambda variables, batch: self.encode(variables["params"], batch["x"]),
            prior=lambda variables, batch=None: standard_normal((self.latent,)),
            log_likelihood=log_likelihood,
            decode=decode,
            draw=lambda variables, key, z, batch=None: self.sample(key, decode(variables, z)),
            likelihood=likelihood,
        )

    def decode(self, params, z):
        return z @ params["w"].T + params["b"][None]

    def encode(self, params, x):
        variance = 1 / (1 + jnp.sum(params["w"] ** 2, axis=0) / self.sigma**2)
        mean = (x - params["b"][None]) @ params["w"] * variance[None] / self.sigma**2
        log_sigma = 0.5 * jnp.log(variance) + jnp.log(self.inflation)
        return DiagonalGaussian(mean, jnp.broadcast_to(log_sigma, mean.shape))

    def log_prob(self, mean, x):
        standardised = (x - mean) / self.sigma
        return jnp.sum(-0.5 * (standardised**2 + LOG_2PI) - jnp.log(self.sigma), axis=-1)

    def sample(self, key, mean):
        return mean + self.sigma * jax.random.normal(key, mean.shape)

    def data(self, count, seed=1):
        """`[count, observed]` draws of p(x)."""
        z, noise = (np.random.default_rng((seed, i)).normal(size=(count, n)) for i, n in self.sizes)
        return jnp.float32(z @ self.w.T + self.b + self.sigma * noise)

    @property
    def sizes(self):
        return enumerate((self.latent, len(self.b)))

    def log_marginal(self, x):
        """Exact log p(x), `[N]`, in float64."""
        covariance = self.w @ self.w.T + self.sigma**2 * np.eye(len(self.b))
        return stats.multivariate_normal(self.b, covariance).logpdf(np.asarray(x, np.float64))
