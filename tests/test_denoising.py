"""The denoising script, its comparisons against independent ones, and the wrong data."""

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import log_loss
from specs import image_spec

import aejax
from aejax.evaluation.reconstruction import bce_per_pixel, quality
from aejax.experiments import denoising, wrong_data
from aejax.figures import named_rows
from aejax.runs.config import check_config
from aejax.runs.directory import FORMAT
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
    assert np.any(denoising.damaged(denoising.Config(), clean, "train") != again)
    # The seed's own key, from which all streams derive, is never drawn from.
    own = denoising.Config().corrupt()(jax.random.key(0), clean)
    assert np.any(own != again)
    with pytest.raises(aejax.UsageError, match="--noise fog is none of lesson, gaussian"):
        check_config(denoising.Config(noise="fog"))


OPPONENTS = ("rescaled", "median", "gaussian", "total_variation", "non_local_means", "wavelet")


@pytest.mark.slow
def test_the_script_denoises_and_compares(few_images):
    fields = {"epochs": 8, "batch_size": 20, "noise": "salt_and_pepper", "devices": 1}
    aejax.run(denoising.Config(workdir="r", **fields))
    assert sorted(os.listdir("r/figures")) == ["curves.png", "denoised.png", "filters.png"]
    summary = json.loads(Path("r/summary.json").read_text())
    assert summary["parameters"] == 4385
    results = json.loads(Path("r/results.json").read_text())
    names = ("noisy", *OPPONENTS, "wiener", "model")
    expected = {f"{n}_{m}" for n in names for m in ("psnr", "ssim", "bce_per_pixel")}
    assert results.keys() == expected | {"psnr_over_best", "ssim_over_best"}
    assert results["model_psnr"] > results["noisy_psnr"]
    others = [results[f"{name}_psnr"] for name in names[:-1]]
    assert results["psnr_over_best"] == pytest.approx(results["model_psnr"] - max(others))
    assert min(others) == results["noisy_psnr"]
    # The training's own evaluation draws other noise of the same kind.
    measured = summary["test"]["reconstruction_per_pixel"]
    assert results["model_bce_per_pixel"] == pytest.approx(measured, rel=0.02)
    (run,) = wrong_data.opened("--first", "r")
    assert run.spec["x"].shape == (28, 28, 1)


def test_the_residual_net_keeps_the_noisy_image_as_its_code():
    model = denoising.Config(net="residual").model(image_spec())
    noisy = jax.random.uniform(jax.random.key(0), (2, 28, 28, 1))
    variables = jax.jit(model.init)(jax.random.key(1), {"x": noisy})
    codes = model.posterior(variables, {"x": noisy}).mean
    np.testing.assert_array_equal(codes, noisy.reshape(2, -1))
    restored = model.decode(variables, codes)
    assert restored.shape == noisy.shape
    assert 0 < restored.min() < restored.max() < 1


@pytest.mark.parametrize(
    ("net", "noise", "keeps"),
    [
        ("residual", "salt_and_pepper", True),
        ("residual", "masking", True),
        ("residual", "gaussian", False),
        ("bottleneck", "masking", False),
    ],
)
def test_pixels_that_the_noise_left_alone_are_kept(net, noise, keeps):
    noisy = np.zeros((1, 28, 28, 1), np.float32)
    noisy[0, 0, :4, 0] = [0.0, 0.25, 1.0, 0.75]
    config = denoising.Config(net=net, noise=noise)
    model = config.model(image_spec())
    variables = jax.jit(model.init)(jax.random.key(0), {"x": noisy})
    codes = model.posterior(variables, {"x": noisy}).mean
    drawn = np.asarray(model.decode(variables, codes)).ravel()[:4]
    assert np.all((drawn == noisy[0, 0, :4, 0]) == ([False, True, False, True] if keeps else False))


def test_wrong_runs_are_one_line(tmp_path):
    message = "--first nothing holds no run: give the --workdir of a denoising.py run"
    with pytest.raises(aejax.UsageError, match=message):
        wrong_data.opened("--first", "nothing")
    config = {"format": FORMAT, "experiment": "vae", "fields": {}}
    config |= {"arrays": {}, "names": {}, "train_examples": 4000}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(aejax.UsageError, match="--second: .* is a run of vae.py, not of denoising"):
        wrong_data.opened("--second", str(tmp_path))


class Fixed:
    """Stands in for a run whose model gives back what it is given, darkened."""

    def __init__(self, dataset, factor, seed=0):
        self.config = denoising.Config(dataset=dataset, noise="masking", seed=seed)
        self.factor = factor
        self.workdir = Path(dataset)
        self.spec = {"x": jax.ShapeDtypeStruct((28, 28, 1), "float32")}

    def reconstruct(self, x):
        return x * self.factor


def test_the_table_has_a_row_of_images_and_model_and_a_value_of_each_seed(images):
    big = np.repeat(np.repeat(images["x"], 2, axis=1), 2, axis=2)
    dark, light = (aejax.Dataset({"x": big // n, "label": images.labels}) for n in (4, 1))
    pairs: list[tuple[Run, Run]] = [(Fixed("a", 1.0, s), Fixed("b", 0.5, s)) for s in (0, 1)]
    table = wrong_data.compare(pairs, [dark, light])
    assert list(table) == ["a noisy", "a by a", "a by b", "b noisy", "b by a", "b by b"]
    assert table["a by a"] == table["a noisy"]
    assert table["b by a"] == table["b noisy"]
    assert table["b by b"]["psnr"] < table["b by a"]["psnr"]
    for seed in (0, 1):
        noisy = denoising.damaged(pairs[seed][0].config, np.float32(dark["x"] / 255))
        found = quality(noisy / 2, np.float32(dark["x"]) / 255)
        for metric in ("psnr", "ssim"):
            assert table["a by b"][metric][seed] == pytest.approx(found[metric])
    text = wrong_data.lines(table)
    assert len(text) == 7
    assert f"{np.mean(table['b by b']['psnr']):.2f}" in text[-1]


def test_members_of_a_population_are_opened_in_order_and_a_broken_one_is_named(
    tmp_path, monkeypatch
):
    for name in ("01", "00"):
        (tmp_path / "members" / name).mkdir(parents=True)
        (tmp_path / "members" / name / "config.json").write_text("{}")
    monkeypatch.setattr(wrong_data, "load_run", lambda folder, config: folder.name)
    assert wrong_data.opened("--first", str(tmp_path)) == ["00", "01"]
    (tmp_path / "members" / "01" / "config.json").unlink()
    with pytest.raises(aejax.UsageError, match="--first .* holds no run"):
        wrong_data.opened("--first", str(tmp_path))


def test_runs_that_cannot_be_compared_are_named():
    one, two = Fixed("a", 1.0), Fixed("b", 1.0)
    wrong_data.check_pair(one, two)
    with pytest.raises(aejax.UsageError, match="--first a and --second a are both of a"):
        wrong_data.check_pair(one, one)
    two.spec = {"x": jax.ShapeDtypeStruct((32, 32, 3), "float32")}
    with pytest.raises(aejax.UsageError, match="give data sets of one size"):
        wrong_data.check_pair(one, two)
    two.config = denoising.Config(dataset="b", noise="lesson")
    with pytest.raises(aejax.UsageError, match="--first has --noise masking and --second lesson"):
        wrong_data.check_pair(one, two)
    two.config = denoising.Config(dataset="b", noise="masking", net="residual")
    with pytest.raises(aejax.UsageError, match="--net bottleneck and --second residual: give runs"):
        wrong_data.check_pair(one, two)
    with pytest.raises(
        aejax.UsageError, match=r"the seeds \[0\] and --second \[1\]: give the same"
    ):
        wrong_data.paired([one], [Fixed("b", 1.0, 1)])


def test_images_too_small_for_ssim_are_refused_before_training():
    with pytest.raises(ValueError, match="images of 8x8 are smaller than SSIM's 11x11 window"):
        denoising.Config().model(image_spec((8, 8, 1)))
