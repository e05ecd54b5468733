"""What `evaluate` writes of a VAE's run, and what it refuses."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from specs import recipe_of

import aejax
from aejax.cli.commands import main
from aejax.data.binary import binarized
from aejax.data.dataset import Dataset
from aejax.errors import UsageError
from aejax.evaluation.importance import importance_estimate
from aejax.experiments import autoencoder, iwae, vae
from aejax.runs.config import check_config
from aejax.runs.log_likelihood import likelihood_results, observed
from aejax.runs.measurements import posteriors
from aejax.runs.opening import initial_state
from aejax.runs.recipe import build_recipe
from aejax.runs.run import Run


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "vae"
    aejax.run(
        vae.Config(
            latent_dim=3, hidden=(16,), batch_size=1000, epochs=2, devices=1, workdir=str(directory)
        )
    )
    return directory


@pytest.mark.slow
def test_evaluate_writes_means_and_errors(workdir, few_images, shared_classifier, capsys):
    main(vae.Config, ["evaluate", "--workdir", str(workdir), "--samples", "20"])
    found = json.loads((workdir / "evaluation_test_8.json").read_text())
    for name in (
        "log_likelihood",
        "sampled_elbo",
        "mutual_information_lower",
        "aggregate_kl_upper",
        "psnr",
    ):
        assert np.isfinite(found[name]["mean"])
        assert found[name]["error"] > 0
    assert found["sampled_elbo"]["mean"] < found["log_likelihood"]["mean"] < 0
    assert found["log_likelihood_samples"] == 20
    assert 0 < found["log_likelihood_of_matmul_peak"] < 1
    assert len(found["kl_per_dimension"]) == 3
    assert 0 <= found["active_units"] <= 3
    for one, other in (("lower", "upper"), ("upper", "lower")):
        both = found[f"mutual_information_{one}"]["mean"] + found[f"aggregate_kl_{other}"]["mean"]
        assert both == pytest.approx(found["kl_to_standard_normal"]["mean"], abs=0.3)
    assert found["mutual_information_lower"]["mean"] <= found["mutual_information_upper"]["mean"]
    assert found["aggregate_images"] == 256
    assert not any("per_dim" in name and "kl" not in name for name in found)
    assert len(found["classifier"]) == 12
    assert found["classifier_frechet_distance"] > 0
    assert isinstance(found["elbo"], float)
    assert "is no density" in found["log_likelihood_caveat"]  # the digits are grey
    assert "log_likelihood" in capsys.readouterr().out


@pytest.mark.slow
def test_evaluate_anneals(workdir, few_images, shared_classifier):
    argv = ["evaluate", "--workdir", str(workdir), "--annealing-steps", "5"]
    main(vae.Config, [*argv, "--samples", "0", "--annealing-images", "4"])
    found = json.loads((workdir / "evaluation_test_8.json").read_text())
    assert found["annealed_images"] == 4
    assert 0 < found["annealed_acceptance"] <= 1
    assert np.isfinite(found["bidirectional_gap"]["mean"])


def test_the_likelihood_is_that_of_the_runs_own_functions(workdir):
    run = aejax.load_run(workdir)
    test = aejax.load_dataset("mnist5k", "test").first(30)
    got = likelihood_results(run, test, jax.random.key(4), samples=10, memory=2**22)
    expected = importance_estimate(
        run.recipe.model,
        run.variables,
        {"x": jnp.asarray(test["x"] / np.float32(255))},
        jax.random.key(4),
        samples=10,
    ).log_likelihood.mean()
    assert got["log_likelihood"]["mean"] == pytest.approx(float(expected), rel=1e-5)
    posterior = posteriors(run, {"x": test["x"]})
    np.testing.assert_allclose(posterior.mean, run.encode(test["x"]), rtol=1e-5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--samples", "-1"], "--samples -1 is not a number at least 0"),
        (["--annealing-steps", "-1"], "--annealing-steps -1 is not a number at least 0"),
        (["--seed", str(2**64)], "--seed"),
        (["--eval-memory", "0"], "--eval-memory 0 is not positive"),
        (
            ["--samples", "2", "--annealing-steps", "1", "--annealing-images", "1"],
            "--annealing-images 1 is not a number at least 2",
        ),
    ],
)
def test_senseless_values_are_one_line(workdir, flags, message, capsys):
    with pytest.raises(SystemExit) as error:
        main(vae.Config, ["evaluate", "--workdir", str(workdir), *flags])
    assert error.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_a_likelihood_asked_of_another_model_is_one_line(capsys):
    aejax.run(autoencoder.Config(hidden=(8,), batch_size=1000, epochs=1, devices=1, workdir="ae"))
    main(autoencoder.Config, ["evaluate", "--workdir", "ae"])
    assert set(json.loads(Path("ae/evaluation_test_4.json").read_text())) == {
        "split",
        "step",
        "images",
        "loss",
        "reconstruction",
        "reconstruction_per_pixel",
    }
    with pytest.raises(SystemExit):
        main(autoencoder.Config, ["evaluate", "--workdir", "ae", "--samples", "5"])
    assert "the run of autoencoder.py is no variational autoencoder" in capsys.readouterr().err


def test_without_samples_the_metrics_are_all(workdir):
    main(vae.Config, ["evaluate", "--workdir", str(workdir), "--samples", "0"])
    found = json.loads((workdir / "evaluation_test_8.json").read_text())
    metrics = {"loss", "reconstruction", "kl", "elbo"}
    assert set(found) == {"split", "step", "images"} | metrics


def test_memory_for_no_draw_is_one_line(workdir):
    run = aejax.load_run(workdir)
    test = aejax.load_dataset("mnist5k", "test").first(30)
    with pytest.raises(UsageError, match="--eval-memory is too small for one draw of 0.0 MiB"):
        likelihood_results(run, test, jax.random.key(4), samples=10, memory=100)


def test_a_gaussian_of_each_images_best_scale_is_no_density():
    config = vae.Config(likelihood="gaussian_optimal")
    assert not recipe_of(config, (4, 4, 1), 64).has_likelihood
    assert recipe_of(vae.Config(), (4, 4, 1), 64).has_likelihood


GREY = Dataset(
    {
        "x": np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1), np.uint8),
        "label": np.zeros(20, np.int32),
    }
)


def untrained(config, data):
    recipe = build_recipe(config, data.spec, len(data))
    state = initial_state(config, recipe, data.spec)
    return Run(config, recipe, state, {}, [], Path(), data.spec, data.names)


def measured(data=GREY, **fields):
    """What an untrained model's likelihood is said to be."""
    config = vae.Config(hidden=(8,), batch_size=10, **fields)
    run = untrained(config, data)
    return likelihood_results(run, data, jax.random.key(0), samples=5, memory=None)


def kind_of(found):
    return {name for name in found if "per_" in name or name.endswith("caveat")}


BITS = 16 * np.log(2)


@pytest.mark.parametrize(
    "likelihood", ["categorical", pytest.param("logistic_mixture", marks=pytest.mark.slow)]
)
def test_probabilities_of_levels_have_bits(likelihood):
    found = measured(likelihood=likelihood)
    assert kind_of(found) == {"bits_per_dim"}
    assert found["bits_per_dim"]["mean"] == pytest.approx(-found["log_likelihood"]["mean"] / BITS)


def test_binary_pixels_have_bits_of_their_own():
    assert kind_of(measured()) == {"log_likelihood_caveat"}
    found = measured(binarized(GREY, seed=0))
    assert kind_of(found) == {"bits_per_binary_pixel"}
    expected = -found["log_likelihood"]["mean"] / BITS
    assert found["bits_per_binary_pixel"]["mean"] == pytest.approx(expected)


@pytest.mark.parametrize(
    "likelihood",
    [
        "gaussian",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("continuous_bernoulli", "laplace")),
    ],
)
def test_a_density_has_bits_where_it_is_dequantized(likelihood):
    found = measured(likelihood=likelihood)
    assert kind_of(found) == {"nats_per_dim_of_density", "log_likelihood_caveat"}
    nats = found["nats_per_dim_of_density"]["mean"]
    assert nats == pytest.approx(-found["log_likelihood"]["mean"] / 16)
    found = measured(likelihood=likelihood, dequantize=True)
    assert kind_of(found) == {"bits_per_dim", "bits_per_dim_caveat"}
    expected = 8 - found["log_likelihood"]["mean"] / BITS
    assert found["bits_per_dim"]["mean"] == pytest.approx(expected)
    assert "\n" not in found["bits_per_dim_caveat"]


@pytest.mark.parametrize("likelihood", ["bernoulli", "categorical", "logistic_mixture"])
def test_probabilities_are_not_dequantized(likelihood):
    with pytest.raises(UsageError, match="--dequantize is for densities") as error:
        check_config(vae.Config(likelihood=likelihood, dequantize=True))
    assert "\n" not in str(error.value)


def test_every_evaluation_looks_at_dequantized_pixels():
    """A Gaussian so narrow that half a level in a pixel shows; drawn by the evaluation's key."""
    config = vae.Config(
        hidden=(8,), batch_size=10, likelihood="gaussian", sigma=1e-3, dequantize=True
    )
    run = untrained(config, GREY)
    recipe, state = run.recipe, run.state
    drawn, _ = observed(run, GREY, jax.random.key(1))
    within = 256.0 * np.asarray(drawn["x"]) - GREY["x"]
    assert 0 <= within.min() < 0.1 < 0.9 < within.max() <= 1 + 1e-4
    assert np.unique(within).size > 300
    batch = {"x": jnp.asarray(GREY["x"] / np.float32(255))}
    losses = [
        recipe.loss_fn(state.params, {}, batch, jax.random.key(k), state.step)[0] for k in (0, 1)
    ]
    assert losses[0] != losses[1]


def test_binary_images_are_a_function_of_the_seed():
    grey = np.tile(np.array([0, 76, 255], np.uint8).reshape(1, 1, 3, 1), (5000, 1, 1, 1))
    data = Dataset({"x": grey, "label": np.zeros(5000, np.int32)})
    one, same, other = (binarized(data, seed)["x"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert set(np.unique(one)) == {0, 255}
    share = (one / 255).mean(axis=(0, 1, 3))
    np.testing.assert_allclose(share, [0, 76 / 255, 1], atol=0.025)
    np.testing.assert_array_equal(binarized(Dataset({"x": one, "label": data.labels}), 7)["x"], one)


def test_the_ladder():
    rate = iwae.ladder(13, 10, 1e-3)
    for step, expected in ((0, 1e-3), (9, 1e-3), (10, 10**-3.5), (39, 10**-3.5), (40, 1e-4)):
        assert float(rate(step)) == pytest.approx(expected, rel=1e-5)
    full = iwae.ladder(3280, 1, 1e-3)
    assert float(full(3279)) == pytest.approx(1e-4, rel=1e-5)
    assert float(iwae.ladder(1, 10, 1e-3)(0)) == pytest.approx(1e-3)
    with pytest.raises(ValueError, match="--epochs 20 is no ladder's length: 1, 4, 13, 40"):
        iwae.ladder(20, 10, 1e-3)


@pytest.mark.slow
def test_an_iwae_trains_and_is_measured():
    config = iwae.Config(
        objective=iwae.Iwae(samples=3),
        hidden=(16,),
        latent_dim=4,
        batch_size=1000,
        epochs=1,
        eval_samples=10,
        devices=1,
        workdir="r",
    )
    run = aejax.run(config)
    found = json.loads(Path("r/results.json").read_text())
    assert 0 < found["negative_log_likelihood"] < -run.metrics["elbo"]
    assert found["active_units"] <= 4
    test = run.config.observe(aejax.load_dataset("mnist5k", "test"))
    assert set(np.unique(test["x"])) == {0, 255}
    # The loss draws binary images, and these are binary already: the same whatever the key.
    assert run.evaluate(test)["iwae"] == pytest.approx(run.metrics["iwae"], rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 20}, "--epochs 20 is no ladder's length"),
        ({"eval_samples": -5}, "--eval-samples -5 is not a number at least 0"),
        ({"schedule": "cosine"}, "--schedule cosine is not for iwae.py"),
    ],
)
def test_what_iwae_cannot_do_is_one_line(change, message):
    with pytest.raises(UsageError, match=message):
        aejax.run(iwae.Config(batch_size=40, workdir="r", **change))


def test_a_ladder_is_not_prolonged():
    assert "epochs" not in iwae.Config().resumable()
