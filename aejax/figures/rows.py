"""Pictures of the same images in several states, a named row each."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from aejax.figures.grids import bare_figure, tile


def named_rows(rows: Mapping[str, np.ndarray], title: str | None = None) -> Figure:
    """Rows of images, `[N, H, W, C]` in [0, 1] each and all of one shape, named on the left.

    Raises:
        ValueError: if there are no rows, or they differ in shape.
    """
    shapes = {name: images.shape for name, images in rows.items()}
    if len(set(shapes.values())) != 1:
        raise ValueError(f"rows of images must be one or more and of one shape, not {shapes}")
    columns, height, _, _ = next(iter(shapes.values()))
    picture = tile(np.concatenate(list(rows.values())), columns)
    longest = max(len(line) for name in rows for line in name.split("\n"))
    margin = 0.2 + 0.075 * longest  # inches that a name of 9 points takes
    figure = bare_figure(picture, title, margin)
    place, top = (margin - 0.1) / figure.get_figwidth(), figure.axes[0].get_position().y1
    for index, name in enumerate(rows):
        centre = (index * (height + 1) + height / 2) / picture.shape[0]
        figure.text(place, (1 - centre) * top, name, ha="right", va="center", fontsize=9)
    return figure
