"""MusicVAE's objective by hand: the ramp, free bits, scheduled sampling, other keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.models import sequence_vae
from aejax.music.tokens import to_pitch
from aejax.music.transposition import transposed, turned_pitch_classes, within_range
from aejax.nets.sequences import BidirectionalEncoder
from aejax.nets.writers import SequenceDecoder
from aejax.objectives import Objective, SequenceElbo, Transposed, make_loss
from aejax.objectives.sequence import accuracies

STEPS, VOCABULARY = 8, 90
TUNES = np.array(
    [[41, 0, 43, 0, 1, 0, 0, 41], [2, 0, 0, 0, 89, 0, 0, 0], [88, 87, 1, 1, 0, 0, 0, 60]], np.int32
)


@pytest.fixture(scope="module")
def tiny():
    """A small model with its parameters."""
    decoder = SequenceDecoder(VOCABULARY, 1, 8, 1)
    model = sequence_vae(BidirectionalEncoder(VOCABULARY, 8), decoder, 4, (STEPS,))
    return model, jax.jit(model.init)(jax.random.key(0), {"x": TUNES})["params"]


def metrics_of(tiny, objective, step=0, seed=0, **batch):
    model, params = tiny
    batch = {"x": TUNES, "train": True} | batch
    loss_fn, train = make_loss(model, objective), batch.pop("train")

    @jax.jit
    def metrics(params, key, step):
        return loss_fn(params, {}, batch | {"train": train}, key, step)[1][0]

    return metrics(params, jax.random.key(seed), step)


@pytest.mark.parametrize("rate", [0.5, 0.99, 0.99999])
def test_the_weight_rises_as_magentas(rate):
    objective = SequenceElbo(beta=0.2, beta_rate=rate)
    for step in (0, 1, 10, 5000):
        expected = (1 - np.float64(rate) ** step) * 0.2
        np.testing.assert_allclose(objective.weight(step), expected, rtol=3e-3, atol=1e-12)


def test_a_rate_of_zero_is_no_rise():
    objective = SequenceElbo(beta=3.0, beta_rate=0.0)
    np.testing.assert_allclose([objective.weight(s) for s in (1, 2, 900)], 3.0)


def test_free_bits_are_of_each_examples_whole_kl():
    objective = SequenceElbo(free_bits=2.0)
    kl = np.array([0.5, 2 * np.log(2), 3.0])
    np.testing.assert_allclose(objective.charge(kl), [0, 0, 3 - 2 * np.log(2)], atol=1e-6)
    np.testing.assert_array_equal(jax.vmap(jax.grad(objective.charge))(kl)[::2], [0, 1])


@pytest.mark.parametrize("k", [1, 50, 1000])
def test_the_chance_of_an_own_draw_is_one_less_the_inverse_sigmoid(k):
    objective = SequenceElbo(sampling_rate=k)
    steps = np.array([0, 10, 300, 7000])
    with np.errstate(over="ignore"):
        expected = 1 - k / (k + np.exp(steps / k))
    np.testing.assert_allclose(objective.chance(steps), expected, rtol=1e-4, atol=1e-6)
    assert objective.chance(10**7) == 1  # and no overflow


def test_the_loss_is_put_together_of_its_parts(tiny):
    objective = SequenceElbo(beta=0.5, beta_rate=0.9, free_bits=0.0)
    found = metrics_of(tiny, objective, step=3)
    expected = found["reconstruction"] + 0.5 * (1 - 0.9**3) * found["kl"]
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["nats_per_token"], found["reconstruction"] / STEPS, rtol=1e-6)
    np.testing.assert_allclose(found["kl_bits"], found["kl"] / np.log(2), rtol=1e-6)
    free = metrics_of(tiny, SequenceElbo(beta=0.5, beta_rate=0.9, free_bits=1000.0), step=3)
    np.testing.assert_allclose(free["loss"], free["reconstruction"], rtol=1e-6)
    np.testing.assert_allclose(free["kl"], found["kl"], rtol=1e-6)


def test_own_draws_are_fed_in_training_alone(tiny):
    plain = metrics_of(tiny, SequenceElbo())
    late = metrics_of(tiny, SequenceElbo(sampling_rate=1), step=1000)
    assert late["reconstruction"] != plain["reconstruction"]
    assert late["kl"] == plain["kl"]
    evaluated = metrics_of(tiny, SequenceElbo(sampling_rate=1), step=1000, train=False)
    np.testing.assert_allclose(evaluated["reconstruction"], plain["reconstruction"], rtol=1e-6)
    early = metrics_of(tiny, SequenceElbo(sampling_rate=10**6))
    np.testing.assert_allclose(early["reconstruction"], plain["reconstruction"], rtol=1e-6)


def test_the_gradient_of_what_is_fed_is_that_of_fed_tokens(tiny):
    """The draws are constants: the gradient is teacher forcing's on them."""
    model, params = tiny
    objective = SequenceElbo(beta=0.0, sampling_rate=1)
    loss_fn = make_loss(model, objective)
    batch = {"x": TUNES, "train": True}
    found = jax.jit(jax.grad(lambda p: loss_fn(p, {}, batch, jax.random.key(4), 1000)[0]))(params)
    bound, (code_key, feed_key) = (
        model.bind({"params": params}),
        jax.random.split(jax.random.key(4)),
    )
    noise = jax.random.normal(code_key, (3, 4))

    def code(bound):
        posterior = bound.posterior(batch)
        return posterior.mean + jnp.exp(posterior.log_sigma) * noise

    fed = bound.fed(batch, code(bound), feed_key, 1.0)

    def expected(params):
        bound = model.bind({"params": params})
        logits = bound.logits(batch, code(bound), fed)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), TUNES[..., None], axis=-1)
        return -jnp.mean(jnp.sum(log_p, axis=(1, 2)))

    gradient = jax.jit(jax.grad(expected))(params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, gradient
    )


def test_accuracies_by_hand():
    x = np.array([[5, 0, 1, 0], [0, 0, 0, 0]])
    likeliest = np.array([[5, 0, 2, 3], [0, 0, 0, 1]])
    found = accuracies(jax.nn.one_hot(likeliest, 6), x)
    np.testing.assert_allclose(found["accuracy"], [0.5, 0.75])
    np.testing.assert_allclose(found["accuracy_non_hold"], [0.5, 0])


def test_transposed_tunes_have_other_pitches_and_the_same_rhythm():
    semitones = np.array([3, 0, -2])
    moved = np.asarray(transposed(TUNES, semitones))
    np.testing.assert_array_equal(moved[TUNES <= 1], TUNES[TUNES <= 1])
    before, after = to_pitch(TUNES), to_pitch(moved)
    np.testing.assert_array_equal(np.where(before, after - before, 0),
                                  np.where(before, semitones[:, None], 0))  # fmt: skip
    tracks = np.stack([TUNES, TUNES], axis=1)
    np.testing.assert_array_equal(transposed(tracks, semitones)[:, 1], moved)


def test_no_pitch_leaves_the_piano():
    for semitones in (-100, -5, 0, 5, 100):
        within = within_range(TUNES, np.full(3, semitones))
        moved = np.asarray(transposed(TUNES, within))[TUNES > 1]
        assert moved.min() >= 2
        assert moved.max() <= 89
    np.testing.assert_array_equal(within_range(TUNES, np.full(3, 5)), [5, 0, 1])
    assert within_range(np.zeros((1, 4), np.int32), np.full(1, 5)) == 5


def test_pitch_classes_turn_with_the_tune():
    pitches = np.array([[60, 64, 67], [61, 65, 80]])
    sets = np.eye(12, dtype=np.float32)[pitches % 12]
    semitones = np.array([5, -4])
    moved = np.eye(12, dtype=np.float32)[(pitches + semitones[:, None]) % 12]
    np.testing.assert_array_equal(turned_pitch_classes(sets, semitones), moved)


class Seen(Objective):
    """Says what it was given."""

    def terms(self, model, batch, key, step):
        return {"loss": batch["x"].astype(jnp.float32), "chord": batch["chord"]}


def test_training_hears_other_keys_and_an_evaluation_the_tune():
    chords = np.tile(np.eye(12, dtype=np.float32)[0], (300, 1, 1))
    x = np.tile(TUNES[:1], (300, 1))
    objective = Transposed(objective=Seen(), most=5, pitch_classes=("chord",))

    def seen(train):
        batch = {"x": x, "chord": chords, "train": train}
        return objective.terms(None, batch, jax.random.key(0), 0)

    np.testing.assert_array_equal(seen(False)["loss"], x)
    moved = np.asarray(seen(True)["loss"])
    semitones = moved[:, 0] - x[:, 0]
    assert set(semitones) == set(range(-5, 6))
    np.testing.assert_array_equal(moved, transposed(x, semitones.astype(np.int32)))
    np.testing.assert_array_equal(seen(True)["chord"][:, 0].argmax(axis=-1), semitones % 12)
