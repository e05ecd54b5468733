"""The images that a run trains on, those that it chooses by, and those that it is tested on."""

from typing import NamedTuple

from aejax.data.dataset import Dataset
from aejax.data.holdout import hold_out
from aejax.data.load import load_dataset
from aejax.processes.processes import first_alone, several
from aejax.runs.config import Config


class Splits(NamedTuple):
    """A run's images.

    Attributes:
        train: what it is trained on.
        test: what it is tested on.
        validation: what is held out of the training images to choose by, if anything is.
    """

    train: Dataset
    test: Dataset
    validation: Dataset | None = None

    def watched(self) -> tuple[str, Dataset]:
        """The split that is evaluated after every epoch, by name: validation before test."""
        return ("test", self.test) if self.validation is None else ("validation", self.validation)

    def observed(self, config: Config) -> "Splits":
        """What the experiment's evaluations make of the images that are not trained on."""
        held = None if self.validation is None else config.observe(self.validation)
        return Splits(self.train, config.observe(self.test), held)


def load_splits(config: Config, data_dir: str | None = None) -> Splits:
    """The images that a configuration names; what has to be decoded first is so once.

    Raises:
        UsageError: if there are none, or more are held out than there are.
    """
    train, test = (_load(config, split, data_dir) for split in ("train", "test"))
    if config.validation is None:
        return Splits(train, test)
    train, validation = hold_out(train, config.validation)
    return Splits(train, test, validation)


def load_split(config: Config, split: str, data_dir: str | None = None) -> Dataset:
    """One split: "train" and "validation" as the run has them, or any other of the data set's."""
    if config.validation is None or split not in ("train", "validation"):
        return _load(config, split, data_dir)
    parts = hold_out(_load(config, "train", data_dir), config.validation)
    return parts[split == "validation"]


def _load(config: Config, split: str, data_dir: str | None) -> Dataset:
    where = data_dir or config.data_dir
    if several():
        first_alone(lambda: load_dataset(config.dataset, split, where, **config.loading()))
    return load_dataset(config.dataset, split, where, **config.loading())
