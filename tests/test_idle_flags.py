"""Every flag acts or is refused: none is given in vain."""

import dataclasses
import importlib
import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from specs import recipe_of

from aejax.cli.commands import _check_drawing, _Evaluate
from aejax.cli.flags import parse
from aejax.errors import UsageError
from aejax.experiments import adversarial, autoencoder, vae
from aejax.populations.members import members
from aejax.runs.config import Config, check_config, check_resumable, to_json
from aejax.runs.idle_flags import check_idle, idle

NETS = ["vae", "autoencoder", "conditional_vae"]
IDLE = [
    ("--skip-at-most 3", "--skip-at-most 3 needs --skip-above", "vae"),
    *[
        (given, said, name)
        for name in NETS
        for given, said in [
            ("--channels 8", "--channels 8 goes with --net conv"),
            ("--channels 8 16 --net mlp", "--channels 8 16 goes with --net conv"),
            ("--net conv --hidden 64", "--hidden 64 goes with --net mlp"),
            ("--sigma 0.3", "--sigma 0.3 goes with --likelihood gaussian or laplace"),
            ("--likelihood gaussian_learned --sigma 0.3", "--sigma 0.3 goes with --likelihood"),
        ]
    ],
    ("--components 9", "--components 9 goes with --prior mixture or vampprior", "vae"),
    (
        "--prior normal --components 9",
        "--components 9 goes with --prior mixture",
        "conditional_vae",
    ),
    ("--k 3", "--k 3 goes with --kind k_sparse", "sparse_autoencoder"),
    ("--kind deep --k 3", "--k 3 goes with --kind k_sparse", "sparse_autoencoder"),
    ("--activity 0.1", "--activity 0.1 goes with --kind l1", "sparse_autoencoder"),
    (
        "--kind l1 --contraction 3",
        "--contraction 3.0 goes with --kind contractive or deep_contractive",
        "sparse_autoencoder",
    ),
    (
        "--frozen-discriminator --discriminator-rate 0.1",
        "--discriminator-rate 0.1 does not go with --frozen-discriminator",
        "adversarial",
    ),
]
ACTING = [
    ("vae", "--skip-at-most 3 --skip-above 2"),
    ("vae", "--net conv --channels 8"),
    ("vae", "--hidden 64 --likelihood laplace --sigma 0.3"),
    ("vae", "--objective sampled --prior mixture --components 9"),
    ("sparse_autoencoder", "--kind k_sparse --k 3"),
    ("sparse_autoencoder", "--kind l1 --activity 0.1"),
    ("sparse_autoencoder", "--kind deep_contractive --contraction 3"),
    ("adversarial", "--discriminator-rate 0.1"),
]
RECIPES = (
    "adversarial",
    "autoencoder",
    "conditional_vae",
    "conv_autoencoder",
    "denoising",
    "iwae",
    "kvfrans_vae",
    "lesson_vae",
    "sequence_autoencoder",
    "sparse_autoencoder",
    "super_resolution",
    "vae",
)
MODULES = {name: importlib.import_module(f"aejax.experiments.{name}") for name in RECIPES}


def config_of(name, flags):
    return parse(MODULES[name].Config, name, shlex.split(flags))


@pytest.mark.parametrize(("flags", "said", "name"), IDLE)
def test_what_would_change_nothing_is_refused(flags, said, name):
    with pytest.raises(UsageError) as caught:
        check_config(config_of(name, flags))
    assert said in str(caught.value)


@pytest.mark.parametrize(("name", "flags"), ACTING)
def test_what_acts_is_not(name, flags):
    check_config(config_of(name, flags))


@pytest.mark.parametrize("name", MODULES)
def test_defaults_pass_and_conditions_name_fields_and_their_values(name):
    config_class = MODULES[name].Config
    check_config(config_class())
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    for field, needed in config_class.acts.items():
        assert field in fields
        assert fields[field].default is not dataclasses.MISSING
        for value in needed.values:
            config = dataclasses.replace(config_class(), **{needed.field: value})
            assert (field in idle(config)) == (str(needed).startswith(("does not", "needs")))


def test_the_reported_commands_give_no_flag_in_vain():
    # The checkout's file: an installed package has none.
    measured = Path(__file__).parents[1] / "experiments/measured.json"
    commands = {
        command
        for command in _strings(json.loads(measured.read_text()))
        if command.startswith("python experiments/")
    }
    assert len(commands) > 20
    for command in commands:
        _, script, *flags = shlex.split(command)
        name = Path(script).stem
        if name in MODULES and flags[:1] != ["evaluate"]:
            check_config(parse(MODULES[name].Config, name, flags))


def _strings(tree):
    if isinstance(tree, dict):
        return [s for key, value in tree.items() for s in [key, *_strings(value)]]
    if isinstance(tree, list):
        return [s for value in tree for s in _strings(value)]
    return [tree] if isinstance(tree, str) else []


def test_members_of_a_sweep_are_checked_one_by_one():
    def check_sweep(*flags):
        for config in members(config_of("vae", " ".join(flags)), None, ["sigma=0.1:0.4:log:3"]):
            check_config(config)

    check_sweep("--likelihood gaussian")
    with pytest.raises(UsageError, match="goes with --likelihood gaussian or laplace"):
        check_sweep()


def test_a_run_that_was_given_one_in_vain_before_can_be_resumed():
    saved = to_json(vae.Config(channels=(8,)))
    check_resumable(vae.Config(), saved)
    with pytest.raises(UsageError, match="--channels .64, 32. .the run has .8.."):
        check_resumable(
            vae.Config(net="conv", channels=(64, 32)),
            to_json(vae.Config(net="conv", channels=(8,))),
        )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"annealing_images": 5}, "--annealing-images 5 does not go with --annealing-steps 0"),
        ({"samples": 0, "eval_memory": 64}, "--eval-memory 64 does not go with --samples 0"),
    ],
)
def test_an_evaluation_refuses_what_it_would_not_use(given, said):
    with pytest.raises(UsageError, match=said):
        check_idle(_Evaluate(workdir="runs/vae", **given))
    check_idle(_Evaluate(workdir="runs/vae", annealing_steps=4, annealing_images=5))
    check_idle(_Evaluate(workdir="runs/vae", eval_memory=64))


def opened(module, image_shape=(8, 8, 1)):
    """What an evaluation's check looks at of a run."""
    config = module.Config()
    recipe = recipe_of(config, image_shape, 1000)
    return SimpleNamespace(config=config, recipe=recipe, variables={})


PLAIN, ANY_VAE = autoencoder, vae


@pytest.mark.parametrize(
    ("module", "given", "said"),
    [
        (PLAIN, {"eval_memory": 64}, "--eval-memory 64 is for the log p(x) of a VAE"),
        (PLAIN, {"seed": 3}, "--seed 3 changes nothing: nothing is drawn"),
        (ANY_VAE, {"samples": 0, "seed": 3}, "--seed 3 changes nothing: nothing is drawn"),
    ],
)
def test_an_evaluation_that_draws_nothing_refuses_what_is_for_draws(module, given, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        _check_drawing(opened(module), _Evaluate(workdir="r", **given))


@pytest.mark.parametrize(
    ("module", "given"),
    [
        (PLAIN, {"samples": 0}),
        (ANY_VAE, {"eval_memory": 64, "seed": 3}),
        (ANY_VAE, {"samples": 0, "annealing_steps": 4, "seed": 3}),
        (adversarial, {"seed": 3}),  # its prior is sampled
    ],
)
def test_one_that_draws_takes_it(module, given):
    _check_drawing(opened(module), _Evaluate(workdir="r", **given))


def test_a_config_of_one_s_own_needs_no_conditions():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Own(Config):
        width: int = 3

    check_config(Own(width=5))
