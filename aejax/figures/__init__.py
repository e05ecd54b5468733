"""Pictures, each a pure function of arrays -> a matplotlib `Figure`; nothing global is touched."""

from aejax.figures.grids import (
    first_of_each_class,
    image_grid,
    labelled_rows,
    manifold,
    reconstructions,
    square,
    tile,
)
from aejax.figures.plots import curves, latent_scatter

__all__ = [
    "curves",
    "first_of_each_class",
    "image_grid",
    "labelled_rows",
    "latent_scatter",
    "manifold",
    "reconstructions",
    "square",
    "tile",
]
