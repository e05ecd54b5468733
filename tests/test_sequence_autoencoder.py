"""The sequence autoencoder: its guesses and errors by hand, its picture, the script."""

import json
from pathlib import Path

import numpy as np
import pytest

import aejax
from aejax import figures
from aejax.experiments import sequence_autoencoder
from aejax.experiments.sequence_autoencoder import Config, guesses, values_of
from aejax.figures.sequences import note_name
from aejax.runs.config import check_config
from aejax.runs.opening import initial_state
from aejax.runs.recipe import build_recipe


def sequences(*values):
    return np.asarray(values, np.float32)[..., None, None] / 255


def test_guesses_by_hand():
    train = sequences([0, 51, 102], [102, 51, 0], [0, 102, 51])  # a mean of 34, 68, 51
    plain = guesses(train, sequences([51, 102, 204]), 2)
    expected = {
        "mean": [34, 68, 51],
        "own_mean": [119, 119, 119],
        "last_value": [34, 51, 102],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(255 * plain[name].ravel(), values, rtol=1e-6)
    # The training sequences' values all sum to 153: PCA's two directions keep that sum.
    np.testing.assert_allclose(255 * plain["pca"].sum(), 153, rtol=1e-5)


def test_guesses_keep_features_apart():
    rng = np.random.default_rng(0)
    train, test = (rng.random((n, 4, 3, 2), np.float32) for n in (9, 5))
    plain = guesses(train, test, 1000)  # more than there are: nine sequences span eight dimensions
    np.testing.assert_allclose(plain["last_value"][:, 1:], test[:, :-1], rtol=1e-6)
    np.testing.assert_allclose(plain["own_mean"][:, 2], test.mean(axis=1), rtol=1e-5)
    assert all(guess.shape == test.shape for guess in plain.values())
    seen = guesses(train, train, 1000)["pca"]
    np.testing.assert_allclose(seen, train, atol=1e-5)


def test_errors_are_of_pitches_or_of_values():
    tune = np.array([[41, 0, 43, 0, 1, 0]], np.int32)  # middle C, D, each held, and a rest
    tunes = aejax.Dataset({"x": tune})
    np.testing.assert_array_equal(values_of(tunes, tune), [[60, 60, 62, 62, 62, 62]])
    np.testing.assert_array_equal(values_of(tunes, np.array([[1, 0, 41, 0]])), [[60] * 4])
    images = aejax.Dataset({"x": np.full((1, 2, 2, 1), 51, np.uint8)})
    np.testing.assert_allclose(values_of(images, images["x"]), 0.2)
    with pytest.raises(ValueError, match="has tokens 0 to 43: give a --vocabulary above them"):
        Config(vocabulary=40).check_examples(tunes)


@pytest.mark.parametrize(
    ("pitch", "name"), [(60, "C4"), (55, "G3"), (69, "A4"), (76, "E5"), (70, "B♭4")]
)
def test_note_names(pitch, name):
    assert note_name(pitch) == name


def test_melodies_are_drawn_where_they_sound():
    rng = np.random.default_rng(0)
    tunes = rng.integers(55, 90, (4, 32))
    figure = figures.melodies(tunes, tunes + 0.5)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == 4
    for axes, tune in zip(panels, tunes, strict=True):
        drawn, copy = (patch.get_data() for patch in axes.patches)
        np.testing.assert_array_equal(drawn.values, tune)
        np.testing.assert_array_equal(copy.values, tune + 0.5)
        np.testing.assert_array_equal(drawn.edges, np.arange(33))
        assert axes.get_ylim()[0] < tunes.min()
        assert axes.get_ylim()[1] > tunes.max() + 0.5
    named = {label.get_text() for label in panels[0].get_yticklabels()}
    assert {"D4", "A4", "E5"} <= named


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.slow
def test_it_learns_a_sequence(cell):
    """Sine waves of different phases: two numbers hold one, and two are enough."""
    from aejax.training.fit import fit

    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, 256)
    waves = np.sin(phases[:, None] + np.arange(8) * np.pi / 4)
    data = aejax.Dataset(
        {
            "x": np.rint(127.5 + 120 * waves)[..., None, None].astype(np.uint8),
            "label": np.zeros(256, np.int32),
        }
    )
    config = Config(cell=cell, width=16, latent_dim=2, learning_rate=1e-2)
    recipe = build_recipe(config, data.spec, len(data))
    state = initial_state(config, recipe, data.spec)
    state, _ = fit(state, recipe.loss_fn, recipe.optimizer, data, epochs=60, batch_size=32)
    x, variables = data["x"] / np.float32(255), {"params": state.params}
    codes = recipe.model.posterior(variables, {"x": x}).mean
    error = np.mean((recipe.model.decode(variables, codes) - x) ** 2)
    assert error < 0.1 * np.var(x)


@pytest.mark.slow
def test_the_script_compares_with_plain_guesses(start):
    flags = ["--epochs", "1", "--width", "8", "--latent-dim", "4", "--batch-size", "200"]
    done = start("sequence_autoencoder.py", *flags, "--cell", "gru", "--workdir", "r")
    assert done.returncode == 0, done.stderr
    assert {path.stem for path in Path("r/figures").iterdir()} == {
        "curves",
        "latent",
        "reconstructions",
    }
    found = json.loads(Path("r/results.json").read_text())
    assert "squared_error_over_best_guess" in done.stdout
    names = [f"squared_error_{name}" for name in ("mean", "own_mean", "last_value", "pca")]
    best = min(found[name] for name in names)
    assert found["squared_error_over_best_guess"] == found["squared_error_model"] / best

    train, test = aejax.load_dataset("mnist5k", "train"), aejax.load_dataset("mnist5k", "test")
    x, mean = test["x"] / 255, train["x"].mean(axis=0) / 255
    assert found["squared_error_mean"] == pytest.approx(np.mean((x - mean) ** 2), rel=1e-4)
    opened = aejax.load_run("r")
    assert opened.encode(test["x"][:3]).shape == (3, 4)
    error = np.mean((opened.reconstruct(test["x"]) - x) ** 2)
    assert found["squared_error_model"] == pytest.approx(error, rel=1e-4)


@pytest.mark.slow
def test_tunes_are_measured_in_semitones(monkeypatch, tmp_path):
    pytest.importorskip("music21")
    from aejax.data.builders import fiddle_tunes

    few = fiddle_tunes.tune_files()[:25]
    monkeypatch.setattr(fiddle_tunes, "tune_files", lambda: few)
    config = Config(
        dataset="fiddle_tunes",
        data_dir=str(tmp_path),
        latent_dim=2,
        width=8,
        epochs=1,
        batch_size=16,
        workdir="r",
    )
    run = aejax.run(config)
    found = json.loads(Path("r/results.json").read_text())
    for name in ("model", "mean", "own_mean", "last_value", "pca"):
        squared = found[f"squared_error_{name}"]
        assert found[f"semitones_{name}"] == pytest.approx(np.sqrt(squared), rel=1e-3)
        assert 0 <= found[f"right_pitch_{name}"] <= 1
    assert Path("r/figures/reconstructions.png").exists()
    assert run.spec["x"].shape == (32,)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"latent_dim": 0}, "--latent-dim 0 is not positive"),
        ({"width": -1}, "--width -1 is not positive"),
        ({"cell": "rnn"}, "--cell rnn is none of lstm, gru"),
    ],
)
def test_bad_values(fields, message):
    with pytest.raises(ValueError, match=message):
        check_config(sequence_autoencoder.Config(**fields))
