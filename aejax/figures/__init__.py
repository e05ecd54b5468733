"""Pictures, each a pure function of arrays -> a matplotlib `Figure`; nothing global is touched."""

from aejax.figures.comparisons import dots, lines, marked_rows
from aejax.figures.grids import (
    as_images,
    first_of_each_class,
    image_grid,
    manifold,
    reconstructions,
    square,
    tile,
)
from aejax.figures.piano_rolls import piano_rolls
from aejax.figures.plots import curves, information, latent_scatter, stability
from aejax.figures.populations import loss_bands, rate_distortion
from aejax.figures.rows import named_rows
from aejax.figures.sequences import melodies

__all__ = [
    "as_images",
    "curves",
    "dots",
    "first_of_each_class",
    "image_grid",
    "information",
    "latent_scatter",
    "lines",
    "loss_bands",
    "manifold",
    "marked_rows",
    "melodies",
    "named_rows",
    "piano_rolls",
    "rate_distortion",
    "reconstructions",
    "square",
    "stability",
    "tile",
]
