"""A model whose encoder and decoder are computed in another precision, or keep no activations."""

import dataclasses
from typing import Any, cast

import flax.linen as nn

from aejax.models.model import Model, flax_model
from aejax.nets.compute import Computed
from aejax.nets.layers import LearnedScale

_NETS = ("encoder", "decoder", "net")  # fields of a model's module


def computed(model: Model, dtype: Any, remat: bool) -> Model:
    """The same model, whose nets are computed in `dtype`, or with remat; see `nets.Computed`.

    Its parameters, and what it begins with, are the same.

    Raises:
        ValueError: for a model that is no Flax module with an `encoder`, a `decoder` or a `net`.
    """
    fields = {name: getattr(model.module, name, None) for name in _NETS}
    nets = {name: _within(net, dtype, remat) for name, net in fields.items() if net is not None}
    if model.module is None or not nets:
        raise ValueError("--precision and --remat are for models of Flax modules: leave them out")
    return dataclasses.replace(flax_model(model.module.clone(**cast(Any, nets))), init=model.init)


def _within(net: nn.Module, dtype: Any, remat: bool) -> nn.Module:
    if isinstance(net, LearnedScale):  # whose scale stays float32
        return net.clone(decoder=Computed(net.decoder, dtype, remat))
    return Computed(net, dtype, remat)
