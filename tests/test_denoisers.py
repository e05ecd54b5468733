"""Denoisers without a network: closed forms, scikit-learn, and who may see what."""

import jax
import numpy as np
import pytest
from scipy import ndimage
from sklearn.linear_model import LinearRegression

from aejax.corruptions import gaussian_noise, masking, salt_and_pepper
from aejax.evaluation import denoisers
from aejax.evaluation.denoisers import Pairs, best, fitted, lines, local_filters, mended, wiener
from aejax.evaluation.reconstruction import quality


def blobs(count, seed, side=12):
    """Bright discs at random places on black."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    centres = rng.uniform(3, side - 3, (count, 2, 1, 1))
    far = np.hypot(y - centres[:, 0], x - centres[:, 1])
    return np.float32(np.clip(3 - far, 0, 1))[..., None]


def with_masking(clean, seed):
    return Pairs(clean, np.asarray(masking(jax.random.key(seed), clean)))


@pytest.mark.parametrize(
    ("corrupt", "slope", "intercept"), [(masking, 0.5, 0.0), (salt_and_pepper, 0.7, 0.15)]
)
def test_the_inverse_line_undoes_the_noise_on_average(corrupt, slope, intercept):
    """E[noisy | clean] is intercept + slope clean, by the noise's definition."""
    clean = np.random.default_rng(0).random((400, 16, 16, 1), dtype=np.float32)
    noisy = np.asarray(corrupt(jax.random.key(0), clean))
    _, (found_slope, found_intercept) = lines(noisy, clean)
    assert found_slope == pytest.approx(1 / slope, rel=0.02)
    assert found_intercept == pytest.approx(-intercept / slope, abs=0.02)


def test_the_first_line_is_scikit_learns():
    rng = np.random.default_rng(1)
    smooth, clean = rng.random((2, 3, 5, 4, 1))
    model = LinearRegression().fit(smooth.reshape(-1, 1), clean.ravel())
    expected = (model.coef_[0], model.intercept_)
    np.testing.assert_allclose(lines(smooth, clean)[0], expected)


def test_the_line_is_clipped_and_pixels_between_the_ends_are_kept_or_not():
    noisy, smooth = np.float32([0, 0.25, 1]), np.float32([0, 0.5, 1])
    np.testing.assert_array_equal(mended(noisy, smooth, (2.0, -0.5), False), [0, 0.5, 1])
    np.testing.assert_array_equal(mended(noisy, smooth, (2.0, -0.5), True), [0, 0.25, 1])


def test_filters_work_image_by_image_and_channel_by_channel():
    noisy = np.random.default_rng(0).random((3, 12, 13, 2), dtype=np.float32)
    filters = local_filters()
    window = noisy[1, 3:6, 4:7, 1]
    assert filters["median"][0](noisy)[1, 4, 5, 1] == np.median(window)
    blurred = ndimage.gaussian_filter(noisy[2, ..., 0], filters["gaussian"][0].keywords["sigma"][1])
    np.testing.assert_allclose(filters["gaussian"][0](noisy)[2, ..., 0], blurred, atol=1e-6)
    for name, settings in filters.items():
        smooth = settings[-1](noisy)
        assert smooth.shape == noisy.shape, name
        np.testing.assert_allclose(smooth[1:2], settings[-1](noisy[1:2]), atol=1e-6, err_msg=name)


def test_the_wiener_filter_is_the_regression_on_very_many_draws():
    clean = blobs(300, 0, side=6)
    many = np.concatenate([clean] * 100)
    draw = with_masking(many, 1)
    model = LinearRegression().fit(*(x.reshape(len(many), -1) for x in draw[::-1]))
    new = with_masking(blobs(200, 2, side=6), 3)
    expected = model.predict(new.noisy.reshape(200, -1)).reshape(new.clean.shape)
    found = wiener(Pairs(many[:30_000], draw.noisy))(new.noisy)
    assert np.abs(found - expected).mean() < 0.02
    assert np.abs(found - new.noisy).mean() > 0.1


def test_the_wiener_filter_takes_a_pixel_without_signal_or_noise():
    clean = blobs(100, 0)
    clean[:, 0, 0] = 0
    pair = with_masking(clean, 0)
    restored = wiener(pair)(pair.noisy)
    assert np.isfinite(restored).all()
    np.testing.assert_allclose(restored[:, 0, 0], 0, atol=1e-6)


def test_each_metric_gets_the_setting_that_is_best_in_it_on_the_choosing_images():
    fit, choose = (with_masking(blobs(40, seed), seed) for seed in (4, 5))
    filters = local_filters()["gaussian"][1:4]
    chosen = best(filters, fit, choose)
    for metric, restore in chosen.items():
        found = quality(restore(choose.noisy), choose.clean)[metric]
        values = [
            quality(mended(choose.noisy, f(choose.noisy), line, keep), choose.clean)[metric]
            for f in filters
            for line in lines(f(fit.noisy), fit.clean)
            for keep in (False, True)
        ]
        assert found == pytest.approx(min(values) if metric == "bce_per_pixel" else max(values))


def test_fitted_denoisers_restore_new_images_and_know_the_noise(monkeypatch):
    monkeypatch.setattr(denoisers, "CHOOSING", 30)
    clean = blobs(400, 6)
    train = Pairs(clean, np.asarray(gaussian_noise(jax.random.key(6), clean, 0.5, 0.5)))
    test = blobs(50, 7)
    noisy = np.asarray(gaussian_noise(jax.random.key(7), test, 0.5, 0.5))
    found = fitted(train)
    assert list(found) == [*local_filters(), "wiener"]
    before = quality(noisy, test)["psnr"]
    scores = {name: quality(by["psnr"](noisy), test)["psnr"] for name, by in found.items()}
    assert min(scores.values()) > before + 2  # the line alone takes the noise's mean off
    assert max(scores, key=scores.__getitem__) == "wiener"
    # A constant shift of the noise's mean, 0.5, does worse than the fitted lines.
    blurred = ndimage.gaussian_filter(noisy, (0, 1, 1, 0))
    shifted = np.clip(blurred - 0.5, 0, 1)
    assert scores["gaussian"] > quality(shifted, test)["psnr"] + 0.3


def test_too_few_images_to_fit_on_are_refused():
    few = Pairs(*np.zeros((2, 50, 12, 12, 1), np.float32))
    with pytest.raises(ValueError, match="50 images are too few to fit on: give 300"):
        fitted(few)
