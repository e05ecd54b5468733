"""Models: an encoder, a latent and a decoder, as plain functions of variables and a batch."""

from aejax.models.autoencoder import (
    Autoencoder,
    Point,
    TiedAutoencoder,
    TiedDecoder,
    autoencoder,
)
from aejax.models.conditional import ConditionalVAE, conditional_vae
from aejax.models.model import Bound, Model, flax_model, held, log_joint, log_weights
from aejax.models.sequence_vae import SequenceVAE, sequence_vae
from aejax.models.vae import VAE, vae
from aejax.nets.binding import rebound

__all__ = [
    "VAE",
    "Autoencoder",
    "Bound",
    "ConditionalVAE",
    "Model",
    "Point",
    "SequenceVAE",
    "TiedAutoencoder",
    "TiedDecoder",
    "autoencoder",
    "conditional_vae",
    "flax_model",
    "held",
    "log_joint",
    "log_weights",
    "rebound",
    "sequence_vae",
    "vae",
]
