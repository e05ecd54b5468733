"""log p(x|z), one function per likelihood: the decoder's outputs and x in, nats `[B]` out.

Every log-probability is summed over all axes but the first. Outputs and data must fit in shape:
broadcasting `[B, 784]` against `[B, 28, 28, 1]` is an error here, not a number. Data outside the
support are an error too where they are at hand; inside `jax.jit` there is nothing to look at.
"""

from aejax.likelihoods.bernoulli import bernoulli, bernoulli_log_prob
from aejax.likelihoods.categorical import categorical, categorical_log_prob
from aejax.likelihoods.continuous_bernoulli import (
    continuous_bernoulli,
    continuous_bernoulli_log_prob,
)
from aejax.likelihoods.gaussian import (
    gaussian,
    gaussian_learned,
    gaussian_log_prob,
    gaussian_optimal,
    gaussian_optimal_log_prob,
    gaussian_per_pixel,
    gaussian_per_pixel_log_prob,
)
from aejax.likelihoods.laplace import laplace, laplace_log_prob
from aejax.likelihoods.likelihood import Likelihood
from aejax.likelihoods.logistic_mixture import logistic_mixture, logistic_mixture_log_prob
from aejax.likelihoods.tokens import token_log_prob, tokens

__all__ = [
    "Likelihood",
    "bernoulli",
    "bernoulli_log_prob",
    "categorical",
    "categorical_log_prob",
    "continuous_bernoulli",
    "continuous_bernoulli_log_prob",
    "gaussian",
    "gaussian_learned",
    "gaussian_log_prob",
    "gaussian_optimal",
    "gaussian_optimal_log_prob",
    "gaussian_per_pixel",
    "gaussian_per_pixel_log_prob",
    "laplace",
    "laplace_log_prob",
    "logistic_mixture",
    "logistic_mixture_log_prob",
    "token_log_prob",
    "tokens",
]
