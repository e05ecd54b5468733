"""Damaged files, wherever they are: the last good step comes back, or one line says why not."""

import dataclasses
import os
import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax import TrainState, UsageError
from aejax.experiments import vae
from aejax.runs.directory import rewind_metrics
from aejax.runs.opening import load_run
from aejax.training.checkpoint import Checkpoint, Checkpoints
from aejax.training.totals import zero_totals

DAMAGES = int(os.environ.get("AEJAX_DAMAGES", "10"))
STEPS = (10, 20, 30)


def halve(path: Path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path):
    path.write_bytes(b"")


def flip(path: Path):
    data = bytearray(path.read_bytes() or b" ")
    # A text is no text any more; within a number or a word of it nothing would tell.
    data[0 if path.suffix in (".json", ".jsonl") else len(data) // 2] ^= 1
    path.write_bytes(data)


def remove(path: Path):
    path.unlink()


def other_json(path: Path):
    path.write_text("{}")


def a_list(path: Path):
    path.write_text("[1, 2]")


def binary(path: Path):
    path.write_bytes(bytes(range(256)))


def folder(path: Path):
    path.unlink()
    path.mkdir()


KINDS = (halve, empty, flip, remove, other_json, a_list, binary, folder)
# One that reading fails at, one that only a digest tells, and none at all; the others are slow.
SOME = (halve, flip, remove)
DAMAGE = [kind if kind in SOME else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]


def state_at(step):
    params = {"kernel": jax.random.normal(jax.random.key(0), (30, 40)) + step, "bias": jnp.ones(40)}
    state = TrainState.create(params, optax.adam(1e-3), jax.random.key(7))
    return dataclasses.replace(state, step=jnp.int32(step))


LIKE = Checkpoint(state_at(0), zero_totals({"loss": 0.0}))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Three checkpoints and their digests."""
    directory = tmp_path_factory.mktemp("saved")
    with Checkpoints(directory / "checkpoints") as checkpoints:
        for step in STEPS:
            checkpoints.save(Checkpoint(state_at(step), LIKE.totals), float(step))
    return directory


def files_of(directory, step):
    within = (directory / "checkpoints" / str(step)).rglob("*")
    return [p.relative_to(directory) for p in within if p.is_file()] + [
        Path("digests") / f"{step}.json"
    ]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("step", [STEPS[-1]])
def test_any_file_of_a_checkpoint_may_be_damaged(saved, tmp_path, damage, step, capsys):
    names = files_of(saved, step)
    assert len(names) > 8
    for i, name in enumerate(names):
        directory = tmp_path / str(i)
        shutil.copytree(saved, directory)
        damage(directory / name)
        with Checkpoints(directory / "checkpoints") as checkpoints:
            restored = checkpoints.restore(LIKE)
        found = int(restored.state.step)
        # Without its digest a checkpoint cannot be told to be damaged, and this one is not.
        assert found == (30 if (damage, name.parts[0]) == (remove, "digests") else 20), name
        chex.assert_trees_all_equal(restored.state.params, state_at(found).params)
        if found == 20:
            assert "checkpoint 30 cannot be read" in capsys.readouterr().err
            assert (directory / "damaged" / "30").is_dir()


def test_if_the_only_checkpoint_is_damaged_nothing_is_moved(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "r")
    for step in STEPS[1:]:
        shutil.rmtree(tmp_path / "r" / "checkpoints" / str(step))
    halve(tmp_path / "r" / "checkpoints" / "10" / "metrics" / "metrics")
    with pytest.raises(UsageError, match="no checkpoint in .* can be read"):
        Checkpoints(tmp_path / "r" / "checkpoints")
    assert (tmp_path / "r" / "checkpoints" / "10").is_dir()


def test_a_checkpoint_is_read_without_pickle(saved, tmp_path, monkeypatch):
    """Nothing in it can be code: no unpickling, no import by name, no eval."""
    shutil.copytree(saved, tmp_path / "r")

    def never(*args, **kwargs):
        raise AssertionError("pickle")

    with Checkpoints(tmp_path / "r" / "checkpoints") as checkpoints:
        for name in ("load", "loads", "Unpickler", "_Unpickler"):
            monkeypatch.setattr(pickle, name, never)
        read = np.lib.format.read_array
        monkeypatch.setattr(
            np.lib.format,
            "read_array",
            lambda *a, allow_pickle=False, **k: never() if allow_pickle else read(*a, **k),
        )
        assert int(checkpoints.restore(LIKE).state.step) == 30


def snapshot(directory):
    """Every file outside, by its content."""
    return {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_a_crafted_run_cannot_write_outside_its_directory(saved, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    run = tmp_path / "run"
    shutil.copytree(saved, run)
    binary(run / "checkpoints" / "30" / "metrics" / "metrics")
    # Links in the places where what is damaged is moved to, and where a digest is written.
    (run / "damaged").mkdir()
    (run / "damaged" / "30").symlink_to(outside)
    (run / "digests" / "40.json.partial").symlink_to(outside / "precious")
    (run / "digests" / "40.partial").symlink_to(outside / "precious")
    (run / "metrics.jsonl.partial").symlink_to(outside / "precious")
    before = snapshot(outside)
    rewind_metrics(run, 30, 10)
    with Checkpoints(run / "checkpoints") as checkpoints:
        assert int(checkpoints.restore(LIKE).state.step) == 20
        checkpoints.save(Checkpoint(state_at(40), LIKE.totals), 1.0)
    assert snapshot(outside) == before
    assert sorted(path.name for path in outside.iterdir()) == ["precious"]
    assert not (run / "damaged" / "30").is_symlink()


@pytest.mark.parametrize("name", ["damaged", "digests"])
def test_a_folder_that_is_a_link_leads_nowhere(saved, tmp_path, name):
    outside = tmp_path / "outside"
    (outside / "30").mkdir(parents=True)
    (outside / "30.json").write_text("{}")
    (outside / "5.json").write_text("kept")
    (outside / "30" / "precious").write_text("kept")
    run = tmp_path / "run"
    shutil.copytree(saved, run)
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).symlink_to(outside)
    binary(run / "checkpoints" / "30" / "metrics" / "metrics")
    before = snapshot(outside)
    with Checkpoints(run / "checkpoints") as checkpoints:
        assert int(checkpoints.restore(LIKE).state.step) == 20
        checkpoints.save(Checkpoint(state_at(40), LIKE.totals), 1.0)
    assert snapshot(outside) == before
    assert (run / "damaged" / "30").is_dir()
    assert (run / "digests" / "40.json").is_file()


def test_runs_whose_checkpoints_lie_on_one_other_disk_keep_apart(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "disk" / name).mkdir(parents=True)
        (tmp_path / name).mkdir()
        (tmp_path / name / "checkpoints").symlink_to(tmp_path / "disk" / name)
        with Checkpoints(tmp_path / name / "checkpoints") as checkpoints:
            checkpoints.save(Checkpoint(state_at(10 if name == "a" else 20), LIKE.totals), 1.0)
    assert sorted(p.name for p in (tmp_path / "disk").iterdir()) == ["a", "b"]
    assert [p.name for p in (tmp_path / "a" / "digests").iterdir()] == ["10.json"]
    with Checkpoints(tmp_path / "a" / "checkpoints") as checkpoints:
        assert int(checkpoints.restore(LIKE).state.step) == 10


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run of three epochs, and the same stopped after two."""
    directory = tmp_path_factory.mktemp("runs")
    train(directory / "whole", "3")
    train(directory / "stopped", "2")
    return directory


def train(workdir, epochs, *flags):
    words = ("--hidden", "8", "--batch-size", "400", "--checkpoint-every", "1", "--devices", "1")
    vae.main(vae.Config, [*words, "--workdir", str(workdir), "--epochs", epochs, *flags])


def go_on(stopped, directory):
    """Goes on with a run in `directory` to the third epoch; it must end as the whole one did."""
    train(directory, "3", "--resume")
    chex.assert_trees_all_equal(
        load_run(directory).state.params, load_run(stopped / "whole").state.params
    )


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("config.json", kind) for kind in SOME),
        ("metrics.jsonl", flip),
        *(
            pytest.param(name, kind, marks=pytest.mark.slow)
            for name in ("config.json", "metrics.jsonl")
            for kind in KINDS
            if kind not in (SOME if name == "config.json" else (flip,))
        ),
    ],
)
def test_a_run_s_own_files_may_be_damaged(stopped, tmp_path, damage, name, capsys):
    shutil.copytree(stopped / "stopped", tmp_path / "r")
    damage(tmp_path / "r" / name)
    capsys.readouterr()
    if name == "config.json" or damage is folder:
        with pytest.raises(UsageError, match=rf"{name}|there is no run|run directory of format"):
            load_run(tmp_path / "r")
        with pytest.raises(SystemExit, match="2"):
            train(tmp_path / "r", "3", "--resume")
        assert capsys.readouterr().err.startswith("vae.py: error: ")
        return
    go_on(stopped, tmp_path / "r")
    assert "was damaged: the lines of epochs " in capsys.readouterr().err


@pytest.mark.slow
def test_whatever_file_of_a_run_is_damaged_it_goes_on_to_the_same_end(stopped, tmp_path):
    """AEJAX_DAMAGES=100 tries as many."""
    rng = random.Random(0)
    names = [
        path.relative_to(stopped / "stopped")
        for path in (stopped / "stopped").rglob("*")
        if path.is_file() and path.name != "config.json"
    ]
    for i in range(DAMAGES):
        directory = tmp_path / str(i)
        shutil.copytree(stopped / "stopped", directory)
        damage, name = rng.choice(KINDS[:-1]), rng.choice(names)
        damage(directory / name)
        go_on(stopped, directory)
        shutil.rmtree(directory)


@pytest.mark.slow
def test_a_disk_that_is_full_keeps_the_checkpoints_before(stopped, tmp_path):
    """A limit on the size of files stands for it: the same error from the same calls."""
    shutil.copytree(stopped / "stopped", tmp_path / "r")
    before = load_run(tmp_path / "r").state.params
    script = Path(vae.__file__).resolve()
    words = "--hidden 8 --batch-size 400 --checkpoint-every 1 --devices 1 --epochs 3 --resume"
    limited = ("bash", "-c", 'ulimit -f 60; exec "$@"', "bash", sys.executable, str(script))
    done = subprocess.run(
        [*limited, *words.split(), "--workdir", str(tmp_path / "r")],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | {"JAX_COMPILATION_CACHE_DIR": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "could not be written" in done.stderr
    assert "are kept; make room and give --resume" in done.stderr
    assert "Traceback" not in done.stderr
    chex.assert_trees_all_equal(load_run(tmp_path / "r").state.params, before)
    go_on(stopped, tmp_path / "r")
