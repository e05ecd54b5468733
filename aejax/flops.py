"""The arithmetic of a function's matrix products and convolutions, and how fast there could be."""

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def matmul_flops(function: Callable[..., Any], *args: Any) -> int:
    """Multiplications and additions of the `dot_general`s and convolutions that a call traces.

    A product of `[M, K]` and `[K, N]` counts 2 M K N; elementwise work does not count. The body of
    a loop counts once; of the branches of a `cond`, the cheapest: of the forms of a convolution,
    the direct one.
    """
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def matmul_peak(size: int = 2048, repeats: int = 8) -> float:
    """The best GFLOP/s of a float32 matrix product of this size."""
    a = jnp.ones((size, size))
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        product(a).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds) / 1e9


def _count(jaxpr: Any) -> int:
    return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: Any) -> int:
    name = equation.primitive.name
    if name == "dot_general":
        (contracting, _), _ = equation.params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return 2 * equation.outvars[0].aval.size * math.prod(shape[i] for i in contracting)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval
        out_features = kernel.shape[equation.params["dimension_numbers"].rhs_spec[0]]
        # The zeros that dilate a transposed convolution's input are not multiplied.
        zeros = math.prod(equation.params["lhs_dilation"])
        return 2 * equation.outvars[0].aval.size * (kernel.size // out_features) // zeros
    counts = [_count(inner) for inner in inner_jaxprs(equation.params)]
    return min(counts, default=0) if name == "cond" else sum(counts)


def inner_jaxprs(params: dict[str, Any]) -> list[Any]:
    """The jaxprs that an equation's parameters hold: a loop's body, a `cond`'s branches, ..."""
    leaves = jax.tree.leaves(list(params.values()), is_leaf=lambda x: hasattr(x, "jaxpr"))
    return [leaf.jaxpr if hasattr(leaf, "jaxpr") else leaf for leaf in leaves if _is_jaxpr(leaf)]


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "jaxpr") or hasattr(value, "eqns")
