"""How a net is computed: in another precision, or with activations that are not kept."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class Computed(nn.Module):
    """`net` by the same parameters, float32, computed in another way: x -> its outputs, float32.

    Attributes:
        net: any module of one array.
        dtype: in which parameters and activations are taken within it; so gradients, the latent's
            own layers, sampling and losses stay float32.
        remat: compute the activations anew for the gradient in place of keeping them: less memory
            for one more forward pass; see `jax.checkpoint`.
    """

    net: nn.Module
    dtype: Any = jnp.float32
    remat: bool = False

    def setup(self) -> None:
        nn.share_scope(self, self.net)

    def __call__(self, x: jax.Array) -> Any:
        if self.is_initializing():  # the very parameters that `net` itself begins with
            return self.net(x)
        call: Any = nn.map_variables(
            lambda net, x: net(x), "params", trans_in_fn=lambda params: _cast(params, self.dtype)
        )
        outputs = (nn.remat(call) if self.remat else call)(self.net, _cast(x, self.dtype))
        return _cast(outputs, jnp.float32)


def _cast(tree: Any, dtype: Any) -> Any:
    """The tree with its floats as `dtype`."""

    def cast(leaf: jax.Array) -> jax.Array:
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(cast, tree)
