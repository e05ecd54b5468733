"""What a run tells while it trains: a bar on the terminal, metrics and events on disk."""

import contextlib
import sys
from typing import Any

import numpy as np

from aejax.runs import directory as files
from aejax.runs.config import Config
from aejax.training.loop import Progress


class Log(contextlib.AbstractContextManager["Log"]):
    """What a run tells as it goes on, to whom watches and to whom comes later.

    The bar shows epoch, loss, images/s and the time left; in a log file, a line every ten seconds.
    After a resume, events past `step` are purged.
    """

    def __init__(self, config: Config, steps_per_epoch: int, step: int):
        from tensorboardX import SummaryWriter  # only who trains needs them
        from tqdm import tqdm

        self._config, self._workdir = config, config.directory()
        self._bar = tqdm(
            total=config.epochs * steps_per_epoch * config.batch_size,
            initial=step * config.batch_size,
            unit="images",
            unit_scale=True,
            mininterval=0.1 if sys.stderr.isatty() else 10,
            dynamic_ncols=True,
        )
        events = str(self._workdir / files.EVENTS)
        self._events = SummaryWriter(events, purge_step=step + 1 if step else None)

    def show(self, progress: Progress) -> None:
        """Moves the bar to where training stands."""
        epochs, losses = self._config.epochs, np.array(progress.totals.means()["loss"], ndmin=1)
        losses = losses[np.atleast_1d(progress.alive)]
        loss = np.sum(losses) / max(1, len(losses))
        self._bar.set_description(f"epoch {progress.epoch}/{epochs}", refresh=False)
        self._bar.set_postfix_str(f"loss {loss:.2f}", refresh=False)
        done = (progress.epoch - 1) * progress.steps_per_epoch + progress.batch
        self._bar.update(done * self._config.batch_size - self._bar.n)

    def write(self, records: list[dict[str, Any]]) -> None:
        """Adds lines to the metrics, and a point a metric under `train/` and `test/` to events.

        What members have is in lists, and no event.
        """
        files.append_metrics(self._workdir, records)
        for record in records:
            for name, value in record.items():
                if name not in ("step", "epoch", "split") and not isinstance(value, list):
                    self._events.add_scalar(f"{record['split']}/{name}", value, record["step"])

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._events.close()
