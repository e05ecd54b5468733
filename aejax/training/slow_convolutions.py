"""A word about convolutions that XLA's CPU compiler makes slow.

Within a loop, as an epoch is compiled here, XLA's convolution and its gradients take 3 to 6 times
as long as in a call of their own (see `aejax.nets.cpu_convolution`).
"""

import warnings
from typing import Any

import jax

from aejax.flops import inner_jaxprs
from aejax.nets.convolution import FALLBACK

_warned: list[bool] = []


def warn_of_slow_convolutions(jaxpr: Any) -> None:
    """Warns, once a process, if a traced step has one on CPU that `layers.Conv` would speed up."""
    if _warned or jax.default_backend() != "cpu" or not has_slow_convolution(jaxpr):
        return
    _warned.append(True)
    warnings.warn(
        "the model's convolutions are XLA's own, 3 to 6 times slower in a compiled loop on CPU: "
        "take aejax.nets.layers.Conv and ConvTranspose in place of flax.linen's, with the same "
        "parameters",
        RuntimeWarning,
        stacklevel=2,
    )


def has_slow_convolution(jaxpr: Any) -> bool:
    """Whether a jaxpr holds a convolution that `aejax.nets.convolution` has a faster form of."""
    return any(map(_is_slow, jaxpr.eqns))


def _is_slow(equation: Any) -> bool:
    params = equation.params
    if equation.primitive.name == "conv_general_dilated":
        return _has_faster_form(params) and FALLBACK not in str(equation.source_info.name_stack)
    if params.get("branches_platforms"):  # a form for each platform: ours
        return False
    return any(map(has_slow_convolution, inner_jaxprs(params)))


def _has_faster_form(params: dict[str, Any]) -> bool:
    grouped = params["feature_group_count"] * params["batch_group_count"] > 1
    both = all(any(s > 1 for s in params[name]) for name in ("window_strides", "lhs_dilation"))
    return not grouped and not both
