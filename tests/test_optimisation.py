"""The flags around an optimiser, against Optax's own, and from the command line."""

import dataclasses
import json
from pathlib import Path

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax import likelihoods, models, nets
from aejax.data.dataset import Dataset
from aejax.experiments import adversarial, vae
from aejax.nets.compute import Computed
from aejax.runs.objectives import Sampled
from aejax.runs.optimisation import optimised
from aejax.runs.run import build_recipe, initial_state, load_run

PARAMS = {"kernel": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3), "bias": jnp.array([1.0, -1.0, 2.0])}


def after(optimizer, steps=20):
    """The parameters after gradients of growing norms."""
    params, state, update = PARAMS, optimizer.init(PARAMS), jax.jit(optimizer.update)
    for k in range(steps):
        grads = jax.tree.map(lambda leaf, k=k: (k + 1) * jnp.cos(leaf + k), PARAMS)
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def flags(**fields):
    config = vae.Config(learning_rate=0.03, **fields)
    return optimised(config.build_for((28, 28, 1), 4000), config, 20).optimizer


def kernels(params):
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, optax.adam(0.03)),
        ({"weight_decay": 0.1}, optax.adamw(0.03, weight_decay=0.1, mask=kernels)),
        ({"clip_norm": 2.0}, optax.chain(optax.clip_by_global_norm(2.0), optax.adam(0.03))),
        (
            {"weight_decay": 0.1, "schedule": "cosine"},
            optax.adamw(
                optax.warmup_cosine_decay_schedule(0.0, 0.03, 1, 20), weight_decay=0.1, mask=kernels
            ),
        ),
        ({"skip_above": 1e9}, optax.adam(0.03)),
    ],
)
def test_it_is_optax_s_own(fields, expected):
    chex.assert_trees_all_close(after(flags(**fields)), after(expected), rtol=2e-5, atol=1e-7)
    if fields:
        unlike = jax.tree.leaves(jax.tree.map(jnp.allclose, after(flags(**fields)), after(flags())))
        assert not all(unlike) or "skip_above" in fields


def decayed(config):
    """The parameters, by name, that decay moves where there is no gradient."""
    recipe = config.build_for((4, 4, 1), 64)
    params = jax.tree.map(jnp.ones_like, recipe.init(jax.random.key(0), jnp.zeros((1, 4, 4, 1))))
    optimizer = optimised(recipe, config, 4).optimizer
    still = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(still, optimizer.init(params), params)
    moved = jax.tree_util.tree_leaves_with_path(updates)
    names = {jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in moved}
    return names, {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, update in moved
        if np.any(np.asarray(update))
    }


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"prior": "mixture"}, {"prior/mean", "prior/log_sigma", "prior/logits"}),
        ({"prior": "vampprior"}, {"prior/pseudo_inputs"}),
        ({"likelihood": "gaussian_learned"}, {"decoder/log_sigma"}),
        ({"net": "conv", "channels": (2,), "hidden": ()}, set()),
    ],
)
def test_weight_decay_is_of_kernels_alone(fields, kept):
    small = {"hidden": (3,), "batch_size": 8, "components": 2, "weight_decay": 0.1}
    names, moved = decayed(vae.Config(**(small | {"objective": Sampled()} | fields)))
    assert kept <= names - moved
    assert moved == {name for name in names if name.endswith("/kernel")} != set()


def test_embeddings_do_not_decay():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            return nn.Dense(2)(nn.LayerNorm()(nn.Embed(5, 3)(tokens)))

    params = Net().init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    config = vae.Config(weight_decay=0.1, learning_rate=1.0)
    plain = dataclasses.replace(config.build_for((4, 4, 1), 64), optimizer=optax.sgd(0.0))
    optimizer = optimised(plain, config, 4).optimizer
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    chex.assert_trees_all_equal(updates["Embed_0"], zero["Embed_0"])
    chex.assert_trees_all_close(
        updates["Dense_0"]["kernel"], -0.1 * params["Dense_0"]["kernel"], rtol=1e-6
    )


SMALL = ("--hidden", "16", "--batch-size", "400", "--epochs", "2")


def test_all_of_them_in_a_run(tmp_path):
    given = "--clip-norm 5 --weight-decay 0.01 --ema 0.9 --skip-above 50 --accumulate 5 --remat"
    workdir = tmp_path / "run"
    vae.main(vae.Config, [*SMALL, *given.split(), "--precision", "bf16", "--workdir", str(workdir)])
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if line["split"] == "train"]
    assert [line["skipped"] for line in trained] == [0, 0]
    run = load_run(workdir)
    assert run.config.ema == 0.9
    chex.assert_trees_all_equal(run.state.eval_params, run.state.ema)
    assert {leaf.dtype for leaf in jax.tree.leaves(run.state.params)} == {jnp.dtype("float32")}
    # What the run gives comes of the average.
    x = np.zeros((2, 28, 28, 1), np.uint8)
    expected = run.recipe.encode(run.state.ema, jnp.zeros((2, 28, 28, 1)))
    np.testing.assert_allclose(run.encode(x), expected, rtol=1e-4, atol=1e-5)


def test_each_of_them_is_in_the_step():
    """A flag that is ignored would leave no trace."""

    def traced(**fields):
        config = vae.Config(hidden=(16,), batch_size=8, **fields)
        recipe = build_recipe(config, (28, 28, 1), 4000)
        blank = Dataset({"x": np.zeros((1, 28, 28, 1), np.uint8), "label": np.zeros(1, np.int32)})
        state = initial_state(config, recipe, blank)
        batch = {"x": jnp.zeros((8, 28, 28, 1)), "label": jnp.zeros(8, jnp.int32)}
        return str(jax.make_jaxpr(recipe.step())(state, batch))

    plain = traced()
    found = {
        "bf16": "bf16[8,16]" in traced(precision="bf16"),
        "remat": "remat" in traced(remat=True),
        "parts": "f32[2,28,28,1]" in traced(accumulate=4),
        "clip": traced(clip_norm=1.0) != plain,
        "decay": traced(weight_decay=0.1) != plain,
        "ema": len(traced(ema=0.9)) > len(plain),
        "skip": "sort" in traced(skip_above=10.0),
    }
    assert all(found.values()), found
    assert not any(word in plain for word in ("bf16", "remat", "f32[2,28", "sort"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--clip-norm 0", "--clip-norm 0.0 is not a positive number"),
        ("--clip-norm nan", "--clip-norm nan is not a positive number"),
        ("--skip-above -1", "--skip-above -1.0 is not a positive number"),
        ("--skip-above 9 --skip-at-most 0", "--skip-at-most 0 is not positive"),
        ("--skip-at-most 3", "--skip-at-most 3 needs --skip-above"),
        ("--accumulate 0", "--accumulate 0 is not positive"),
        ("--accumulate 3", "--accumulate 3 does not divide --batch-size 400"),
        ("--weight-decay -1", "--weight-decay -1.0 is not a number from 0 on"),
        ("--ema 1", "--ema 1.0 is not from 0 to below 1"),
    ],
)
def test_what_makes_no_sense_is_one_line(capsys, given, message):
    with pytest.raises(SystemExit, match="2"):
        vae.main(vae.Config, [*SMALL, *given.split()])
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert not Path("runs").exists()


def test_models_of_several_losses_refuse_them():
    config = adversarial.Config(clip_norm=1.0, ema=0.9)
    with pytest.raises(ValueError, match=r"--clip-norm 1\.0, --ema 0\.9 are not for models"):
        build_recipe(config, (28, 28, 1), 4000)


@pytest.mark.parametrize("remat", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize(
    ("pair", "tolerance"),
    [
        (nets.mlp_pair((8, 8, 1), (16,)), 0.03),
        # Sums over pixels that cancel, at the beginning.
        pytest.param(nets.conv_pair((8, 8, 1), (4, 8)), 0.25, marks=pytest.mark.slow),
        (nets.pooled_pair((8, 8, 1), (4, 8)), 0.25),
    ],
    ids=("mlp", "conv", "pooled"),
)
def test_bfloat16_is_float32_to_its_precision(pair, tolerance, remat):
    """Same parameters by the same names; outputs and gradients float32, about 8 bits alike."""
    plain = models.functions(models.Autoencoder(*pair, 3))
    cast = models.functions(
        models.Autoencoder(*(Computed(net, jnp.bfloat16, remat) for net in pair), 3)
    )
    x = jax.random.uniform(jax.random.key(1), (32, 8, 8, 1))
    params = plain.init(jax.random.key(0), x)
    chex.assert_trees_all_equal(cast.init(jax.random.key(0), x), params)

    def loss(model, params):
        logits = model.apply({"params": params}, x)
        assert logits.dtype == jnp.float32
        return -jnp.mean(likelihoods.bernoulli_log_prob(logits, x))

    (value, grads), (exact, expected) = (
        jax.jit(jax.value_and_grad(lambda p, m=model: loss(m, p)))(params)
        for model in (cast, plain)
    )
    np.testing.assert_allclose(value, exact, rtol=2e-3)
    assert value != exact
    chex.assert_trees_all_equal_shapes_and_dtypes(grads, params)
    difference = jax.tree.map(lambda a, b: a - b, grads, expected)
    assert optax.tree.norm(difference) < tolerance * optax.tree.norm(expected)


def test_rematerialised_activations_are_not_kept_and_change_no_number():
    pair = nets.mlp_pair((8, 8, 1), (64, 64, 64))
    x = jax.random.uniform(jax.random.key(1), (256, 8, 8, 1))

    def of(remat):
        nets_of = [Computed(net, remat=True) for net in pair] if remat else pair
        model = models.functions(models.Autoencoder(*nets_of, 3))
        params = model.init(jax.random.key(0), x[:1])

        def loss(p):
            return jnp.mean(model.apply({"params": p}, x) ** 2)

        # What the gradient's function closes over is what the forward pass keeps for it.
        kept = jax.tree.leaves(jax.eval_shape(lambda p: jax.vjp(loss, p)[1], params))
        return jax.jit(jax.grad(loss))(params), sum(leaf.size for leaf in kept)

    (plain, more), (anew, less) = of(False), of(True)
    chex.assert_trees_all_close(anew, plain, rtol=1e-5, atol=1e-7)
    assert less < more / 2
