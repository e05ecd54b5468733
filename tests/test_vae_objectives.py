"""`vae.py --objective`: every one trains, is chosen by its name, and survives a run directory."""

import dataclasses
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aejax
from aejax.cli.commands import main
from aejax.cli.flags import parse
from aejax.errors import UsageError
from aejax.experiments import table, vae
from aejax.objectives import OBJECTIVES, Elbo, Geco, Iwae, Sampled
from aejax.runs import config as configs
from aejax.runs.opening import initial_state
from aejax.runs.recipe import build_recipe

SPEC = {"x": jax.ShapeDtypeStruct((4, 4, 1), jnp.float32)}
SMALL = {"latent_dim": 2, "hidden": (8,), "batch_size": 16, "components": 3}
RUN = {"hidden": (8,), "batch_size": 1000, "devices": 1}


def steps(config, count=3):
    """The metrics of a few steps on noise."""
    recipe = build_recipe(config, SPEC, 64)
    image = jax.random.uniform(jax.random.key(0), (16, 4, 4, 1))
    state = initial_state(config, recipe, SPEC)
    step = jax.jit(recipe.train_step)
    before = state.params
    for _ in range(count):
        state, metrics = step(state, {"x": image})
    chex.assert_tree_all_finite((state.params, metrics))
    return before, state.params, metrics


# One of each kind; the others' formulas have tests of their own.
KINDS = ("elbo", "geco", "sampled", "iwae", "capacity", "wae_mmd", "beta_tcvae")


@pytest.mark.parametrize(
    "name", [n if n in KINDS else pytest.param(n, marks=pytest.mark.slow) for n in OBJECTIVES]
)
def test_every_objective_moves_all_that_it_should(name):
    before, after, metrics = steps(vae.Config(objective=OBJECTIVES[name](), **SMALL))
    assert "loss" in metrics
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), before, after)
    if name == "wae_mmd":  # codes without noise
        moved.pop("log_sigma")
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("prior", ["mixture", "vampprior"])
def test_a_prior_is_learned(prior):
    before, after, _ = steps(vae.Config(objective=Sampled(), prior=prior, **SMALL))
    moved = jax.tree.map(
        lambda a, b: bool(jnp.any(a != b)), before["prior_net"], after["prior_net"]
    )
    assert all(jax.tree.leaves(moved))


def test_flags_choose_and_set_an_objective():
    argv = ["--objective", "iwae", "--samples", "7", "--gradient", "double", "--epochs", "3"]
    config = parse(vae.Config, "vae.py", argv)
    assert type(config) is vae.Config
    assert config.objective == Iwae(samples=7, gradient="double")
    assert config.epochs == 3
    assert parse(vae.Config, "vae.py", ["--beta", "4"]).objective == Elbo(beta=4.0)
    assert parse(vae.Config, "vae.py", ["--objective=geco"]).objective == Geco()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--objective", "elbow"], "--objective elbow is none of elbo, warm_up"),
        (["--objective"], "--objective lacks its value"),
        (["--samples", "5"], "--samples goes with --objective sampled, iwae"),
        (["--objective", "iwae", "--beta", "5"], "--beta goes with --objective elbo"),
        (["--objective", "iwae", "--samples", "many"], "--samples"),
    ],
)
def test_wrong_flags_are_one_line(argv, message):
    with pytest.raises(UsageError, match=message) as error:
        parse(vae.Config, "vae.py", argv)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--beta", "-1.0"], "--beta -1.0 is not a number at least 0"),
        (["--objective", "iwae", "--samples", "0"], "--samples 0 is not positive"),
        (["--objective", "miwae", "--groups", "7"], "--groups 7 does not divide --samples 64"),
    ],
)
def test_senseless_values_are_one_line(argv, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(vae.Config, [*argv, "--workdir", "r"])
    assert exit_.value.code == 2
    found = capsys.readouterr().err
    assert message in found
    assert "Traceback" not in found


def test_a_prior_that_the_objective_cannot_take_is_one_line():
    with pytest.raises(UsageError, match=r"--prior mixture give one of sampled, iwae"):
        aejax.run(vae.Config(prior="mixture", workdir="r"))


def test_json_keeps_the_objective():
    config = vae.Config(objective=Iwae(samples=3), hidden=(8,))
    fields = json.loads(json.dumps(configs.to_json(config)))
    assert fields["objective"] == {"name": "iwae", "samples": 3, "gradient": "plain"}
    assert configs.from_json(vae.Config, fields) == config
    with pytest.raises(UsageError, match="objective"):
        configs.check_resumable(dataclasses.replace(config, objective=Geco()), fields)


def test_a_command_names_the_objective_and_what_differs():
    config = vae.Config(objective=Iwae(samples=3), epochs=7)
    expected = "python experiments/vae.py --epochs 7 --objective iwae --samples 3"
    assert table.command(config) == expected
    assert table.command(vae.Config(objective=Elbo(beta=2.0))).endswith("vae.py --beta 2.0")


@pytest.mark.slow
def test_a_run_with_state_of_its_own_goes_on_to_the_bit():
    config = vae.Config(objective=Geco(tolerance=150.0), epochs=2, workdir="a", **RUN)
    whole = aejax.run(config)
    parts = dataclasses.replace(config, workdir="b", epochs=1, checkpoint_every=1)
    aejax.run(parts)
    resumed = aejax.run(dataclasses.replace(parts, epochs=2, resume=True))
    chex.assert_trees_all_equal(resumed.state.extra, whole.state.extra)
    chex.assert_trees_all_equal(resumed.state.params, whole.state.params)
    assert float(whole.state.extra["geco"]["log_multiplier"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["info_vae", "wae_mmd", "beta_tcvae"])
def test_objectives_over_pairs_train_and_are_evaluated(name, capsys):
    config = vae.Config(objective=OBJECTIVES[name](), epochs=1, workdir="r", **RUN)
    run = aejax.run(config)
    test = aejax.load_dataset("mnist5k", "test")
    assert np.isfinite(aejax.load_run("r").evaluate(test.first(1))["loss"])
    if name == "wae_mmd":  # its codes have no noise, and so no density
        with pytest.raises(SystemExit):
            main(vae.Config, ["evaluate", "--workdir", "r", "--samples", "2"])
        assert "no variational autoencoder with a density" in capsys.readouterr().err
    assert np.isfinite(run.metrics["loss"])


def test_batches_of_one_have_no_mmd():
    with pytest.raises(ValueError, match="a batch of 1 has no pairs of codes"):
        build_recipe(vae.Config(objective=OBJECTIVES["wae_mmd"](), batch_size=1), SPEC, 64)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_accumulation_is_refused_where_it_would_be_another_objective(name):
    config = vae.Config(objective=OBJECTIVES[name](), accumulate=4, **SMALL)
    if name not in ("capacity", "free_bits", "info_vae", "wae_mmd", "beta_tcvae"):
        assert build_recipe(config, SPEC, 64).parts == 4
        return
    with pytest.raises(UsageError, match="--accumulate 4 would train another") as error:
        build_recipe(config, SPEC, 64)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["warm_up", "cyclical", "capacity"])
def test_a_schedule_over_the_training_is_not_prolonged(name):
    config = vae.Config(objective=OBJECTIVES[name](), epochs=2)
    saved = configs.to_json(config)
    with pytest.raises(UsageError, match="--epochs 3"):
        configs.check_resumable(dataclasses.replace(config, epochs=3), saved)
    configs.check_resumable(dataclasses.replace(config, objective=config.objective), saved)
    plain = vae.Config(epochs=2)
    configs.check_resumable(dataclasses.replace(plain, epochs=3), configs.to_json(plain))


@pytest.mark.parametrize(
    "change",
    [{"objective": {"name": "gone"}}, {"objective": {"name": "iwae", "k": 1}}, {"beta": 4}],
)
def test_fields_of_another_version_are_one_line(change):
    fields = configs.to_json(vae.Config()) | change
    with pytest.raises(UsageError, match=r"vae\.py has fields that this version does not know"):
        configs.from_json(vae.Config, fields)


@pytest.mark.slow
def test_a_learned_prior_is_sampled_by_a_run():
    config = vae.Config(objective=Sampled(), prior="mixture", epochs=1, workdir="r", **RUN)
    run = aejax.run(config)
    opened = aejax.load_run("r")
    assert opened.config == run.config
    samples = opened.sample(jax.random.key(0), 3)
    assert samples.shape == (3, 28, 28, 1)
