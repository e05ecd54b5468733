"""What is charged beside the reconstruction, unreduced: `[B, ...]` -> `[B]`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from aejax.axes import per_example, require_examples
from aejax.precision import floats


def activity(code: jax.Array) -> jax.Array:
    """The sum of the absolute values of a code: `[B, ...]` -> `[B]`.

    Raises:
        ValueError: if the code has no axis beside the examples'.
    """
    require_examples("code", code)
    return per_example(jnp.abs(floats(code)[0]))


def sigmoid_contraction(code: jax.Array, kernel: jax.Array) -> jax.Array:
    """||dh/dx||_F^2 of one sigmoid layer h = sigmoid(x W + b): `[B, D]`, `[P, D]` -> `[B]`.

    Rifai et al. 2011, "Contractive auto-encoders", section 3: dh_j/dx_i = h_j (1 - h_j) W_ij.
    """
    require_examples("code", code)
    code, kernel = floats(code, kernel)
    slopes = code * (1 - code)
    return jnp.sum(slopes**2 * jnp.sum(kernel**2, axis=0, keepdims=True), axis=-1)


def contraction(
    encode: Callable[[jax.Array], jax.Array], x: jax.Array, key: jax.Array
) -> jax.Array:
    """An unbiased estimate of ||dh/dx||_F^2 of any encoder: images `[B, ...]` -> `[B]`.

    Hutchinson 1990: E ||v^T J||^2 = ||J||_F^2 for v of mean 0 and covariance I; one draw, one
    reverse pass. Rows must not depend on each other.
    """
    code, pull = jax.vjp(encode, x)
    # Added to zeros, the draws lie as the code does where mesh axes are explicit.
    noise = jnp.zeros_like(code) + jax.random.normal(key, code.shape, code.dtype)
    (products,) = pull(noise)
    return per_example(floats(products)[0] ** 2)
