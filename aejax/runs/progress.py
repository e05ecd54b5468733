"""What a run shows while it trains: a bar on the terminal, TensorBoard events on disk."""

import contextlib
import sys
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter
from tqdm import tqdm

from aejax.training.loop import Progress


class Bar(contextlib.AbstractContextManager["Bar"]):
    """Epoch, loss, images/s and the time left; in a log file, a line every ten seconds."""

    def __init__(self, epochs: int, steps_per_epoch: int, batch_size: int, step: int):
        self._epochs = epochs
        self._batch_size = batch_size
        self._bar = tqdm(
            total=epochs * steps_per_epoch * batch_size,
            initial=step * batch_size,
            unit="images",
            unit_scale=True,
            mininterval=0.1 if sys.stderr.isatty() else 10,
            dynamic_ncols=True,
        )

    def show(self, progress: Progress) -> None:
        """Moves the bar to where training stands."""
        loss = progress.totals.sums["loss"] / progress.totals.weight
        self._bar.set_description(f"epoch {progress.epoch}/{self._epochs}", refresh=False)
        self._bar.set_postfix_str(f"loss {float(loss):.2f}", refresh=False)
        done = (progress.epoch - 1) * progress.steps_per_epoch + progress.batch
        self._bar.update(done * self._batch_size - self._bar.n)

    def __exit__(self, *_: object) -> None:
        self._bar.close()


class Events(contextlib.AbstractContextManager["Events"]):
    """TensorBoard events; after a resume, those past `step` are purged."""

    def __init__(self, directory: Path, step: int):
        self._writer = SummaryWriter(str(directory), purge_step=step + 1 if step else None)

    def write(self, records: list[dict[str, Any]]) -> None:
        """One point a metric and record, under `train/` and `test/`."""
        for record in records:
            for name, value in record.items():
                if name not in ("step", "epoch", "split"):
                    self._writer.add_scalar(f"{record['split']}/{name}", value, record["step"])

    def __exit__(self, *_: object) -> None:
        self._writer.close()
