"""Pictures, each a pure function of arrays -> a matplotlib `Figure`; nothing global is touched."""

from aejax.figures.grids import (
    first_of_each_class,
    image_grid,
    manifold,
    reconstructions,
    square,
    tile,
)
from aejax.figures.plots import curves, latent_scatter
from aejax.figures.rows import named_rows

__all__ = [
    "curves",
    "first_of_each_class",
    "image_grid",
    "latent_scatter",
    "manifold",
    "named_rows",
    "reconstructions",
    "square",
    "tile",
]
