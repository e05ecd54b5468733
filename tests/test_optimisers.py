"""Every transformation of Optax in a training step: extra arguments, skipping, evaluation."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from aejax import Dataset, TrainState, fit, make_eval_step, make_train_step
from aejax.errors import DivergedError
from aejax.training.skipping import skip_outliers

README = Path(__file__).parents[1] / "aejax" / "README.md"
RATE = 1e-2
PLAIN = optax.sgd(RATE)
OF_RATE = [
    *("adabelief", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamaxw", "adamw"),
    *("adan", "amsgrad", "fromage", "lars", "lamb", "lion", "nadam", "nadamw", "noisy_sgd"),
    *("novograd", "optimistic_gradient_descent", "optimistic_adam_v2", "polyak_sgd", "radam"),
    *("rmsprop", "rprop", "sgd", "sign_sgd", "signum", "sm3", "yogi"),
    *("contrib.acprop", "contrib.ademamix", "contrib.adopt", "contrib.dog", "contrib.dowg"),
    *("contrib.galore", "contrib.madgrad", "contrib.momo", "contrib.momo_adam", "contrib.muon"),
    *("contrib.schedule_free_adamw", "contrib.schedule_free_sgd"),
    *("contrib.simplified_ademamix", "contrib.sophia"),
]
WITHOUT = ["contrib.cocob", "contrib.dadapt_adamw", "contrib.prodigy", "lbfgs"]
OTHERS = {
    "backtracking": lambda: optax.chain(PLAIN, optax.scale_by_backtracking_linesearch(3)),
    "apply_if_finite": lambda: optax.apply_if_finite(PLAIN, 3),
    "apply_every": lambda: optax.chain(optax.apply_every(2), PLAIN),
    "MultiSteps": lambda: optax.MultiSteps(PLAIN, 2).gradient_transformation(),
    "conditionally_transform": lambda: optax.conditionally_transform(PLAIN, lambda step: step > 0),
    "masked": lambda: optax.masked(PLAIN, {"w": True}),
    "partition": lambda: optax.partition({"a": PLAIN}, {"w": "a"}),
    "clip": lambda: optax.chain(optax.clip(1.0), PLAIN),
    "adaptive_grad_clip": lambda: optax.chain(optax.adaptive_grad_clip(0.1), PLAIN),
    "clip_by_global_norm": lambda: optax.chain(optax.clip_by_global_norm(1.0), PLAIN),
    "centralize": lambda: optax.chain(optax.centralize(), PLAIN),
    "ema": lambda: optax.chain(PLAIN, optax.ema(0.9)),
    "flatten": lambda: optax.flatten(PLAIN),
    "inject_hyperparams": lambda: optax.inject_hyperparams(optax.sgd)(learning_rate=RATE),
    "normalize_by_update_norm": lambda: optax.chain(optax.normalize_by_update_norm(), PLAIN),
    "skip_outliers": lambda: skip_outliers(optax.polyak_sgd(RATE), factor=10.0, patience=3),
    "contrib.reduce_on_plateau": lambda: optax.chain(PLAIN, contrib.reduce_on_plateau()),
    "contrib.mechanize": lambda: contrib.mechanize(optax.sgd(1e-3)),
    "contrib.sam": lambda: contrib.sam(PLAIN, optax.chain(contrib.normalize(), optax.sgd(0.05))),
    "contrib.schedule_free": lambda: contrib.schedule_free(PLAIN, RATE),
}
ASKING = [
    *("polyak_sgd", "lbfgs", "backtracking", "skip_outliers", "contrib.momo"),
    *("contrib.reduce_on_plateau", "contrib.sophia"),
]
UNFIT = ["lookahead", "contrib.dpsgd", "contrib.differentially_private_aggregate"]
PARAMS = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)}
X = np.random.default_rng(1).normal(size=(12, 4)).astype(np.float32)


def quadratic(params, extra, batch, key, step):
    loss = jnp.mean((batch["x"] @ params["w"] - 1.0) ** 2)
    return loss, ({"loss": loss}, extra)


def built(name):
    if name in OTHERS:
        return OTHERS[name]()
    if name == "noisy_sgd":
        return optax.noisy_sgd(RATE, key=jax.random.key(1))
    room = contrib if name.startswith("contrib.") else optax
    build = getattr(room, name.removeprefix("contrib."))
    return build(RATE) if name in OF_RATE else build()


def state_of(optimizer):
    return TrainState.create(PARAMS, optimizer, jax.random.key(0))


@pytest.mark.parametrize("name", [*OF_RATE, *WITHOUT, *OTHERS])
def test_every_transformation_of_optax_is_taken(name):
    optimizer = built(name)
    state, step = state_of(optimizer), make_train_step(quadratic, optimizer)
    after, _ = jax.eval_shape(step, state, {"x": X})
    assert jax.tree.structure(after) == jax.tree.structure(state)


@pytest.mark.parametrize("name", ASKING)
def test_a_step_is_that_of_a_loop_that_gives_what_is_asked_for(name):
    optimizer = built(name)
    step = make_train_step(quadratic, optimizer)
    update = optax.with_extra_args_support(optimizer).update

    def by_hand(params, opt_state):
        def value_fn(params, obj_fn=None):
            return quadratic(params, {}, {"x": X}, None, 0)[0]

        value, grads = jax.value_and_grad(value_fn)(params)
        others = {"value": value, "grad": grads, "value_fn": value_fn, "obj_fn": value_fn}
        updates, opt_state = update(grads, opt_state, params, **others)
        return optax.apply_updates(params, updates), opt_state

    def both(state, params, opt_state):
        for _ in range(2):
            state, _ = step(state, {"x": X})
            params, opt_state = by_hand(params, opt_state)
        return state.params, params

    found, expected = jax.jit(both)(state_of(optimizer), PARAMS, optimizer.init(PARAMS))
    np.testing.assert_allclose(found["w"], expected["w"], rtol=1e-5, atol=1e-6)
    assert np.isfinite(found["w"]).all()


def test_what_cannot_be_one_is_said_in_the_docs():
    said = README.read_text().partition("## Optimisers")[2].partition("\n## ")[0]
    for name in UNFIT:
        assert f"`{name}`" in said


@pytest.mark.parametrize("name", ["polyak_sgd", "contrib.reduce_on_plateau", "lbfgs"])
def test_fit_hands_on_what_they_ask_for(name):
    optimizer = built(name)
    _, history = fit(
        state_of(optimizer), quadratic, optimizer, Dataset({"x": X}), epochs=2, batch_size=6
    )
    assert history[-1]["loss"] < history[0]["loss"]


def spoilt(params, extra, batch, key, step):
    loss, (_, extra) = quadratic(params, extra, batch, key, step)
    loss = jnp.where(step == 1, jnp.nan, loss) * params["w"][0, 0] / params["w"][0, 0]
    return loss, ({"loss": loss}, {"seen": extra["seen"] + loss})


@pytest.mark.parametrize("inside", [lambda a: a, lambda a: optax.chain(optax.clip(9.0), a)])
def test_an_update_that_optax_leaves_out_is_no_divergence(inside):
    optimizer = inside(optax.apply_if_finite(PLAIN, 3))
    extra = {"seen": jnp.zeros(())}
    state = TrainState.create(PARAMS, optimizer, jax.random.key(0), extra=extra, ema=True)
    data = Dataset({"x": X})
    after, history = fit(state, spoilt, optimizer, data, epochs=1, batch_size=3)
    assert history[0]["skipped"] == 1
    assert np.isfinite(history[0]["loss"])
    for tree in (after.params, after.ema, after.extra):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def test_what_optax_then_accepts_is_a_divergence():
    def never(params, extra, batch, key, step):
        loss = jnp.nan * jnp.sum(params["w"])
        return loss, ({"loss": loss}, extra)

    optimizer = optax.apply_if_finite(PLAIN, 1)
    with pytest.raises(DivergedError, match="not finite"):
        fit(state_of(optimizer), never, optimizer, Dataset({"x": X}), epochs=1, batch_size=3)


def test_schedule_frees_own_parameters_are_evaluated():
    optimizer = contrib.schedule_free_sgd(0.3)

    def own(state):
        return contrib.schedule_free_eval_params(state.opt_state, state.params)

    data = Dataset({"x": X})
    state, history = fit(
        state_of(optimizer),
        quadratic,
        optimizer,
        data,
        data,
        epochs=3,
        batch_size=6,
        eval_params=own,
    )
    expected = quadratic(own(state), {}, {"x": X}, None, 0)[0]
    other = quadratic(state.params, {}, {"x": X}, None, 0)[0]
    assert abs(expected - other) > 1e-3
    np.testing.assert_allclose(history[-1]["loss"], expected, rtol=1e-5)
    metrics = make_eval_step(quadratic, eval_params=own)(state, {"x": X})
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)
