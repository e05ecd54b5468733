"""The flags of the experiments that choose nets and a likelihood."""

import dataclasses
from typing import Literal

import flax.linen as nn

from aejax import likelihoods, nets
from aejax.runs.config import Config


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArchitectureConfig(Config):
    """A `Config` with a latent, nets and a likelihood."""

    latent_dim: int = 2
    """Dimensions of the latent."""
    net: Literal["mlp", "conv"] = "mlp"
    """Dense or convolutional encoder and decoder."""
    hidden: tuple[int, ...] = (512, 256, 128)
    """Widths of the dense layers, from the image inwards (--net mlp)."""
    channels: tuple[int, ...] = (32, 64)
    """Channels of the convolutions of stride 2, from the image inwards (--net conv)."""
    likelihood: Literal["bernoulli", "gaussian", "gaussian_learned"] = "bernoulli"
    """p(x|z): Bernoulli, Gaussian of scale --sigma, or Gaussian of one learned scale."""
    sigma: float = 0.1
    """Standard deviation of a pixel (--likelihood gaussian)."""

    def nets(self, image_shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
        """The encoder and the decoder for images of `(H, W, C)`.

        Raises:
            ValueError: if a size does not fit.
        """
        if self.latent_dim < 1:
            raise ValueError(f"--latent-dim {self.latent_dim} is not positive")
        pairs = {
            "mlp": lambda: nets.mlp_pair(image_shape, self.hidden),
            "conv": lambda: nets.conv_pair(image_shape, self.channels),
        }
        encoder, decoder = pairs[self.net]()
        if self.likelihood == "gaussian_learned":
            decoder = nets.LearnedScale(decoder)
        return encoder, decoder

    def p_x(self) -> likelihoods.Likelihood:
        """The likelihood of an image given the decoder's outputs."""
        builders = {
            "bernoulli": likelihoods.bernoulli,
            "gaussian": lambda: likelihoods.gaussian(self.sigma),
            "gaussian_learned": likelihoods.gaussian_learned,
        }
        return builders[self.likelihood]()
