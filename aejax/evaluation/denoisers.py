"""Denoisers without a network, fitted on training images: what a learned one has to beat.

Each is given what the network is given, clean images and the same images with noise on them. Noise
that is clipped, or that hides pixels, makes E[noisy | clean] about a + b clean with b < 1, so each
is followed by a straight line that undoes it.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np

from aejax.evaluation.reconstruction import BETTER, quality

Restore = Callable[[np.ndarray], np.ndarray]
"""Noisy images `[N, H, W, C]` -> restored ones."""

WIENER_LIMIT = 4096  # numbers in an image: the filter solves a system of so many equations
CHOOSING = 100  # images that settings are chosen on, and as many that lines are fitted on


class Pairs(NamedTuple):
    """Clean images and the same with noise, `[N, H, W, C]` in [0, 1]."""

    clean: np.ndarray
    noisy: np.ndarray


def fitted(train: Pairs) -> dict[str, dict[str, Restore]]:
    """Denoisers by name, each as it is best in each metric of `quality`.

    Settings (a filter's width, its strength, what follows it) are chosen on the first 100
    images, lines are fitted on the next 100, and the Wiener filter on all but the first 100. The
    best setting for PSNR and that for SSIM often differ, so there is a restoration for each.

    Returns:
        The denoiser's name -> a metric's name -> the restoration that is chosen by it. The names:
        `rescaled` (the line alone), `median`, `gaussian`, `total_variation` (Chambolle 2004),
        `non_local_means` (Buades, Coll & Morel 2005), `wavelet` (BayesShrink of Chang, Yu &
        Vetterli 2000, averaged over shifts), and, for images of at most 4,096 numbers, `wiener`.

    Raises:
        ValueError: if there are fewer than 300 pairs.
    """
    if len(train.clean) < 3 * CHOOSING:
        raise ValueError(f"{len(train.clean)} images are too few to fit on: give {3 * CHOOSING}")
    choose, fit = (Pairs(*(x[i : i + CHOOSING] for x in train)) for i in (0, CHOOSING))
    found = {name: best(filters, fit, choose) for name, filters in local_filters().items()}
    rest = Pairs(*(x[CHOOSING:] for x in train))
    if rest.clean[0].size <= WIENER_LIMIT:
        found["wiener"] = best([wiener(rest)], fit, choose)
    return found


def best(filters: Iterable[Restore], fit: Pairs, choose: Pairs) -> dict[str, Restore]:
    """Of filters, and of what follows them, what does best in each metric of `quality`.

    A straight line follows, of either kind of `lines`; and pixels between 0 and 1, which masking
    and salt and pepper leave as they were, are kept or are not.
    """
    candidates = []
    for smooth in filters:
        fit_smooth, choose_smooth = smooth(fit.noisy), smooth(choose.noisy)
        for line, keep in product(lines(fit_smooth, fit.clean), (False, True)):
            guess = mended(choose.noisy, choose_smooth, line, keep)
            restore = partial(_restored, smooth=smooth, line=line, keep=keep)
            candidates.append((quality(guess, choose.clean), restore))
    return {
        metric: better(candidates, key=lambda candidate: candidate[0][metric])[1]
        for metric, better in BETTER.items()
    }


def lines(smooth: np.ndarray, clean: np.ndarray) -> list[tuple[float, float]]:
    """Two straight lines (slope, intercept) from filtered pixels to clean ones.

    The least-squares line of clean pixels on filtered ones, of least error before clipping, and the
    inverse of that of filtered pixels on clean ones, which is right on average at every clean
    value and leaves black black.
    """
    (var_smooth, covariance), (_, var_clean) = np.cov(smooth.ravel(), clean.ravel())
    slopes = (covariance / var_smooth, var_clean / covariance)
    return [(slope, clean.mean() - slope * smooth.mean()) for slope in slopes]


def mended(
    noisy: np.ndarray, smooth: np.ndarray, line: tuple[float, float], keep: bool
) -> np.ndarray:
    """The line's values at filtered pixels, clipped to [0, 1]; `keep` those between 0 and 1."""
    slope, intercept = line
    guess = np.clip(slope * smooth + intercept, 0, 1).astype(np.float32)
    return np.where((noisy > 0) & (noisy < 1), noisy, guess) if keep else guess


def _restored(
    noisy: np.ndarray, smooth: Restore, line: tuple[float, float], keep: bool
) -> np.ndarray:
    return mended(noisy, smooth(noisy), line, keep)


def local_filters() -> Mapping[str, list[Restore]]:
    """Filters that look at an image alone, by name, in several settings each."""
    from scipy.ndimage import gaussian_filter, median_filter
    from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

    return {
        "rescaled": [lambda noisy: noisy],
        "median": [partial(median_filter, size=(1, k, k, 1)) for k in (3, 5, 7)],
        "gaussian": [
            partial(gaussian_filter, sigma=(0, s, s, 0)) for s in (0.4, 0.6, 0.8, 1, 1.25, 1.5, 2)
        ],
        "total_variation": [
            _each(partial(denoise_tv_chambolle, weight=w, channel_axis=-1))
            for w in (0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
        ],
        "non_local_means": [
            _each(partial(denoise_nl_means, h=h, patch_size=5, patch_distance=5, channel_axis=-1))
            for h in (0.1, 0.2, 0.3, 0.45, 0.7)
        ],
        "wavelet": [_each(partial(_shrunk, sigma=s)) for s in (0.15, 0.3, 0.45, 0.6)],
    }


def _each(smooth: Restore) -> Restore:
    """A filter of one image `[H, W, C]` as one of `[N, H, W, C]`."""
    return lambda noisy: np.stack([smooth(image) for image in noisy]).reshape(noisy.shape)


def _shrunk(image: np.ndarray, sigma: float) -> np.ndarray:
    """Haar coefficients shrunk, averaged over 2 x 2 shifts (Coifman & Donoho 1995)."""
    from skimage.restoration import denoise_wavelet

    shrink = partial(denoise_wavelet, sigma=sigma, wavelet="db1", channel_axis=-1)
    parts = [
        np.roll(shrink(np.roll(image, (down, right), (0, 1))), (-down, -right), (0, 1))
        for down in (0, 1)
        for right in (0, 1)
    ]
    return np.mean(parts, axis=0)


def wiener(train: Pairs) -> Restore:
    """The linear map of whole images that is best in mean squared error (Wiener 1949).

    With noisy = a + b clean + noise, each pixel's noise apart from the others' and of variance D,
    clean is estimated as m + b S (b^2 S + D)^-1 (noisy - a - b m), where S and m are the training
    images' covariance and mean. One b is fitted for all pixels, a and D for each. It knows where in
    the image a pixel is, as no filter does.
    """
    clean, noisy = (np.float64(x).reshape(len(x), -1) for x in train)
    mean, noisy_mean = clean.mean(0), noisy.mean(0)
    covariance = np.cov(clean, rowvar=False)
    slope, _ = lines(clean, noisy)[0]
    # A pixel that is always black, and whose noise only hides, has neither signal nor noise.
    noise = np.mean((noisy - noisy_mean - slope * (clean - mean)) ** 2, axis=0) + 1e-6
    gain = np.linalg.solve(slope**2 * covariance + np.diag(noise), slope * covariance)

    def restore(noisy: np.ndarray) -> np.ndarray:
        rows = noisy.reshape(len(noisy), -1) - noisy_mean
        return (mean + rows @ gain).reshape(noisy.shape)

    return restore
