"""The flags around an optimiser, against Optax's own, and from the command line."""

import json
from pathlib import Path

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from specs import image_spec, recipe_of

from aejax import likelihoods, models, nets
from aejax.experiments import adversarial, vae
from aejax.models.computed import computed
from aejax.nets.compute import Computed
from aejax.objectives import Sampled
from aejax.runs.opening import initial_state, load_run
from aejax.runs.optimisation import wrapped_optimizer

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
    return wrapped_optimizer(config.optimizer(20), config, 20)


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
    recipe = recipe_of(config, (4, 4, 1), 64)
    state = initial_state(config, recipe, image_spec((4, 4, 1)))
    params, optimizer = jax.tree.map(jnp.ones_like, state.params), recipe.optimizer
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
        ({"prior": "mixture"}, {"prior_net/mean", "prior_net/log_sigma", "prior_net/logits"}),
        ({"prior": "vampprior"}, {"prior_net/pseudo_inputs"}),
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
    optimizer = wrapped_optimizer(optax.sgd(0.0), config, 4)
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
    batch = {"x": jnp.zeros((2, 28, 28, 1))}
    expected = run.recipe.model.posterior({"params": run.state.ema}, batch).mean
    np.testing.assert_allclose(run.encode(x), expected, rtol=1e-4, atol=1e-5)


def test_each_of_them_is_in_the_step():
    """A flag that is ignored would leave no trace."""

    def traced(**fields):
        config = vae.Config(hidden=(16,), batch_size=8, **fields)
        recipe = recipe_of(config)
        state = initial_state(config, recipe, image_spec())
        batch = {"x": jnp.zeros((8, 28, 28, 1)), "label": jnp.zeros(8, jnp.int32)}
        return str(jax.make_jaxpr(recipe.train_step)(state, batch))

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
        ("--weight-decay -1", "--weight-decay -1.0 is not a number at least 0"),
        ("--ema 1", "--ema 1.0 is not a number at least 0 and below 1"),
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
        recipe_of(config)


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
    p_x = likelihoods.bernoulli()
    plain = models.autoencoder(*pair, p_x, 3)
    cast = models.autoencoder(*(Computed(net, jnp.bfloat16, remat) for net in pair), p_x, 3)
    assert computed(plain, jnp.bfloat16, remat).module == cast.module  # as the flags make it
    x = jax.random.uniform(jax.random.key(1), (32, 8, 8, 1))
    params = plain.init(jax.random.key(0), {"x": x})["params"]
    chex.assert_trees_all_equal(cast.init(jax.random.key(0), {"x": x})["params"], params)

    def loss(model, params):
        variables, batch = {"params": params}, {"x": x}
        codes = model.posterior(variables, batch).mean
        assert codes.dtype == model.decode(variables, codes).dtype == jnp.float32
        return -jnp.mean(model.log_likelihood(variables, batch, codes))

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
        model = models.autoencoder(*nets_of, likelihoods.gaussian(1.0), 3)
        params = model.init(jax.random.key(0), {"x": x[:1]})["params"]

        def loss(p):
            codes = model.posterior({"params": p}, {"x": x}).mean
            return jnp.mean(model.decode({"params": p}, codes) ** 2)

        # What the gradient's function closes over is what the forward pass keeps for it.
        kept = jax.tree.leaves(jax.eval_shape(lambda p: jax.vjp(loss, p)[1], params))
        return jax.jit(jax.grad(loss))(params), sum(leaf.size for leaf in kept)

    (plain, more), (anew, less) = of(False), of(True)
    chex.assert_trees_all_close(anew, plain, rtol=1e-5, atol=1e-7)
    assert less < more / 2
