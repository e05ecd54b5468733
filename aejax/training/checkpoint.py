"""Checkpoints of a run: the last few, the best of those with a score, and the way back to them.

Beside Orbax's folder of a step lies a digest of its files, so that a truncated file or a flipped
byte is noticed before the checkpoint is read.
"""

import math
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from aejax.errors import UsageError
from aejax.processes.processes import any_process, first_alone, is_first
from aejax.quiet import quiet_absl
from aejax.training.digests import damage, digest_path, drop_digest, drop_digests, write_digest
from aejax.training.state import TrainState
from aejax.training.totals import Totals

KEEP_LAST = 3


class Checkpoint(NamedTuple):
    """What resuming needs: with the batch size, `state.step` is the position in the data.

    Attributes:
        state: the training state.
        totals: the sums of the epoch under way.
    """

    state: TrainState
    totals: Totals


class Checkpoints:
    """The Orbax checkpoints in a directory, one a step; close it (or use `with`) when done."""

    def __init__(self, directory: Path):
        policies = ocp.training.preservation_policies
        best = policies.BestN(
            n=1,
            get_metric_fn=_score,
            reverse=True,
            keep_checkpoints_without_metrics=False,
        )
        self._run = directory.absolute().parent  # not where a link of that name leads to
        self.directory = directory.resolve()
        self._save_failed = False
        kept = policies.AnyPreservationPolicy([policies.LatestN(KEEP_LAST), best])
        self._orbax = self._opened(
            lambda: ocp.training.Checkpointer(
                self.directory,
                preservation_policy=kept,
                save_decision_policy=_Always(),
                cleanup_tmp_directories=True,
            )
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            with quiet_absl():
                self._orbax.close()
        except Exception:
            if not self._save_failed:  # else Orbax raises once more what was already said
                raise

    def _opened(self, open_all: Callable[[], Any]) -> Any:
        """What Orbax makes of the folder; it reads some files of every checkpoint at once."""
        opened, reason = None, ""
        try:
            with quiet_absl():
                opened = open_all()
        except Exception as error:  # Orbax raises many kinds for a damaged file
            reason = _reason(error)
        if not any_process(bool(reason)):
            return opened
        steps = {int(p.name) for p in self.directory.glob("*") if p.name.isdecimal()}
        damaged = [(step, found) for step in sorted(steps) if (found := self._damage(step))]
        if not damaged or len(damaged) == len(steps):
            raise _none_can_be_read(self.directory, reason)
        self._set_aside(damaged)
        with quiet_absl():
            return open_all()

    def _damage(self, step: int) -> str | None:
        return damage(self.directory / str(step), digest_path(self._run, step))

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        return sorted(info.step for info in self._orbax.checkpoints)

    def best(self) -> tuple[int, float] | None:
        """The step and the score of the best checkpoint, if any has a score."""
        found = [(_score(i.metrics or {}), i.step) for i in self._orbax.checkpoints]
        score, step = min(found, default=(math.inf, 0))
        return (step, score) if score < math.inf else None

    def save(self, checkpoint: Checkpoint, score: float | None) -> None:
        """Saves, in whole or not at all; of those with a `score`, the lowest is kept for good.

        The state may be donated once this returns.
        """
        step = int(np.max(checkpoint.state.step))  # of a population, of the members that live
        if step in self.steps():
            return
        metrics = None if score is None else {"score": score}
        try:
            if is_first():  # that of an earlier checkpoint of this step
                drop_digest(digest_path(self._run, step))
            with quiet_absl():
                self._orbax.save(step, checkpoint._asdict(), metrics=metrics)
            if is_first():
                write_digest(self.directory / str(step), digest_path(self._run, step))
                drop_digests(self._run, self.steps())
        except Exception as error:  # a full disk is an OSError, a ValueError or Orbax's own
            self._save_failed = True
            raise UsageError(
                f"checkpoint {step} could not be written to {self.directory} ({_reason(error)}): "
                "the checkpoints before it are kept; make room and give --resume"
            ) from error

    def restore(self, like: Checkpoint, *, best: bool = False) -> Checkpoint:
        """The newest checkpoint that can be read, with the shapes and types of `like`.

        With `best`, the one of the lowest score comes first. Newer ones that cannot be read are
        moved to a folder `damaged` beside the checkpoints, with a word on standard error; if none
        can be read, all stay where they are.

        Raises:
            UsageError: if there is none that can be read.
        """
        abstract = jax.tree.map(_abstract, like._asdict())
        damaged: list[tuple[int, str]] = []
        for step in self._in_turn(best):
            reason = self._damage(step)
            restored: Any = None
            if not any_process(reason is not None):  # what one cannot read, none reads
                try:
                    with quiet_absl():
                        restored = self._orbax.load(step, abstract_state=abstract)
                except Exception as error:  # Orbax raises many kinds for a damaged file
                    reason = _reason(error)
            if not any_process(restored is None):
                if damaged:
                    self._set_aside(damaged)
                    self._orbax.reload()
                return Checkpoint(**restored)
            damaged.append((step, reason or "by another process"))
        found = "; ".join(f"{step}: {reason}" for step, reason in damaged) or "there is none"
        raise _none_can_be_read(self.directory, found)

    def _in_turn(self, best: bool) -> list[int]:
        """The steps in the order in which they are tried."""
        found, steps = self.best() if best else None, self.steps()[::-1]
        return steps if found is None else [found[0], *(s for s in steps if s != found[0])]

    def _set_aside(self, damaged: list[tuple[int, str]]) -> None:
        def move() -> None:
            folder = self._run / "damaged"
            if folder.is_symlink():  # it would lead the moving elsewhere
                folder.unlink()
            folder.mkdir(exist_ok=True)
            for step, reason in damaged:
                print(
                    f"checkpoint {step} cannot be read ({reason}): moved to {folder}",
                    file=sys.stderr,
                )
                target = folder / str(step)
                target.unlink() if target.is_symlink() else shutil.rmtree(target, True)
                shutil.move(self.directory / str(step), target)
                drop_digest(digest_path(self._run, step))

        any_process(False)  # all have looked at the files
        first_alone(move)


def _score(metrics: Mapping[str, float]) -> float:
    """What ranks a checkpoint; the last of all where it has none, as in runs of old."""
    return metrics.get("score", math.inf)


def _none_can_be_read(directory: Path, reason: str) -> UsageError:
    return UsageError(
        f"no checkpoint in {directory} can be read ({reason}): train again in another --workdir"
    )


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:100]


class _Always:
    """Save whenever asked: the run decides when."""

    def should_save(self, *_: Any, **__: Any) -> bool:
        return True


def _abstract(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
