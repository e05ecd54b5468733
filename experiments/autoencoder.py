"""Autoencoder: a deterministic code, dense or convolutional (Hinton & Salakhutdinov 2006).

Command:   python experiments/autoencoder.py
Expected:  see RESULTS.md
Cost:      about half a minute on two cores
"""

import dataclasses
from typing import ClassVar

from aejax import models
from aejax.cli.commands import main
from aejax.models import Model
from aejax.runs.architecture import ArchitectureConfig
from aejax.runs.families import AutoencoderConfig
from aejax.types import Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ArchitectureConfig, AutoencoderConfig):
    """Train an autoencoder, or use a trained one (evaluate, encode, reconstruct)."""

    name: ClassVar[str] = "autoencoder"

    latent_dim: int = 32
    """Dimensions of the code."""
    hidden: tuple[int, ...] = (512, 128)
    """Widths of the dense layers, from the image inwards (--net mlp)."""

    def model(self, spec: Spec) -> Model:
        """An autoencoder of these nets and this likelihood."""
        return models.autoencoder(*self.nets(spec), self.p_x(), self.latent_dim)


if __name__ == "__main__":
    main(Config)
