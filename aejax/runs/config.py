"""What an experiment needs to know: its flags, and from them its model and what is minimised."""

import dataclasses
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np
import optax

from aejax.data.dataset import Dataset
from aejax.errors import UsageError
from aejax.models.model import Model
from aejax.objectives.objective import Objective
from aejax.runs.devices import check_distributed
from aejax.runs.groups import DataFlags, DeviceFlags, OptimisationFlags, RunFlags
from aejax.runs.idle_flags import Conditions, Without, check_idle, idle
from aejax.settings import check_settings, flag, said
from aejax.training.adversarial import Phase
from aejax.types import Spec

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, kw_only=True)
# The fields, and so --help, begin with those of the last.
class Config(RunFlags, DeviceFlags, OptimisationFlags, DataFlags):
    """An experiment: the flags that all have; each adds its own, its `model` and its `criterion`.

    What it gives beside them are pictures, results and texts, which have defaults.
    """

    name: ClassVar[str] = "experiment"
    kinds: ClassVar[Mapping[str, Mapping[str, type]]] = {}
    """Fields that hold one of several dataclasses, each with flags of its own: field -> name."""
    acts: ClassVar[Conditions] = {"skip_at_most": Without("skip_above", (None,))}
    """Fields that act with some value of another field only; given without it they are refused."""

    dequantized: ClassVar[bool] = False
    """Whether the loss draws the pixels anew within their levels, as what looks at the likelihood
    then has to."""

    def model(self, spec: Spec) -> Model:
        """The model of examples of `spec`; `spec["x"]` says x's shape and type.

        Raises:
            ValueError: if a field's value does not fit the data.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what its model is")

    def criterion(self, spec: Spec) -> Objective:
        """What is minimised."""
        raise NotImplementedError(f"{type(self).__name__} does not say what is minimised")

    def optimizer(self, steps_per_epoch: int) -> optax.GradientTransformation:
        """The optimiser, inside of what the flags of optimisation put around it."""
        return optax.adam(self.learning_rate)

    def phases(self, model: Model) -> Mapping[str, Phase] | None:
        """The updates of a step that is no gradient of one loss, in order; None for one that is."""
        return None

    def check(self) -> None:
        """Raises a `ValueError` for values that make no sense together; none is traced."""

    def check_examples(self, data: Dataset) -> None:
        """Raises a `ValueError`, "has ...: needs ...", for data that it cannot be trained on."""

    def observe(self, data: Dataset) -> Dataset:
        """What evaluations make of a data set first, where the loss draws its examples anew."""
        return data

    def headline(self, metrics: dict[str, float]) -> str:
        """The line that ends a run: its test metrics as text."""
        raise NotImplementedError(f"{type(self).__name__} has no headline")

    def figures(self, run: Any, test: Dataset) -> "Iterator[tuple[str, Figure]]":
        """The named figures that a `Run` leaves."""
        yield from ()

    def results(self, run: Any, train: Dataset, test: Dataset) -> dict[str, float]:
        """Further numbers, by name, that a finished `Run` prints and leaves in `results.json`."""
        return {}

    def exhibit(self, path: Path, rows: Mapping[str, np.ndarray]) -> Iterator[Path]:
        """Leaves a row of examples `[N, ...]` or two at `path` with a suffix, and says where."""
        from aejax import figures

        images = [figures.as_images(x) for x in rows.values()]
        draw: Any = figures.image_grid if len(images) == 1 else figures.reconstructions
        picture = path.with_name(f"{path.name}.png")
        draw(*images).savefig(picture, dpi=150)
        yield picture

    def epoch_figures(
        self, model: Model, variables: Any, test: Dataset
    ) -> "Iterator[tuple[str, Figure]]":
        """Named figures that every epoch leaves, in `figures/epochs/NAME_EPOCH.png`."""
        yield from ()

    def resumable(self) -> frozenset[str]:
        """The fields that may change when a run is resumed."""
        names = [field.name for field in dataclasses.fields(self)]
        found = {name for name in names if said(type(self), name, "resumable")}
        # A schedule over the whole training: with more epochs every step would be another.
        return frozenset(found - ({"epochs"} if self.by_length() else set()))

    def by_length(self) -> bool:
        """Whether what a step does depends on how many there will be."""
        return self.schedule == "cosine"

    def directory(self) -> Path:
        """The run directory."""
        return Path(self.workdir or f"runs/{self.name}")


def check_config(config: Config) -> None:
    """Raises a `UsageError` for the first field whose value makes no sense or changes nothing."""
    try:
        check_choices(config)
        check_settings(config)
        config.check_data()
        config.check_optimisation()
        config.check_run()
        check_distributed(config)
        for field in config.kinds:
            getattr(config, field).__post_init__()
        config.check()
    except ValueError as error:
        raise UsageError(str(error)) from error
    check_idle(config)


def check_choices(config: Any) -> None:
    """Raises a `ValueError` for a value that is none of its field's choices."""
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        choices = _choices(hints[field.name])
        value = getattr(config, field.name)
        if choices and value is not None and value not in choices:
            known = ", ".join(map(str, choices))
            raise ValueError(f"{flag(field.name)} {value} is none of {known}")


def _choices(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(choice for part in get_args(hint) for choice in _choices(part))
    return ()


def check_resumable(config: Config, saved: dict[str, object]) -> None:
    """Raises a `UsageError` naming the fields in which `config` differs from the run's own."""
    current, saved = to_json(config), to_json(type(config)()) | saved
    may_change = config.resumable() | idle(config).keys()
    differing = [
        f"{flag(field)} {current.get(field)} (the run has {saved.get(field)})"
        for field in sorted(current.keys() | saved.keys())
        if field not in may_change and current.get(field) != saved.get(field)
    ]
    if differing:
        raise UsageError(
            f"cannot resume {config.directory()} with {', '.join(differing)}: "
            "give the run's own values or another --workdir"
        )


def to_json(config: Config) -> dict[str, object]:
    """The fields as JSON has them: tuples become lists, and a dataclass tells its name."""
    fields = dataclasses.asdict(config)
    for field in config.kinds:
        fields[field] = {"name": getattr(config, field).name} | fields[field]
    return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}


def from_json(config_class: type[Config], fields: dict[str, Any]) -> Config:
    """The inverse of `to_json`.

    Raises:
        UsageError: for a field or a choice that there is not.
    """
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    try:
        for field in config_class.kinds.keys() & values.keys():
            kinds, own = config_class.kinds[field], dict(values[field])
            values[field] = kinds[own.pop("name")](**own)
        return config_class(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"a run of {config_class.name}.py has fields that this version does not know: {error}"
        ) from error
