"""The sequence VAE: what a token sees, one probability of all sequences, its own draws."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.models import sequence_vae
from aejax.nets.sequences import BidirectionalEncoder, Conductor
from aejax.nets.writers import SequenceDecoder

VOCABULARY, STEPS, LATENT = 5, 8, 3
FORMS: dict = {
    "flat": {},
    "hierarchical": {"bars": 2},
    "hierarchical tracks with chords": {"bars": 2, "tracks": 2, "conditions": (("chord", 4),)},
    "flat tracks": {"tracks": 2},
    "chords": {"conditions": (("chord", 4),)},
}
EVERY_FORM = [
    pytest.param(name, marks=[] if name.startswith("hier") else pytest.mark.slow) for name in FORMS
]


class Jitted:
    """The methods of a bound model, compiled."""

    def __init__(self, model, variables):
        self.model, self.variables, self.compiled = model, variables, {}

    def __getattr__(self, name):
        def method(variables, *args):
            return getattr(self.model.bind(variables), name)(*args)

        compiled = self.compiled.setdefault(name, jax.jit(method))
        return lambda *args: compiled(self.variables, *args)


@functools.cache
def build(bars=None, tracks=None, conditions=(), steps=STEPS, vocabulary=VOCABULARY):
    """A small model with parameters that are all scattered, and a batch of three."""
    conductor = None if bars is None else Conductor(bars, 6)
    decoder = SequenceDecoder(vocabulary, tracks or 1, 7, 2, conductor)
    shape = (steps,) if tracks is None else (tracks, steps)
    model = sequence_vae(BidirectionalEncoder(vocabulary, 4), decoder, LATENT, shape, conditions)
    rng = np.random.default_rng(0)
    batch = {"x": rng.integers(0, vocabulary, (3, *shape)).astype(np.int32)}
    batch |= {n: rng.normal(size=(3, 2, size)).astype(np.float32) for n, size in conditions}
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
    scattered = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    return Jitted(model, scattered), batch


def codes(count=3):
    return np.random.default_rng(1).normal(size=(count, LATENT)).astype(np.float32)


def given(batch):
    """What `decode` and `draw` are given beside z."""
    return batch if len(batch) > 1 else None


def input_jacobian(bound, batch, monkeypatch, shape):
    """How every logit of the first example's first track moves with every input `[S, rows, V]`."""
    one_hot = jax.nn.one_hot

    def logits(moved):
        monkeypatch.setattr(jax.nn, "one_hot", lambda x, size: one_hot(x, size) + moved)
        return bound.model.bind(bound.variables).logits(batch, codes()[:1])[0]

    found = np.abs(jax.jit(jax.jacobian(logits))(jnp.zeros(shape)))  # [T, V, S, rows, V]
    return found.sum(axis=(1, 4))


def test_flat_logits_do_not_see_the_token_or_those_after_it(monkeypatch):
    bound, batch = build()
    batch = {"x": batch["x"][:1]}
    # Input s is the token before step s.
    moves = input_jacobian(bound, batch, monkeypatch, (STEPS, 1, VOCABULARY))[:, :, 0] > 0
    np.testing.assert_array_equal(moves, np.tri(STEPS, dtype=bool))


def test_a_bar_sees_of_those_before_it_the_token_that_crosses_alone(monkeypatch):
    bound, batch = build(bars=2)
    batch, half = {"x": batch["x"][:1]}, STEPS // 2
    moves = input_jacobian(bound, batch, monkeypatch, (half, 2, VOCABULARY)) > 0
    for bar, other in itertools.product(range(2), repeat=2):
        expected = np.tri(half, dtype=bool) & (bar == other)
        rows = slice(bar * half, (bar + 1) * half)
        np.testing.assert_array_equal(moves[rows, :, other], expected)


@pytest.mark.parametrize(("bars", "seen_from"), [(None, 0), (2, 3)])
def test_which_tokens_change_the_logits(bars, seen_from):
    bound, batch = build(bars=bars)
    plain = bound.logits(batch, codes())
    for t in range(STEPS):
        x = batch["x"].copy()
        x[:, t] = (x[:, t] + 1) % VOCABULARY
        changed = np.abs(bound.logits({"x": x}, codes()) - plain).sum(axis=(0, 2)) > 0
        after = np.arange(STEPS) > t
        if bars and t < STEPS // 2:
            after &= np.arange(STEPS) < (STEPS if t == seen_from else STEPS // 2)
        np.testing.assert_array_equal(changed, after)
    moved = bound.logits(batch, codes() + 1e-2)
    assert (np.abs(moved - plain).sum(axis=(0, 2)) > 0).all()


@pytest.mark.parametrize("form", EVERY_FORM)
def test_all_sequences_together_have_one_probability(form):
    small = FORMS[form] | {"steps": 2 if "tracks" in FORMS[form] else 4, "vocabulary": 2}
    bound, batch = build(**small)
    shape = batch["x"].shape[1:]
    every = np.array(list(itertools.product(range(2), repeat=int(np.prod(shape)))), np.int32)
    rows = {n: np.repeat(a[:1], len(every), axis=0) for n, a in batch.items()}
    rows["x"] = every.reshape(-1, *shape)
    log_p = bound.log_likelihood(rows, np.repeat(codes(1), len(every), axis=0))
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-4)
    assert np.ptp(log_p) > 1


@pytest.mark.parametrize("form", EVERY_FORM)
def test_what_it_writes_is_what_it_says_of_it(form):
    """Teacher-forced on its own sequences it would choose each token again."""
    bound, batch = build(**FORMS[form])
    z = codes()
    greedy = bound.decode(z, given(batch))
    np.testing.assert_array_equal(
        np.argmax(bound.logits(batch | {"x": greedy}, z), axis=-1), greedy
    )
    drawn = np.asarray(bound.draw(jax.random.key(5), z, given(batch)))
    assert drawn.shape == batch["x"].shape
    assert drawn.dtype == np.int32
    assert (drawn != greedy).any()
    logits = bound.logits(batch | {"x": drawn}, z)
    logits = logits.reshape(3, -1, STEPS, VOCABULARY)
    keys = jax.random.split(jax.random.key(5), logits.shape[1:3])
    redraw = jax.vmap(jax.vmap(jax.random.categorical, (0, 1), 1), (0, 1), 1)
    np.testing.assert_array_equal(redraw(keys, logits), drawn.reshape(3, -1, STEPS))


def test_a_low_temperature_is_greedy_and_a_high_one_uniform():
    bound, _ = build()
    z = np.repeat(codes(1), 500, axis=0)
    cold = bound.draw(jax.random.key(0), z, None, 1e-4)
    np.testing.assert_array_equal(cold, bound.decode(z))
    hot = bound.draw(jax.random.key(0), z, None, 1e4)
    shares = np.bincount(np.ravel(hot), minlength=VOCABULARY) / hot.size
    np.testing.assert_allclose(shares, 1 / VOCABULARY, atol=0.03)


@pytest.mark.parametrize("form", EVERY_FORM)
def test_scheduled_sampling_at_its_ends(form):
    bound, batch = build(**FORMS[form])
    z = codes()
    truth, half, own = (bound.fed(batch, z, jax.random.key(2), p) for p in (0.0, 0.5, 1.0))
    np.testing.assert_array_equal(truth, batch["x"])
    free = bound.draw(jax.random.split(jax.random.key(2))[1], z, given(batch))
    np.testing.assert_array_equal(own, free)
    assert 0.4 < np.mean(np.asarray(half) == batch["x"]) < 0.9


def test_tracks_add_up_and_share_their_conductor():
    bound, batch = build(bars=2, tracks=4)
    z = codes()
    plain = np.asarray(bound.logits(batch, z))
    log_p = jax.nn.log_softmax(plain)
    each = np.take_along_axis(log_p, batch["x"][..., None], axis=-1)[..., 0].sum(axis=(1, 2))
    np.testing.assert_allclose(bound.log_likelihood(batch, z), each, rtol=1e-5)
    x = batch["x"].copy()
    x[:, 1] = (x[:, 1] + 1) % VOCABULARY
    moved = np.abs(bound.logits({"x": x}, z) - plain).sum(axis=(0, 2, 3)) > 0
    np.testing.assert_array_equal(moved, [False, True, False, False])
    assert len({plain[0, track].tobytes() for track in range(4)}) == 4


def test_draws_of_z_are_the_first_axis():
    bound, batch = build(bars=2, conditions=(("chord", 4),))
    z = np.stack([codes(), codes() + 1])
    each = [bound.log_likelihood(batch, one) for one in z]
    np.testing.assert_allclose(bound.log_likelihood(batch, z), np.stack(each), rtol=1e-5)
    with pytest.raises(ValueError, match="samples are the first axis"):
        bound.log_likelihood(batch, codes(2))


def test_chords_reach_the_steps_that_they_are_of():
    bound, batch = build(conditions=(("chord", 4),))
    z = codes()
    other = batch["chord"].copy()
    other[:, 1] += 1  # of the second half
    moved = np.abs(bound.logits(batch | {"chord": other}, z) - bound.logits(batch, z))
    np.testing.assert_array_equal(moved.sum(axis=(0, 2)) > 0, np.arange(STEPS) >= STEPS // 2)
    posterior = bound.posterior(batch), bound.posterior(batch | {"chord": other})
    assert (np.abs(posterior[0].mean - posterior[1].mean) > 0).all()
    without = bound.decode(z)
    silent = batch | {"chord": np.zeros_like(other)}
    np.testing.assert_array_equal(without, bound.decode(z, silent))
