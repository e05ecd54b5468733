"""The phases against a step written by hand, their losses against scikit-learn, and the run."""

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit
from sklearn.metrics import accuracy_score, log_loss
from specs import image_spec, recipe_of, shapes_of

import aejax
from aejax.experiments import adversarial
from aejax.figures.codes import codes_beside_prior
from aejax.latents import standard_normal
from aejax.models import Point, flax_model
from aejax.objectives import Discriminator, Generator, Reconstruction, make_loss
from aejax.runs.config import check_config
from aejax.runs.opening import initial_state
from aejax.training.adversarial import Phase, make_phased_step, phased_loss, phased_optimizer
from aejax.training.state import TrainState

PARTS = {
    "reconstruction": ("encoder", "decoder"),
    "discriminator": ("discriminator",),
    "generator": ("encoder",),
}
ROWS, DRAWS = 6, np.random.default_rng(1).normal(size=(6, 2))


class Linear(nn.Module):
    """All three parts are products; the error is squared."""

    sample_prior: Callable

    def setup(self):
        normal = nn.initializers.normal()
        self.encoder = self.param("encoder", normal, (4, 2))
        self.decoder = self.param("decoder", normal, (2, 4))
        self.discriminator = self.param("discriminator", normal, (2,))

    def posterior(self, batch):
        return Point(batch["x"].reshape(len(batch["x"]), -1) @ self.encoder)

    def prior(self, batch=None):
        return SimpleNamespace(samples=self.sample_prior)

    def discriminate(self, z):
        return z @ self.discriminator

    def log_likelihood(self, batch, z):
        x = batch["x"].reshape(len(batch["x"]), -1)
        return -jnp.sum((z @ self.decoder - x) ** 2, axis=-1)


def linear_phases(optimizers, sample_prior=lambda key, n: jnp.asarray(DRAWS)):
    model = flax_model(Linear(sample_prior))
    criteria = Reconstruction(), Discriminator(), Generator()
    return {
        name: Phase(make_loss(model, criterion), optimizers[name], PARTS[name])
        for name, criterion in zip(PARTS, criteria, strict=True)
    }


def linear_problem(dtype=None):
    rng = np.random.default_rng(0)
    shapes = {"encoder": (4, 2), "decoder": (2, 4), "discriminator": (2,)}
    params = {name: jnp.asarray(rng.normal(size=shape), dtype) for name, shape in shapes.items()}
    return params, {"x": jnp.asarray(rng.uniform(size=(ROWS, 2, 2, 1)), dtype)}


def by_hand(params, x, rates, decay, steps):
    """Gradient descent with momentum, the gradients derived on paper; yields the parameters."""
    w, v, u = (np.asarray(params[name]) for name in ("encoder", "decoder", "discriminator"))
    x = np.asarray(x).reshape(ROWS, -1)
    trace_w = trace_v = trace_u = trace_generator = 0
    for _ in range(steps):
        residual = 2 * (x @ w @ v - x) / ROWS
        trace_w = x.T @ residual @ v.T + decay * trace_w
        trace_v = (x @ w).T @ residual + decay * trace_v
        w, v = w - rates["reconstruction"] * trace_w, v - rates["reconstruction"] * trace_v
        codes = x @ w
        gradient = (-expit(-DRAWS @ u) @ DRAWS + expit(codes @ u) @ codes) / ROWS
        trace_u = gradient + decay * trace_u
        u = u - rates["discriminator"] * trace_u
        trace_generator = x.T @ np.outer(-expit(-codes @ u) / ROWS, u) + decay * trace_generator
        w = w - rates["generator"] * trace_generator
    return {"encoder": w, "decoder": v, "discriminator": u}


def start_linear(phases, dtype=None):
    params, batch = linear_problem(dtype)
    return TrainState.create(params, phased_optimizer(phases), jax.random.key(7)), batch


def test_three_steps_equal_three_written_by_hand():
    rates = {"reconstruction": 0.05, "discriminator": 0.3, "generator": 0.1}
    with jax.enable_x64(True):
        phases = linear_phases({name: optax.sgd(r, momentum=0.9) for name, r in rates.items()})
        state, batch = start_linear(phases)
        expected = by_hand(state.params, batch["x"], rates, 0.9, steps=3)
        step = jax.jit(make_phased_step(phases))
        for _ in range(3):
            state, _ = step(state, batch)
        assert state.step == 3
        chex.assert_trees_all_close(state.params, expected, rtol=1e-9)


@pytest.mark.parametrize("moving", PARTS)
def test_a_phase_updates_its_own_parts_only(moving):
    optimizers = {name: optax.sgd(0.1 if name == moving else 0.0) for name in PARTS}
    phases = linear_phases(optimizers)
    state, batch = start_linear(phases)
    after, _ = jax.jit(make_phased_step(phases))(state, batch)
    for part, before in state.params.items():
        assert bool(jnp.any(after.params[part] != before)) == (part in PARTS[moving])


def test_each_phase_has_its_optimisers_state_and_no_one_gradient():
    phases = linear_phases({name: optax.adam(1e-2) for name in PARTS})
    state, batch = start_linear(phases)
    moments = {name: opt_state[0].mu.keys() for name, opt_state in state.opt_state.items()}
    assert moments == {name: set(parts) for name, parts in PARTS.items()}
    after, _ = jax.jit(make_phased_step(phases))(state, batch)
    assert [opt_state[0].count for opt_state in after.opt_state.values()] == [1, 1, 1]
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    with pytest.raises(TypeError, match="no one gradient"):
        phased_optimizer(phases).update(state.params, state.opt_state)


def test_no_gradient_of_the_discriminator_reaches_the_encoder():
    phases = linear_phases({name: optax.sgd(0.1) for name in PARTS})
    params, batch = linear_problem()

    def gradient(name):
        loss_fn = phases[name].loss_fn
        return jax.grad(lambda p: loss_fn(p, {}, batch, jax.random.key(0), 0)[0])(params)

    found = gradient("discriminator")
    chex.assert_trees_all_equal(found["encoder"], jnp.zeros((4, 2)))
    assert jnp.all(found["discriminator"] != 0)
    assert jnp.all(gradient("generator")["encoder"] != 0)


def test_every_step_draws_the_prior_afresh():
    """With nothing moving, the discriminator's loss differs by its draws alone."""
    phases = linear_phases(
        {name: optax.sgd(0.0) for name in PARTS},
        lambda key, n: standard_normal((n, 2)).sample(key),
    )
    state, batch = start_linear(phases)
    step, losses = jax.jit(make_phased_step(phases)), []
    for _ in range(3):
        state, metrics = step(state, batch)
        losses.append(metrics)
    assert len({float(m["discriminator"]) for m in losses}) == 3
    assert len({float(m["generator"]) for m in losses}) == 1


def test_losses_and_accuracy_are_those_of_scikit_learn_and_leave_masked_rows_out():
    phases = linear_phases({name: optax.sgd(0.1) for name in PARTS})
    params, batch = linear_problem()
    keep = np.arange(ROWS) < 4
    given = jnp.where(keep.reshape(-1, 1, 1, 1), batch["x"], jnp.nan)
    loss, (metrics, _) = phased_loss(phases)(
        params, {}, {"x": given, "mask": jnp.asarray(keep)}, jax.random.key(0), 0
    )
    codes = np.asarray(batch["x"].reshape(ROWS, -1) @ params["encoder"])[keep]
    logits = np.concatenate([DRAWS[keep], codes]) @ np.asarray(params["discriminator"])
    is_prior = np.repeat([1, 0], 4)
    assert metrics["discriminator"] == pytest.approx(
        2 * log_loss(is_prior, expit(logits)), rel=1e-5
    )
    assert metrics["discriminator_accuracy"] == pytest.approx(accuracy_score(is_prior, logits > 0))
    fooled = log_loss(np.ones(4), expit(logits[4:]), labels=[0, 1])
    assert metrics["generator"] == pytest.approx(fooled, rel=1e-5)
    assert loss == metrics["loss"] == metrics["reconstruction"]


def test_a_discriminator_that_knows_nothing_costs_ln_2_and_a_sure_one_is_finite():
    phases = linear_phases({name: optax.sgd(0.1) for name in PARTS})
    params, batch = linear_problem()
    loss_fn = phased_loss(phases)
    _, (metrics, _) = loss_fn(
        params | {"discriminator": jnp.zeros(2)}, {}, batch, jax.random.key(0), 0
    )
    assert metrics["discriminator"] == pytest.approx(2 * np.log(2))
    assert metrics["generator"] == pytest.approx(np.log(2))
    sure = params | {"discriminator": jnp.array([1e6, -1e6])}
    for name in ("discriminator", "generator"):
        phase = phases[name].loss_fn
        value, grads = jax.value_and_grad(
            lambda p, phase=phase: phase(p, {}, batch, jax.random.key(0), 0)[0]
        )(sure)
        chex.assert_tree_all_finite((value, grads))


def test_an_affine_encoder_finds_the_priors_mean_and_deviation():
    """x ~ N(3, 2^2), code a x + b: against a quadratic discriminator only N(0, 1) is at rest."""
    draw = lambda key, n: jax.random.normal(key, (n, 1))  # noqa: E731

    class Affine(nn.Module):
        def setup(self):
            self.encoder = self.param("encoder", nn.initializers.zeros, (2,))
            self.discriminator = self.param("discriminator", nn.initializers.zeros, (3,))

        def posterior(self, batch):
            return Point(self.encoder[0] * batch["x"] + self.encoder[1])

        def prior(self, batch=None):
            return SimpleNamespace(samples=draw)

        def discriminate(self, z):
            a = self.discriminator
            return (a[0] + a[1] * z + a[2] * z**2)[:, 0]

    model = flax_model(Affine())
    adam, slower = optax.adam(1e-2, b1=0.5), optax.adam(3e-3, b1=0.5)
    phases = {
        "discriminator": Phase(make_loss(model, Discriminator()), adam, ("discriminator",)),
        "generator": Phase(make_loss(model, Generator()), slower, ("encoder",)),
    }
    params = {"encoder": jnp.array([0.1, -1.0]), "discriminator": jnp.zeros(3)}
    state = TrainState.create(params, phased_optimizer(phases), jax.random.key(0))
    step = make_phased_step(phases)

    def body(state, key):
        state, _ = step(state, {"x": 3 + 2 * draw(key, 256)})
        return state, state.params["encoder"]

    keys = jax.random.split(jax.random.key(1), 4000)
    _, path = jax.jit(lambda state, keys: jax.lax.scan(body, state, keys))(state, keys)
    slope, shift = np.abs(np.asarray(path[-1000:]).mean(axis=0))
    assert 2 * slope == pytest.approx(1, abs=0.1)
    assert 3 * slope - shift == pytest.approx(0, abs=0.1)


SMALL = {"hidden": (16,), "discriminator": (8,), "batch_size": 400, "checkpoint_every": 1}


def test_the_lessons_parameters():
    config = adversarial.Config(
        latent_dim=150, hidden=(1000,) * 3, discriminator=(500,) * 4, batch_size=256
    )
    params = shapes_of(config.model(image_spec()))
    assert params.keys() == {"encoder", "decoder", "discriminator"}

    def dense(*widths):
        return sum(a * b + b for a, b in itertools.pairwise(widths))

    sizes = {k: sum(leaf.size for leaf in jax.tree.leaves(v)) for k, v in params.items()}
    assert sizes == {
        "encoder": dense(784, 1000, 1000, 1000, 150),
        "decoder": dense(150, 1000, 1000, 1000, 784),
        "discriminator": dense(150, 500, 500, 500, 500, 1),
    }


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_discriminator_keeps_its_bits(frozen):
    config = adversarial.Config(**SMALL, frozen_discriminator=frozen)
    recipe = recipe_of(config, (4, 4, 1))
    images = jax.random.uniform(jax.random.key(1), (8, 4, 4, 1))
    state = initial_state(config, recipe, image_spec((4, 4, 1)))
    params, step = state.params, jax.jit(recipe.train_step)
    for _ in range(3):
        state, _ = step(state, {"x": images})

    def moved(part):
        pairs = zip(jax.tree.leaves(params[part]), jax.tree.leaves(state.params[part]), strict=True)
        return any(np.asarray(a).tobytes() != np.asarray(b).tobytes() for a, b in pairs)

    assert moved("discriminator") != frozen
    assert moved("encoder")
    assert moved("decoder")


@pytest.mark.slow
def test_resuming_goes_on_to_the_bit():
    """Over two devices that share each batch."""
    small = SMALL | {"devices": 2}
    whole = aejax.run(adversarial.Config(**small, workdir="whole", epochs=2))
    aejax.run(adversarial.Config(**small, workdir="parts", epochs=1))
    parts = aejax.run(adversarial.Config(**small, workdir="parts", epochs=2, resume=True))
    for name in ("params", "opt_state", "step"):
        chex.assert_trees_all_equal(getattr(whole.state, name), getattr(parts.state, name))
    assert whole.metrics == parts.metrics
    names = [record.keys() - {"images_per_second"} for record in whole.history]
    assert names[0] == names[1]
    figures = sorted(path.stem for path in (whole.workdir / "figures").iterdir())
    assert figures == ["codes", "curves", "manifold", "reconstructions", "samples"]


@pytest.mark.slow
def test_the_script_trains_and_measures(start):
    small = ["--hidden", "16", "--discriminator", "8", "--epochs", "1", "--batch-size", "300"]
    done = start("adversarial.py", *small, "--prior", "mixture", "--workdir", "r")
    assert done.returncode == 0, done.stderr
    figures = ["codes", "curves", "reconstructions", "samples"]
    assert sorted(os.listdir("r/figures")) == [f"{name}.png" for name in figures]
    found = json.loads(Path("r/results.json").read_text())
    assert np.all(np.isfinite(list(found.values())))
    for name in ("mmd2_rbf", "mmd2_imq", "two_sample_accuracy_neighbours", "deviation_off_by"):
        assert found[name] > found[f"{name}_null_95"]
        assert found[f"{name}_p"] == pytest.approx(1 / 201)
    assert found["told_apart_by"] >= 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"latent_dim": 0}, "--latent-dim 0 is not positive"),
        (
            {"prior": "mixture", "latent_dim": 3},
            "--prior mixture lies in the plane, not in 3 dimensions: "
            "give --latent-dim 2 or --prior normal",
        ),
        ({"discriminator": (8, 0)}, r"--discriminator \(8, 0\) has a width"),
        ({"hidden": (0,)}, r"hidden \(0,\) has a width"),
        ({"generator_rate": -1.0}, "--generator-rate -1.0 is not a positive number"),
        ({"discriminator_rate": float("nan")}, "--discriminator-rate nan is not"),
    ],
)
def test_bad_flags_are_named(fields, message):
    def build(config):
        check_config(config)
        recipe_of(config)

    with pytest.raises(aejax.UsageError, match=message):
        build(adversarial.Config(**fields))


@pytest.mark.parametrize("dim", [2, 7])
def test_codes_beside_the_prior(dim):
    rng = np.random.default_rng(0)
    codes, draws = 2 + rng.normal(size=(30, dim)), rng.normal(size=(40, dim))
    figure = codes_beside_prior(codes, draws, np.arange(30) % 3, ("a", "b", "c"))
    left, right = figure.axes
    points = [np.asarray(group.get_offsets()) for group in (*left.collections, *right.collections)]
    if dim == 2:
        assert [len(group) for group in points] == [10, 10, 10, 40]
        np.testing.assert_allclose(points[1], codes[1::3])
        assert left.get_xlim() == right.get_xlim()
    else:
        np.testing.assert_allclose(points[0], np.stack([draws.mean(0), draws.std(0)], axis=-1))
        np.testing.assert_allclose(points[1], np.stack([codes.mean(0), codes.std(0)], axis=-1))
