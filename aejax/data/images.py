"""Images made to one size."""

import numpy as np
from PIL import Image


def fitted(image: np.ndarray, crop: bool, size: int | None) -> np.ndarray:
    """An image uint8 `[H, W]` or `[H, W, C]`, cut to the square at its centre and resized.

    Args:
        image: of any size.
        crop: whether to cut it.
        size: the side of the result, in pixels, by Lanczos's filter; None leaves it as it is.

    Raises:
        ValueError: if it is to be resized and is not square.
    """
    height, width = image.shape[:2]
    if crop:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        image = image[top : top + side, left : left + side]
    elif size is not None and height != width:
        raise ValueError(f"of {width} x {height} pixels, is not square: add --crop")
    if size is None or len(image) == size:
        return image
    if image.ndim == 2:
        return _resized(image, size)
    return np.stack([_resized(channel, size) for channel in np.moveaxis(image, -1, 0)], -1)


def _resized(channel: np.ndarray, size: int) -> np.ndarray:
    resized = Image.fromarray(channel).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(resized)
