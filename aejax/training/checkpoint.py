"""Checkpoints of a run: the last few and the best, and the way back to the last good one.

Beside Orbax's folder of a step lies a digest of its files, so that a truncated file or a flipped
byte is noticed before the checkpoint is read.
"""

import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from aejax.errors import UsageError
from aejax.quiet import quiet_absl
from aejax.training.processes import first_alone, is_first
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
            get_metric_fn=lambda m: m["loss"],
            reverse=True,
            keep_checkpoints_without_metrics=False,
        )
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
        try:
            with quiet_absl():
                return open_all()
        except Exception as error:
            steps = {int(p.name) for p in self.directory.glob("*") if p.name.isdecimal()}
            damaged = [(step, reason) for step in steps if (reason := self._damage(step))]
            if not damaged or len(damaged) == len(steps):
                raise _none_can_be_read(self.directory, _reason(error)) from error
            self._set_aside(damaged, max(steps - {step for step, _ in damaged}))
            with quiet_absl():
                return open_all()

    def _damage(self, step: int) -> str | None:
        """Why the files of a checkpoint cannot be trusted, if so."""
        if not self._digest_path(step).exists():
            return "it was not yet whole"
        try:
            self._check_digest(step)
        except (ValueError, OSError, AttributeError) as error:
            return _reason(error)
        return None

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        return sorted(info.step for info in self._orbax.checkpoints)

    def save(self, checkpoint: Checkpoint, loss: float | None) -> None:
        """Saves, in whole or not at all; `loss`, the lower the better, ranks it among the others.

        The state may be donated once this returns.
        """
        step = int(np.max(checkpoint.state.step))  # of a population, of the members that live
        if step in self.steps():
            return
        metrics = None if loss is None else {"loss": loss}
        try:
            with quiet_absl():
                self._orbax.save(step, checkpoint._asdict(), metrics=metrics)
            if is_first():
                self._write_digest(step)
        except Exception as error:  # a full disk is an OSError, a ValueError or Orbax's own
            self._save_failed = True
            raise UsageError(
                f"checkpoint {step} could not be written to {self.directory} ({_reason(error)}): "
                "the checkpoints before it are kept; make room and give --resume"
            ) from error

    def restore(self, like: Checkpoint) -> Checkpoint:
        """The newest checkpoint that can be read, with the shapes and types of `like`.

        Newer ones that cannot be read are moved to a folder `damaged` beside the checkpoints, with
        a word on standard error; if none can be read, all stay where they are.

        Raises:
            UsageError: if there is none that can be read.
        """
        abstract = jax.tree.map(_abstract, like._asdict())
        damaged: list[tuple[int, str]] = []
        for step in reversed(self.steps()):
            try:
                self._check_digest(step)
                with quiet_absl():
                    restored = self._orbax.load(step, abstract_state=abstract)
            except Exception as error:  # Orbax raises many kinds for a damaged file
                damaged.append((step, _reason(error)))
                continue
            if damaged:
                self._set_aside(damaged, step)
                self._orbax.reload()
            return Checkpoint(**restored)
        found = "; ".join(f"{step}: {reason}" for step, reason in damaged) or "there is none"
        raise _none_can_be_read(self.directory, found)

    def _digest_path(self, step: int) -> Path:
        return self.directory.parent / "digests" / f"{step}.json"

    def _write_digest(self, step: int) -> None:
        path = self._digest_path(step)
        path.parent.mkdir(exist_ok=True)
        kept = {str(step) for step in self.steps()}
        for old in path.parent.glob("*.json"):
            if old.stem not in kept:
                old.unlink(missing_ok=True)
        partial = path.with_suffix(".partial")
        partial.unlink(missing_ok=True)  # a link would lead the writing elsewhere
        partial.write_text(json.dumps(_digest(self.directory / str(step))))
        partial.replace(path)

    def _check_digest(self, step: int) -> None:
        """Raises a `ValueError` naming the first file that is not as it was written."""
        path = self._digest_path(step)
        if not path.exists():  # killed between the checkpoint and its digest
            return
        found, written = _digest(self.directory / str(step)), json.loads(path.read_text())
        for file in found.keys() | written.keys():
            if found.get(file) != written.get(file):
                raise ValueError(f"{file} is not as it was written")

    def _set_aside(self, damaged: list[tuple[int, str]], good: int) -> None:
        def move() -> None:
            for step, reason in damaged:
                print(
                    f"checkpoint {step} cannot be read ({reason}): going back to {good}",
                    file=sys.stderr,
                )
                target = self.directory.parent / "damaged" / str(step)
                target.parent.mkdir(exist_ok=True)
                # Not into a folder that a link of that name leads to.
                target.unlink() if target.is_symlink() else shutil.rmtree(target, True)
                os.rename(self.directory / str(step), target)

        first_alone(move)


def _digest(directory: Path) -> dict[str, list[int]]:
    """Size and CRC-32 of every file under a folder."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {
        str(path.relative_to(directory)): [path.stat().st_size, zlib.crc32(path.read_bytes())]
        for path in files
    }


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
