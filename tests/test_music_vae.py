"""MusicVAE's recipe: its guesses and accuracies by hand, every form end to end."""

import json
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

import aejax
from aejax import figures
from aejax.cli.commands import main
from aejax.data.dataset import Dataset
from aejax.errors import UsageError
from aejax.evaluation.markov import fit_markov
from aejax.evaluation.sequences import accuracy, accuracy_by_bar, read, read_results
from aejax.evaluation.token_guesses import guess_results, last_bar, pca
from aejax.experiments.music_vae import Config
from aejax.music.spans import Span, spans
from aejax.objectives import SequenceElbo
from aejax.populations.population import run_population
from aejax.streams import seed_stream

SMALL = {
    "encoder_width": 8,
    "decoder_width": 8,
    "latent_dim": 4,
    "bar": 4,
    "batch_size": 32,
    "epochs": 1,
    "checkpoint_every": 1,
    "devices": 1,
}


def tunes(count, steps=8, seed=0):
    """Scales that start at one of five pitches and hold every second step."""
    rng = np.random.default_rng(seed)
    x = 40 + rng.integers(0, 5, (count, 1)) + np.arange(steps) // 2
    return np.where(np.arange(steps) % 2, 0, x).astype(np.int32)


@pytest.fixture
def data(tmp_path):
    """Melodies, and four tracks with chords, in files."""
    train, test = tunes(160), tunes(40, seed=1)
    np.savez("melodies.npz", x_train=train, x_test=test)
    voices, others = (np.stack([x, x + 4 * (x > 1), x, x], axis=1) for x in (train, test))
    chords, more = (np.eye(12, dtype=np.float32)[x[:, ::4] % 12] for x in (train, test))
    np.savez("voices.npz", x_train=voices, x_test=others, chord_train=chords, chord_test=more)
    return tmp_path


@pytest.fixture
def untrained(data):
    """The directory of a run that was left after its first epoch, of one step."""
    aejax.run(config(batch_size=160))
    return "r"


def config(**fields):
    return Config(**({"dataset": "melodies.npz", "workdir": "r"} | SMALL | fields))


HIERARCHICAL = {"net": "hierarchical", "conductor_width": 8}
FORMS = {
    "flat": {},
    "hierarchical": HIERARCHICAL | {"objective": SequenceElbo(sampling_rate=2)},
    "voices": HIERARCHICAL | {"dataset": "voices.npz"},
    "chords": {"dataset": "voices.npz", "conditions": ("chord",)},
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_every_form_trains_and_leaves_its_pictures_and_results(data, form, capsys):
    run = aejax.run(config(**FORMS[form]))
    assert "right tokens" in capsys.readouterr().out
    assert {path.stem for path in Path("r/figures").iterdir()} == {
        "accuracy",
        "curves",
        "reconstructions",
        "samples",
    }
    found = json.loads(Path("r/results.json").read_text())
    assert found["accuracy_hold"] == 0.5
    assert {f"accuracy_free_bar_{bar}" for bar in (1, 2)} < set(found)
    assert all(np.isfinite(value) for value in found.values())
    opened = aejax.load_run("r")
    test = aejax.load_dataset(run.config.dataset, "test", **run.config.loading())
    given = dict(test.items())
    np.testing.assert_array_equal(opened.encode(given), run.encode(given))
    assert opened.sample(jax.random.key(0), 3).shape == (3, *test["x"].shape[1:])
    if form != "chords":
        main(Config, ["evaluate", "--workdir", "r", "--samples", "5"])
        assert "log_likelihood" in capsys.readouterr().out


@pytest.mark.slow
def test_commands_leave_pictures_midi_files_and_sound(untrained, capsys):
    mido = pytest.importorskip("mido")
    main(Config, ["sample", "--workdir", "r", "--count", "3"])
    main(Config, ["reconstruct", "--workdir", "r"])
    main(Config, ["interpolate", "--workdir", "r", "--first", "2", "--last", "5", "--count", "4"])
    left = [Path(line) for line in capsys.readouterr().out.splitlines() if "figures/" in line]
    left = [path for path in left if path.suffix in (".png", ".mid", ".wav")]
    assert [path.suffix for path in left] == [".png", ".mid", ".wav"] * 3
    assert all(path.stat().st_size for path in left)
    drawn = aejax.load_run("r").sample(seed_stream(0, "samples"), 3)
    played = [m.note for m in mido.MidiFile(left[1]).tracks[0] if m.type == "note_on"]
    assert played == [note.pitch for x in drawn for note in spans(x)]
    with pytest.raises(SystemExit):
        main(Config, ["interpolate", "--workdir", "r", "--first", "40"])
    assert "--first 40 or --last 1 is not below 40 images" in capsys.readouterr().err


@pytest.mark.slow
def test_it_learns_scales_by_heart():
    from aejax.runs.opening import initial_state
    from aejax.runs.recipe import build_recipe
    from aejax.training.fit import fit

    train = Dataset({"x": tunes(320)})
    chosen = config(learning_rate=1e-2, transpose=0, objective=SequenceElbo(beta=0.05))
    recipe = build_recipe(chosen, train.spec, len(train))
    state = initial_state(chosen, recipe, train.spec)
    state, _ = fit(state, recipe.loss_fn, recipe.optimizer, train, epochs=60, batch_size=32)
    test = Dataset({"x": tunes(50, seed=2)})
    found = read(recipe.model, {"params": state.params}, test, jax.random.key(0))
    results = read_results(found, test["x"], 4)
    assert results["accuracy_teacher_forced_non_hold"] > 0.95
    assert results["accuracy_free_non_hold"] > 0.9
    assert results["bound_nats_per_token"] > np.log(5) / 8 - 0.02  # the tunes' entropy


@pytest.mark.slow
def test_it_goes_on_to_the_bit_with_draws_of_its_own(data):
    fields = HIERARCHICAL | {"objective": SequenceElbo(sampling_rate=2)}
    whole = aejax.run(config(workdir="whole", **fields | {"epochs": 2}))
    aejax.run(config(workdir="parts", **fields))
    parts = aejax.run(config(workdir="parts", resume=True, **fields | {"epochs": 2}))
    chex.assert_trees_all_equal(parts.state.params, whole.state.params)


@pytest.mark.slow
def test_a_population_over_beta_is_its_members_alone(data):
    betas = (0.1, 2.0)
    configs = [config(workdir="p", objective=SequenceElbo(beta=b, beta_rate=0.5)) for b in betas]
    records = run_population(configs)
    assert [record["beta"] for record in records] == list(betas)
    alone = aejax.run(config(objective=SequenceElbo(beta=2.0, beta_rate=0.5)))
    member = aejax.load_run("p/members/01")
    chex.assert_trees_all_close(member.state.params, alone.state.params, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vocabulary": 40}, "has tokens 0 to 47: needs a --vocabulary above them"),
        ({"bar": 3}, "has 8 steps: needs a --bar that divides them"),
        ({"precision": "bf16"}, "--precision and --remat are not for recurrent nets"),
        ({"net": "flat", "conductor_width": 9}, "--conductor-width 9 goes with --net hierarchical"),
        ({"dataset": "mnist5k"}, r"has x uint8\[4000, 28, 28, 1\]: needs integer tokens"),
    ],
)
def test_what_is_no_melody_is_one_line(data, fields, message):
    with pytest.raises(UsageError, match=message):
        aejax.run(config(**fields))


def witten_bell(train, context, token, vocabulary, order, step):
    """By the definition, for one context (of `order` tokens) and one step."""
    if order < 0:
        return 1 / vocabulary
    lower = witten_bell(train, context[1:], token, vocabulary, order - 1, step)
    before = [(-1,) * order + tuple(x) for x in train]
    after = [x[step + order] for x in before if x[step : step + order] == context[:order]]
    if not after:
        return lower
    kinds = len(set(after))
    return (after.count(token) + kinds * lower) / (len(after) + kinds)


def test_markov_is_witten_and_bells():
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 3, (n, 5)).astype(np.int32) for n in (12, 6))
    log_p, likeliest = fit_markov(train, 3, order=2).log_probs(test)
    for row, step in np.ndindex(*test.shape):
        padded = (-1, -1, *test[row].tolist())
        p = [
            witten_bell(train.tolist(), padded[step : step + 2], token, 3, 2, step)
            for token in range(3)
        ]
        assert sum(p) == pytest.approx(1)
        assert log_p[row, step] == pytest.approx(np.log(p[test[row, step]]))
        assert likeliest[row, step] == np.argmax(p)


def test_markov_without_the_step_pools_all_steps():
    x = np.array([[1, 1, 1, 1, 0]], np.int32)
    log_p, _ = fit_markov(x, 2, order=0, stepped=False).log_probs(x)
    # 4 of 5 are ones, of two kinds: (4 + 2 / 2) / (5 + 2).
    np.testing.assert_allclose(np.exp(log_p[0]), [5 / 7] * 4 + [2 / 7])


def test_guesses_by_hand():
    x = np.array([[5, 0, 5, 0], [6, 0, 7, 0]], np.int32)
    np.testing.assert_array_equal(last_bar(x, 2), [[0, 0, 5, 0], [0, 0, 6, 0]])
    found = guess_results(x, x, 8, 2, 2)
    assert found["accuracy_hold"] == 0.5
    assert found["accuracy_hold_non_hold"] == 0
    assert found["accuracy_last_bar"] == 5 / 8
    assert found["accuracy_last_bar_non_hold"] == 1 / 4
    assert found["accuracy_pca"] == 1  # two tunes span one direction
    np.testing.assert_array_equal(pca(x, x, 8, 2), x)


def test_accuracies_by_hand():
    x, found = np.array([[5, 0, 1, 0]]), np.array([[5, 1, 1, 0]])
    assert accuracy(found, x, "a") == {"a": 0.75, "a_non_hold": 1.0}
    assert accuracy_by_bar(found, x, 2) == [0.5, 1.0]
    voices = np.stack([x, x], axis=1), np.stack([x, found], axis=1)
    assert accuracy_by_bar(*voices, 2) == [0.75, 1.0]


def test_notes_begin_and_end():
    tokens = np.array([0, 41, 0, 41, 1, 0, 43, 0])
    assert spans(tokens) == [Span(60, 1, 3), Span(60, 3, 4), Span(62, 6, 8)]
    assert spans(np.array([0, 0, 1])) == []


def test_a_piano_roll_shows_the_notes():
    tokens = np.array([[41, 0, 43, 0], [1, 0, 0, 45]])
    figure = figures.piano_rolls({"a": tokens, "b": tokens})
    bars = [(p.get_x(), p.get_y() + p.get_height() / 2) for p in figure.axes[0].patches]
    assert [(x, round(y)) for x, y in bars] == [(0, 60), (2, 62)]
    assert [round(p.get_x()) for p in figure.axes[1].patches] == [3]
    assert figure.axes[2].get_ylabel() == "b"
    voices = figures.piano_rolls({"a": np.stack([tokens, tokens], axis=1)})
    assert len({p.get_facecolor() for p in voices.axes[0].patches}) == 2
