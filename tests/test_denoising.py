"""The denoising script, its comparisons against independent ones, and the wrong data."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import log_loss

import aejax
from aejax.evaluation.reconstruction import bce_per_pixel, filtered, quality
from aejax.experiments import denoising, wrong_data
from aejax.figures import named_rows
from aejax.runs.run import Run


def test_quality_is_that_of_scikit_image_and_scikit_learn():
    rng = np.random.default_rng(0)
    clean, restored = rng.random((2, 4, 16, 15, 1), dtype=np.float32)
    pairs = list(zip(clean[..., 0], restored[..., 0], strict=True))
    psnrs = [peak_signal_noise_ratio(x, y, data_range=1) for x, y in pairs]
    settings = {"data_range": 1, "gaussian_weights": True, "use_sample_covariance": False}
    ssims = [structural_similarity(x, y, **settings) for x, y in pairs]
    measured = quality(restored, clean)
    assert measured["psnr"] == pytest.approx(np.mean(psnrs), rel=1e-5)
    assert measured["ssim"] == pytest.approx(np.mean(ssims), abs=1e-5)
    binary = np.round(clean)
    expected = [
        log_loss(x.ravel(), p.ravel().astype(float)) for x, p in zip(binary, restored, strict=True)
    ]
    np.testing.assert_allclose(bce_per_pixel(restored, binary), expected, rtol=1e-6)


def test_surely_wrong_pixels_cost_16_nats_and_shapes_must_agree():
    zeros, ones = np.zeros((1, 2, 2, 1), np.float32), np.ones((1, 2, 2, 1), np.float32)
    np.testing.assert_allclose(bce_per_pixel(zeros, ones), [-np.log(1e-7)])
    np.testing.assert_allclose(bce_per_pixel(ones, ones), [0], atol=1e-6)
    with pytest.raises(ValueError, match="differ in shape"):
        bce_per_pixel(zeros[..., 0], ones)


def test_filters_work_image_by_image_and_take_the_mean_off():
    noisy = np.random.default_rng(0).random((3, 9, 9, 2), dtype=np.float32)
    restored = filtered(noisy, 0.25)
    assert list(restored) == ["noisy", "less_mean", "median", "gaussian"]
    window = noisy[1, 3:6, 4:7, 1]
    assert restored["median"][1, 4, 5, 1] == max(0, np.median(window) - np.float32(0.25))
    np.testing.assert_array_equal(restored["noisy"], noisy)
    for name, images in restored.items():
        alone = filtered(noisy[1:2, ..., 1:], 0.25)[name]
        np.testing.assert_allclose(images[1:2, ..., 1:], alone, atol=1e-7)
        assert 0 <= images.min() <= images.max() <= 1
    flat = filtered(np.full((1, 9, 9, 1), 0.75, np.float32), 0.5)
    np.testing.assert_allclose(flat["gaussian"], 0.25, atol=1e-6)


def test_rows_must_be_of_one_shape():
    named_rows({"a": np.zeros((3, 4, 4, 1)), "b": np.ones((3, 4, 4, 1))})
    with pytest.raises(ValueError, match="of one shape"):
        named_rows({"a": np.zeros((3, 4, 4, 1)), "b": np.zeros((2, 4, 4, 1))})


def test_each_noise_is_its_own_the_test_noise_is_fixed_and_there_is_no_other():
    clean = np.full((8, 28, 28, 1), 0.25, np.float32)
    kinds = ("lesson", "gaussian", "salt_and_pepper", "masking")
    made = {kind: denoising.damaged(denoising.Config(noise=kind), clean) for kind in kinds}
    # E clip(N(0.75, 0.25)), E clip(N(0.25, 0.25)) by symmetry about 1/2; 0.7 / 4 + 0.15; 1 / 8.
    assert made["lesson"].mean() == pytest.approx(1 - made["gaussian"].mean(), abs=0.02)
    assert made["lesson"].mean() > 0.6
    assert made["salt_and_pepper"].mean() == pytest.approx(0.325, abs=0.02)
    assert made["masking"].mean() == pytest.approx(0.125, abs=0.01)
    again = denoising.damaged(denoising.Config(), clean)
    np.testing.assert_array_equal(made["lesson"], again)
    assert np.any(denoising.damaged(denoising.Config(seed=1), clean) != again)
    with pytest.raises(ValueError, match="--noise fog is unknown: give one of lesson"):
        denoising.Config(noise="fog").build((28, 28, 1))


def test_the_script_denoises_and_compares(start):
    flags = ["--epochs", "1", "--batch-size", "20", "--noise", "salt_and_pepper"]
    done = start("denoising.py", *flags, "--workdir", "r")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir("r/figures")) == ["curves.png", "denoised.png", "filters.png"]
    summary = json.loads(Path("r/summary.json").read_text())
    assert summary["parameters"] == 4385
    results = json.loads(Path("r/results.json").read_text())
    assert len(results) == 5 * 3
    assert results["model_psnr"] > results["noisy_psnr"]
    assert results["noisy_psnr"] == pytest.approx(results["less_mean_psnr"])  # the mean is 0
    # The training's own evaluation draws other noise of the same kind.
    measured = summary["test"]["reconstruction_per_pixel"]
    assert results["model_bce_per_pixel"] == pytest.approx(measured, rel=0.02)
    assert wrong_data.opened("--first", "r").image_shape == (28, 28, 1)


def test_wrong_runs_are_one_line(start, tmp_path):
    done = start("wrong_data.py", "--first", "nothing")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        "wrong_data.py: error: --first nothing holds no run: "
        "give the --workdir of a denoising.py run"
    ]
    config = {"experiment": "vae", "fields": {}, "image_shape": [28, 28, 1]}
    config |= {"label_names": [], "train_images": 4000}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(aejax.UsageError, match="--second: .* is a run of vae.py, not of denoising"):
        wrong_data.opened("--second", str(tmp_path))


class Fixed:
    """Stands in for a run whose model gives back what it is given, darkened."""

    def __init__(self, dataset, factor):
        self.config, self.factor = denoising.Config(dataset=dataset, noise="masking"), factor
        self.workdir, self.image_shape = Path(dataset), (28, 28, 1)

    def reconstruct(self, x):
        return x * self.factor


def test_the_table_has_images_in_rows_and_models_in_columns(images):
    big = np.repeat(np.repeat(images.images, 2, axis=1), 2, axis=2)
    dark, light = (aejax.ImageDataset(big // n, images.labels) for n in (4, 1))
    runs: list[Run] = [Fixed("a", 1.0), Fixed("b", 0.5)]
    table = wrong_data.compare(runs, [dark, light])
    assert list(table) == ["a", "b"]
    assert table["a"]["a"] == table["a"]["noisy"]
    assert table["b"]["a"] == table["b"]["noisy"]
    assert table["b"]["b"]["psnr"] < table["b"]["a"]["psnr"]
    noisy = np.float32(dark.images / 255)
    noisy = denoising.damaged(runs[0].config, noisy)
    assert table["a"]["b"] == {
        k: pytest.approx(v)
        for k, v in quality(noisy / 2, np.float32(dark.images) / 255).items()
        if k != "bce_per_pixel"
    }
    assert len(wrong_data.lines(table)) == 3


def test_runs_that_cannot_be_compared_are_named():
    one, two = Fixed("a", 1.0), Fixed("b", 1.0)
    wrong_data.check_pair(one, two)
    with pytest.raises(aejax.UsageError, match="--first a and --second a are both of a"):
        wrong_data.check_pair(one, one)
    two.image_shape = (32, 32, 3)
    with pytest.raises(aejax.UsageError, match="give data sets of one size"):
        wrong_data.check_pair(one, two)
    two.config = denoising.Config(dataset="b", noise="lesson")
    with pytest.raises(aejax.UsageError, match="--first has --noise masking and --second lesson"):
        wrong_data.check_pair(one, two)


def test_images_too_small_for_ssim_are_refused_before_training():
    with pytest.raises(ValueError, match="images of 8x8 are smaller than SSIM's 11x11 window"):
        denoising.Config().build((8, 8, 1))
