import dataclasses
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from aejax import TrainState, UsageError
from aejax.training.checkpoint import Checkpoint, Checkpoints
from aejax.training.totals import zero_totals


@pytest.fixture
def checkpoint():
    params = {"kernel": jax.random.normal(jax.random.key(0), (300, 40)), "bias": jnp.ones(40)}
    state = TrainState.create(params, optax.adam(1e-3), jax.random.key(7))
    return Checkpoint(state, zero_totals({"loss": 0.0, "kl": 0.0}))


def at_step(checkpoint, step):
    params = jax.tree.map(lambda p: p + step, checkpoint.state.params)
    state = dataclasses.replace(checkpoint.state, step=jnp.int32(step), params=params)
    return Checkpoint(state, checkpoint.totals)


def without_keys(checkpoint):
    key = jax.random.key_data(checkpoint.state.key)
    return Checkpoint(dataclasses.replace(checkpoint.state, key=key), checkpoint.totals)


def largest(directory: Path):
    return max((f for f in directory.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)


def truncate(path: Path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def remove(path: Path):
    path.unlink()


def test_a_state_comes_back_to_the_bit(checkpoint, tmp_path):
    saved = at_step(checkpoint, 5)
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(saved, 1.0)
    with Checkpoints(tmp_path / "c") as checkpoints:
        restored = checkpoints.restore(checkpoint)
    chex.assert_trees_all_equal(without_keys(restored), without_keys(saved))
    assert restored.state.key.dtype == checkpoint.state.key.dtype


def test_the_last_three_and_the_best_are_kept(checkpoint, tmp_path):
    losses = {10: 3.0, 20: 1.0, 30: 2.0, 40: 2.5, 50: 2.6, 60: None, 70: 9.0}
    with Checkpoints(tmp_path / "c") as checkpoints:
        for step, loss in losses.items():
            checkpoints.save(at_step(checkpoint, step), loss)
        assert checkpoints.steps() == [20, 50, 60, 70]


def test_checkpoints_of_old_that_were_ranked_by_a_loss_are_no_hindrance(checkpoint, tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints._orbax.save(1, at_step(checkpoint, 1)._asdict(), metrics={"loss": 0.1})
        assert checkpoints.best() is None
    with Checkpoints(tmp_path / "c") as checkpoints:
        for step, score in ((2, 5.0), (3, 7.0), (4, None)):
            checkpoints.save(at_step(checkpoint, step), score)
        assert checkpoints.best() == (2, 5.0)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, remove])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(damage, checkpoint, tmp_path, capsys):
    with Checkpoints(tmp_path / "c") as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(at_step(checkpoint, step), float(step))
    damage(largest(tmp_path / "c" / "3"))
    with Checkpoints(tmp_path / "c") as checkpoints:
        restored = checkpoints.restore(checkpoint)
        assert int(restored.state.step) == 2
        checkpoints.save(at_step(checkpoint, 3), 3.0)  # its place is free again
        assert checkpoints.steps() == [1, 2, 3]
        assert int(checkpoints.restore(checkpoint).state.step) == 3
    assert "checkpoint 3 cannot be read" in capsys.readouterr().err
    assert (tmp_path / "damaged" / "3").is_dir()


def test_digests_of_deleted_checkpoints_go(checkpoint, tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        for step in range(1, 7):
            checkpoints.save(at_step(checkpoint, step), float(step))
        kept = {f"{step}.json" for step in checkpoints.steps()}
    assert {path.name for path in (tmp_path / "digests").iterdir()} == kept


def test_if_none_can_be_read_nothing_is_moved(checkpoint, tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(at_step(checkpoint, 1), 1.0)
    truncate(largest(tmp_path / "c" / "1"))
    with Checkpoints(tmp_path / "c") as checkpoints:
        with pytest.raises(UsageError, match="no checkpoint in .* can be read"):
            checkpoints.restore(checkpoint)
        assert checkpoints.steps() == [1]
    assert not (tmp_path / "damaged").exists()


def test_a_checkpoint_that_cannot_be_written_is_one_line(checkpoint, tmp_path, monkeypatch):
    with Checkpoints(tmp_path / "c") as checkpoints:

        def full(*args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(type(checkpoints._orbax), "save", full)
        monkeypatch.setattr(type(checkpoints._orbax), "close", full)  # as Orbax does again
        with pytest.raises(UsageError, match=r"could not be written.*No space left.*are kept"):
            checkpoints.save(at_step(checkpoint, 1), 1.0)
