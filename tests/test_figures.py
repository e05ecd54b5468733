"""Pictures: what is drawn, and where."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from aejax import figures
from aejax.data.dataset import Dataset
from aejax.figures.codes import code_maps


def random_images(*shape):
    return np.random.default_rng(0).uniform(size=shape).astype(np.float32)


def drawn(figure):
    """The array given to imshow."""
    assert isinstance(figure, Figure)
    return np.asarray(figure.axes[0].images[0].get_array())


def rendered(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


@pytest.fixture(autouse=True)
def no_global_figure():
    assert plt.get_fignums() == []
    yield
    assert plt.get_fignums() == []


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("gap", [0, 1, 2])
def test_tile_puts_each_image_in_its_place(channels, gap):
    images = random_images(7, 4, 5, channels)
    canvas = figures.tile(images, 3, gap)
    assert canvas.shape == (3 * 4 + 2 * gap, 3 * 5 + 2 * gap, channels)
    covered = np.zeros(canvas.shape, bool)
    for k, image in enumerate(images):
        top, left = (k // 3) * (4 + gap), (k % 3) * (5 + gap)
        place = slice(top, top + 4), slice(left, left + 5)
        np.testing.assert_array_equal(canvas[place], image)
        covered[place] = True
    assert np.all(canvas[~covered] == (0 if channels == 1 else 1))  # the paper is drawn white


def test_tile_clips():
    images = np.array([-0.5, 0.25, 1.5]).reshape(3, 1, 1, 1)
    assert figures.tile(images, 3, gap=0).ravel().tolist() == [0, 0.25, 1]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "columns", "grid"), [(7, None, (3, 3)), (7, 5, (2, 5))])
def test_image_grid(channels, count, columns, grid):
    shape = drawn(figures.image_grid(random_images(count, 4, 4, channels), columns)).shape
    assert shape[:2] == (grid[0] * 5 - 1, grid[1] * 5 - 1)
    assert shape[2:] == (() if channels == 1 else (3,))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [3, 10, 17])
def test_reconstructions_lie_below_their_images(channels, count):
    images = random_images(count, 4, 4, channels)
    paper = 0 if channels == 1 else 1
    picture = drawn(figures.reconstructions(images, images / 2)).reshape(-1, 49, channels)
    assert len(picture) == 2 * -(-count // 10) * 5 - 1
    for k in range(-(-count // 10) * 10):
        top, left = k // 10 * 10, k % 10 * 5
        above = picture[top : top + 4, left : left + 4]
        below = picture[top + 5 : top + 9, left : left + 4]
        np.testing.assert_array_equal(above, images[k] if k < count else np.full_like(above, paper))
        np.testing.assert_array_equal(below, above / 2 if k < count else above)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [5, 10, 12])
def test_first_of_each_class_covers_the_classes(channels, count):
    labels = np.repeat(np.arange(5), [2, 9, 3, 20, 4])
    labels = np.random.default_rng(0).permutation(labels).astype(np.int32)
    pixels = np.zeros((38, 4, 4, channels), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 1, 0, 0] = labels, np.arange(38)
    chosen = figures.first_of_each_class(
        Dataset({"x": pixels, "label": labels}, {"label": tuple("abcde")}, "d"), count
    )
    assert chosen.shape == (count, 4, 4, channels)
    got = np.round(chosen[:, :2, 0, 0] * 255).astype(int)
    taken = np.bincount(got[:, 0], minlength=5)
    assert np.all(taken >= min(2, count // 5))
    for label in range(5):  # the earliest of each class
        earliest = np.flatnonzero(labels == label)[: taken[label]]
        np.testing.assert_array_equal(np.sort(got[got[:, 0] == label, 1]), earliest)


@pytest.mark.parametrize("channels", [1, 3])
def test_manifold_is_a_grid_of_prior_quantiles(channels):
    seen = []

    def decode(codes):
        seen.append(np.asarray(codes))
        values = stats.norm.cdf(codes) * [1, 0.5]  # a picture of z_1 beside one of z_2
        return np.tile(values.reshape(-1, 1, 2, 1), (1, 1, 1, channels))

    picture = drawn(figures.manifold(decode, side=5)).reshape(5, 5, 2, channels)[..., 0]
    centres = (np.arange(5) + 0.5) / 5
    (codes,) = seen
    assert codes.shape == (25, 2)
    np.testing.assert_allclose(np.unique(codes[:, 0].round(4)), stats.norm.ppf(centres).round(4))
    z1, z2 = codes.reshape(5, 5, 2).transpose(2, 0, 1)
    np.testing.assert_allclose(z1, np.tile(stats.norm.ppf(centres), (5, 1)), atol=1e-6)
    np.testing.assert_allclose(z2, z1[:, ::-1].T, atol=1e-6)
    np.testing.assert_allclose(picture[..., 0], np.tile(centres, (5, 1)), atol=1e-5)  # rightward
    np.testing.assert_allclose(picture[:, 0, 1], centres[::-1] / 2, atol=1e-5)  # upward


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("names", [(), ("a", "b", "c"), tuple(map(str, range(15)))])
def test_latent_scatter(dim, names):
    codes = np.random.default_rng(0).normal(size=(30, dim)) * np.arange(dim, 0, -1)
    labels = np.arange(30) % 3
    figure = figures.latent_scatter(codes, labels, names)
    rendered(figure)
    (axes,) = figure.axes
    points = [np.asarray(group.get_offsets()) for group in axes.collections]
    assert [len(group) for group in points] == [10, 10, 10]
    assert (axes.get_legend() is not None) == bool(names)
    assert bool(axes.get_xlabel())
    if names:
        assert [t.get_text() for t in axes.get_legend().get_texts()] == list(names[:3])
    if dim <= 2:
        for label, group in enumerate(points):
            np.testing.assert_allclose(group[:, :dim], codes[labels == label])
    else:
        spread = np.sort(np.linalg.eigvalsh(np.cov(codes, rowvar=False)))[::-1][:2]
        np.testing.assert_allclose(np.var(np.concatenate(points), axis=0, ddof=1), spread)


def test_curves():
    history = [
        {"split": split, "epoch": e, "loss": e + offset, "kl": 1.0}
        for e in range(3)
        for split, offset in (("train", 0), ("test", 10))
    ]
    figure = figures.curves(history, ["loss", "kl"])
    rendered(figure)
    assert [axes.get_title() for axes in figure.axes] == ["loss", "kl"]
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    np.testing.assert_array_equal(lines["train"], [0, 1, 2])
    np.testing.assert_array_equal(lines["test"], [10, 11, 12])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(55, 79), (29, 110), (123, 8), (313, 316), (28, 28)])
def test_a_pixel_is_a_whole_number_of_dots(channels, shape):
    image = random_images(1, *shape, channels)
    dots = rendered(figures.image_grid(image))
    scale = dots.shape[0] // shape[0]
    assert dots.shape[:2] == (shape[0] * scale, shape[1] * scale)
    blocks = dots.reshape(shape[0], scale, shape[1], scale, 3)
    np.testing.assert_array_equal(blocks, np.broadcast_to(blocks[:, :1, :, :1], blocks.shape))
    expected = image[0] if channels == 3 else 1 - image[0]  # grey images are drawn as ink
    np.testing.assert_allclose(blocks[:, 0, :, 0] / 255, expected + np.zeros(3), atol=0.01)


def test_latent_scatter_of_a_single_code():
    assert figures.latent_scatter(np.zeros((1, 5)), np.zeros(1, int), ("a",)).axes


def test_stability_goes_through_its_points():
    figure = figures.stability([0, 0.5, 2], [1, 0.8, 0.3])
    rendered(figure)
    np.testing.assert_array_equal(
        figure.axes[0].lines[0].get_xydata(), [[0, 1], [0.5, 0.8], [2, 0.3]]
    )
    assert figure.axes[0].get_ylim()[0] == 0


def test_information_has_the_curve_of_codes_that_are_standard_normal_as_a_whole():
    """Means drawn from N(0, 1 - sigma^2): the average KL, by scipy's densities, lies on it."""
    sigma = np.array([0.1, 0.5, 0.9])
    mean = np.random.default_rng(0).normal(0, np.sqrt(1 - sigma**2), (20_000, 3))
    z = mean + sigma * np.random.default_rng(1).normal(size=mean.shape)
    kl = np.mean(stats.norm.logpdf(z, mean, sigma) - stats.norm.logpdf(z), axis=0)
    figure = figures.information(kl, sigma)
    rendered(figure)
    (line,), (points,) = figure.axes[0].lines, figure.axes[0].collections
    np.testing.assert_allclose(np.asarray(points.get_offsets()), np.stack([sigma, kl], axis=-1))
    curve = np.interp(np.log(sigma), np.log(line.get_xdata()), line.get_ydata())
    np.testing.assert_allclose(curve, kl, atol=0.02)


@pytest.mark.parametrize("channels", [1, 3])
def test_code_maps_stand_beside_their_images(channels):
    images, maps = random_images(2, 7, 6, channels), 4 * random_images(2, 2, 3, 5)
    figure = code_maps(images, maps)
    rendered(figure)
    picture = drawn(figure).reshape(2 * 7 + 3, 6 * 6 + 5 * 3, channels)
    for row in range(2):
        cells = picture[10 * row : 10 * row + 7]
        np.testing.assert_array_equal(cells[:, :6], images[row])
        for k in range(
            5
        ):  # pixel (y, x) of a map of 2 x 3 is rows 4 y to 4 y + 3, columns 2 x, ...
            cell = cells[:, 9 * (k + 1) : 9 * (k + 1) + 6]
            expected = maps[row, :, :, k].repeat(4, axis=0)[:7].repeat(2, axis=1) / maps.max()
            np.testing.assert_allclose(cell, expected[..., None] + np.zeros(channels), rtol=1e-6)
    assert f"{maps.max():.3g}" in figure.texts[0].get_text()


def test_bands_hold_every_seed_of_a_label():
    history = [
        {"epoch": e, "split": "test", "loss": [3.0 / e, 5.0 / e, 9.0 / e, float("nan")]}
        for e in (1, 2, 3)
    ] + [{"epoch": 1, "split": "train", "loss": [0.0] * 4}]
    (axes,) = figures.loss_bands(history, ["a", "a", "b", "b"], [False, False, False, True]).axes
    assert [line.get_label() for line in axes.get_lines()] == ["a", "b"]
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), [4, 2, 4 / 3])
    (band,) = axes.collections
    low, high = band.get_paths()[0].vertices[:, 1].min(), band.get_paths()[0].vertices[:, 1].max()
    assert (low, high) == (1.0, 5.0)


def test_rates_and_distortions_are_coloured_by_active_units():
    figure = figures.rate_distortion([9.0, 1.0, 4.0], [70.0, 120.0, 90.0], [8, 1, 5])
    points = figure.axes[0].collections[0]
    np.testing.assert_array_equal(points.get_offsets()[:, 0], [1, 4, 9])
    np.testing.assert_array_equal(points.get_array(), [1, 5, 8])
