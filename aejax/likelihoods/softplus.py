"""Log(1 + e^x), in the form that costs XLA least."""

import jax
import jax.numpy as jnp


@jax.custom_jvp
def softplus(x: jax.Array) -> jax.Array:
    """Log(1 + e^x) of each element, with the derivative sigmoid(x).

    log(1 + e^x) = max(x, 0) + log1p(e^-|x|) neither overflows nor loses small values.
    `jax.nn.softplus` computes that too and then chooses by element what to do with NaN, which costs
    XLA's CPU loops more than all the rest. The derivative is said outright because max(x, 0) and
    |x| have a kink at 0, where softplus has none; it may be differentiated again.
    """
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def _softplus_jvp(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    return softplus(*primals), jax.nn.sigmoid(*primals) * tangents[0]
