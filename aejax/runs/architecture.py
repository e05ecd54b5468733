"""The flags of the experiments that choose nets and a likelihood."""

import dataclasses
from typing import ClassVar, Literal

import flax.linen as nn

from aejax import likelihoods, nets
from aejax.runs.config import Config
from aejax.runs.idle_flags import Conditions, With
from aejax.settings import setting
from aejax.types import Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArchitectureConfig(Config):
    """A `Config` with a latent, nets and a likelihood."""

    acts: ClassVar[Conditions] = {
        **Config.acts,
        "hidden": With("net", ("mlp",)),
        "channels": With("net", ("conv",)),
        "sigma": With("likelihood", ("gaussian", "laplace")),
    }

    latent_dim: int = setting(2, at_least=1)
    """Dimensions of the latent."""
    net: Literal["mlp", "conv"] = "mlp"
    """Dense or convolutional encoder and decoder."""
    hidden: tuple[int, ...] = (512, 256, 128)
    """Widths of the dense layers, from the image inwards (--net mlp)."""
    channels: tuple[int, ...] = (32, 64)
    """Channels of the convolutions of stride 2, from the image inwards (--net conv)."""
    likelihood: Literal[
        "bernoulli",
        "continuous_bernoulli",
        "gaussian",
        "gaussian_learned",
        "gaussian_per_pixel",
        "gaussian_optimal",
        "laplace",
        "categorical",
        "logistic_mixture",
    ] = "bernoulli"
    """p(x|z), one of
    bernoulli, the usual cross-entropy;
    continuous_bernoulli, its density on [0, 1];
    gaussian or laplace, of scale --sigma;
    gaussian_learned, of one learned scale;
    gaussian_per_pixel, of the decoder's scales;
    gaussian_optimal, of each image's best scale, no density;
    categorical, any probabilities of the 256 levels;
    logistic_mixture, PixelCNN++'s probabilities of them."""
    sigma: float = setting(0.1, above=0)
    """Standard deviation of a pixel (--likelihood gaussian or laplace)."""

    def nets(self, spec: Spec) -> tuple[nn.Module, nn.Module]:
        """The encoder of x, and the decoder to what the likelihood takes.

        Raises:
            ValueError: if a size does not fit, or the likelihood cannot be of so many channels.
        """
        *sides, channels = spec["x"].shape
        outputs_shape = (*sides, self.p_x().channels(channels))
        pairs = {
            "mlp": lambda: nets.mlp_pair(outputs_shape, self.hidden),
            "conv": lambda: nets.conv_pair(outputs_shape, self.channels),
        }
        encoder, decoder = pairs[self.net]()
        if self.likelihood == "gaussian_learned":
            decoder = nets.LearnedScale(decoder)
        return encoder, decoder

    def p_x(self) -> likelihoods.Likelihood:
        """The likelihood of an example given the decoder's outputs."""
        builders = {
            "bernoulli": likelihoods.bernoulli,
            "continuous_bernoulli": likelihoods.continuous_bernoulli,
            "gaussian": lambda: likelihoods.gaussian(self.sigma),
            "gaussian_learned": likelihoods.gaussian_learned,
            "gaussian_per_pixel": likelihoods.gaussian_per_pixel,
            "gaussian_optimal": likelihoods.gaussian_optimal,
            "laplace": lambda: likelihoods.laplace(self.sigma),
            "categorical": likelihoods.categorical,
            "logistic_mixture": likelihoods.logistic_mixture,
        }
        return builders[self.likelihood]()
