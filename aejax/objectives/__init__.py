"""Builders of a `LossFn`: the one place where losses are averaged over the batch.

Most are means over the examples; the others say so by being a `WholeBatch`.

    loss_fn(params, extra, batch, key, step) -> (loss, (metrics, extra))

`batch` is a dict with "image" `[B, H, W, C]` in [0, 1] and, in an evaluation, "mask" `[B]`, False
for the rows that only fill the last batch up, and "images", a scalar, how many images the data set
has. The loss and its named parts are nats per example.
"""

from aejax.objectives.aggregate import beta_tcvae, info_vae, wae_mmd
from aejax.objectives.elbo import charged_vae, vae
from aejax.objectives.geco import geco, geco_extra
from aejax.objectives.importance import (
    doubly_reparameterized,
    importance_weighted,
    partially_importance_weighted,
    sticking_the_landing,
)
from aejax.objectives.loss import batch_mean
from aejax.objectives.reconstruction import (
    autoencoder,
    dequantized,
    dynamically_binarized,
    penalised,
)
from aejax.objectives.whole_batch import WholeBatch
from aejax.types import Batch, LossFn, Metrics

__all__ = [
    "Batch",
    "LossFn",
    "Metrics",
    "WholeBatch",
    "autoencoder",
    "batch_mean",
    "beta_tcvae",
    "charged_vae",
    "dequantized",
    "doubly_reparameterized",
    "dynamically_binarized",
    "geco",
    "geco_extra",
    "importance_weighted",
    "info_vae",
    "partially_importance_weighted",
    "penalised",
    "sticking_the_landing",
    "vae",
    "wae_mmd",
]
