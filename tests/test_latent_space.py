"""Moving through a latent space: arcs, vectors and attributes against others' and by hand."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import geometric_slerp

import aejax
from aejax.evaluation import latent_space
from aejax.evaluation.latent_space import lerp, path, slerp
from aejax.experiments import autoencoder
from aejax.experiments.latent_space import STRENGTHS, Arguments, main, opened, over_seeds


def draws(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", [2, 3, 16])
def test_slerp_is_scipys_on_the_sphere(size):
    a, b = (x / np.linalg.norm(x) for x in draws(2, size).astype(float))
    found = path(slerp, jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32), 7)
    expected = geometric_slerp(a, b, np.linspace(0, 1, 7))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_arc_keeps_the_norm_and_turns_evenly():
    a = draws(5, 8)
    b = draws(5, 8, seed=1)
    b *= np.linalg.norm(a, axis=-1, keepdims=True) / np.linalg.norm(b, axis=-1, keepdims=True)
    points = np.asarray(path(slerp, jnp.asarray(a), jnp.asarray(b), 9))
    norms = np.linalg.norm(points, axis=-1)
    np.testing.assert_allclose(norms, np.broadcast_to(norms[0], norms.shape), rtol=1e-5)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[0], steps.shape), rtol=1e-3)
    assert np.all(np.linalg.norm(lerp(a, b, 0.5), axis=-1) < norms[0])


@pytest.mark.parametrize("between", [lerp, slerp])
def test_the_ends_are_exact(between):
    a, b = jnp.asarray(draws(4, 3, 6)), 5 * jnp.asarray(draws(4, 3, 6, seed=1))
    np.testing.assert_array_equal(between(a, b, 0.0), a)
    np.testing.assert_array_equal(between(a, b, 1.0), b)


@pytest.mark.parametrize("factor", [1.0, 2.5, 1e-6, 0.0, -1.0])
def test_parallel_codes_are_joined_by_the_straight_line(factor):
    a = jnp.asarray(draws(3, 4))
    expected = (0.75 + 0.25 * factor) * np.asarray(a)
    found = slerp(a, factor * a, 0.25)
    if factor == 0:  # no direction to turn to: finite is all that can be asked
        assert np.all(np.isfinite(found))
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_traversal_changes_one_dimension_a_row():
    code = jnp.arange(4.0)
    values = jnp.array([[-3.0, 0.0, 3.0], [-1.0, 0.5, 1.0]])
    moved = latent_space.traversal(code, jnp.array([2, 0]), values)
    expected = np.tile(np.arange(4.0), (2, 3, 1))
    expected[0, :, 2], expected[1, :, 0] = values[0], values[1]
    np.testing.assert_array_equal(moved, expected)


def test_an_attribute_vector_by_hand():
    # Quartiles of 1 ... 8 are 2.75 and 6.25: the lowest are 1 and 2, the highest 7 and 8.
    values = np.array([5, 1, 8, 3, 2, 7, 4, 6])
    codes = draws(8, 3)
    expected = (codes[2] + codes[5]) / 2 - (codes[1] + codes[4]) / 2
    found = latent_space.attribute_vector(jnp.asarray(codes), jnp.asarray(values, jnp.float32))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_shearing_an_image_adds_to_its_slant_and_not_to_its_ink():
    image = np.zeros((41, 41), np.float32)
    image[10:31, 18:23] = 1
    shear = 0.3
    middle = np.array([20.0, 20.0])
    # Output (row, column) is read from column + shear * (row - middle): up moves to the right.
    matrix = np.array([[1, 0], [shear, 1]])
    leaning = ndimage.affine_transform(image, matrix, middle - matrix @ middle, order=1)
    images = jnp.asarray(np.stack([image, leaning])[..., None])
    np.testing.assert_allclose(latent_space.slant(images), [0, shear], atol=0.01)
    np.testing.assert_allclose(latent_space.ink(images), [105 / 41**2] * 2, rtol=1e-3)
    assert latent_space.slant(jnp.zeros((1, 5, 5, 3))) == 0


def test_class_entropy():
    assert latent_space.class_entropy(np.array([4, 4, 4])) == 0
    np.testing.assert_allclose(latent_space.class_entropy(np.arange(30) % 10), np.log(10))


def test_tables_of_runs_become_lists():
    tables = [{"halfway": {"great arc": {"norm": value}}} for value in (0.9, 1.0)]
    assert over_seeds(tables) == {"halfway: great arc": {"norm": [0.9, 1.0]}}


@pytest.mark.slow
def test_the_script_measures_a_population(start):
    made = start(
        *("vae.py", "--epochs", "3", "--hidden", "64", "--latent-dim", "3", "--workdir", "r"),
        *("--population", "seeds=2"),
    )
    assert made.returncode == 0, made.stderr
    done = start("latent_space.py", "--run", "r", "--count", "100", "--workdir", "out")
    assert done.returncode == 0, done.stderr
    assert {path.stem for path in Path("out").glob("*.png")} == {
        "attributes",
        "interpolations",
        "recognised",
        "samples",
        "traversals",
    }
    left = json.loads(Path("out/table.json").read_text())
    table = left["table"]
    assert left["seeds"] == [0, 1]
    assert left["command"] == "python experiments/latent_space.py --run r --count 100"
    assert all(len(v) == 2 for row in table.values() for v in row.values())
    assert min(table["judge: test images"]["recognised"]) > 0.9
    assert max(table["judge: uniform noise"]["recognised"]) <= 0.02
    lines, arcs = (table[f"halfway: {way}"]["norm"] for way in ("straight line", "great arc"))
    assert lines[0] != lines[1]
    assert all(a < b for a, b in zip(lines, arcs, strict=True))
    ink = np.array([table[f"arithmetic: ink {s:+.1f}"]["ink"] for s in STRENGTHS])
    assert np.all(np.diff(ink, axis=0) > 0)
    still = table["arithmetic: ink +0.0"]
    assert still["ink"] == still["slant"] == [0, 0]
    assert still["class_kept"] == [1, 1]


def test_a_missing_run_is_one_line_that_says_how_to_make_it(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["latent_space.py", "--run", "runs/none"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert capsys.readouterr().err == (
        "latent_space.py: error: --run runs/none holds no run: make one with "
        "python experiments/vae.py --latent-dim 8 --workdir runs/none\n"
    )


def test_what_cannot_be_looked_at_is_one_line():
    aejax.run(autoencoder.Config(workdir="r", epochs=1, hidden=(8,), batch_size=1000, devices=1))
    with pytest.raises(aejax.UsageError, match="--run r is of autoencoder.py, which has no prior"):
        opened(Arguments(run=("r",)))
    with pytest.raises(aejax.UsageError, match="--count 1 is less than 2"):
        opened(Arguments(count=1))
