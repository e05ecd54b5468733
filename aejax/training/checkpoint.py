"""Checkpoints of a run: the last few and the best, and the way back to the last good one.

Beside Orbax's folder of a step lies a digest of its files, so that a truncated file or a flipped
byte is noticed before the checkpoint is read.
"""

import json
import os
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
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
        self._orbax = ocp.training.Checkpointer(
            self.directory,
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(KEEP_LAST), best]),
            save_decision_policy=_Always(),
            cleanup_tmp_directories=True,
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

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        return sorted(info.step for info in self._orbax.checkpoints)

    def save(self, checkpoint: Checkpoint, loss: float | None) -> None:
        """Saves, in whole or not at all; `loss`, the lower the better, ranks it among the others.

        The state may be donated once this returns.
        """
        step = int(checkpoint.state.step)
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
                restored = self._orbax.load(step, abstract_state=abstract)
            except Exception as error:  # Orbax raises many kinds for a damaged file
                damaged.append((step, _reason(error)))
                continue
            self._set_aside(damaged, step)
            return Checkpoint(**restored)
        found = "; ".join(f"{step}: {reason}" for step, reason in damaged) or "there is none"
        raise UsageError(
            f"no checkpoint in {self.directory} can be read ({found}): "
            "train again in another --workdir"
        )

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
        partial.write_text(json.dumps(_digest(self.directory / str(step))))
        partial.replace(path)

    def _check_digest(self, step: int) -> None:
        """Raises a `ValueError` naming the first file that is not as it was written."""
        path = self._digest_path(step)
        if not path.exists():  # killed between the checkpoint and its digest
            return
        found = _digest(self.directory / str(step))
        for file, digest in json.loads(path.read_text()).items():
            if found.get(file) != digest:
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

        if damaged:
            first_alone(move)
            self._orbax.reload()


def _digest(directory: Path) -> dict[str, list[int]]:
    """Size and CRC-32 of every file under a folder."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {
        str(path.relative_to(directory)): [path.stat().st_size, zlib.crc32(path.read_bytes())]
        for path in files
    }


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
