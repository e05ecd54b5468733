"""The flags that every experiment has."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp

from aejax.data.holdout import check_validation
from aejax.errors import UsageError
from aejax.nets.compute import Computed
from aejax.runs.distributed import check_distributed
from aejax.runs.idle_flags import Conditions, Without, check_idle, flag, idle
from aejax.runs.optimisation import check_optimisation
from aejax.runs.recipe import Recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What an experiment needs to know; experiments add their own fields and `build`."""

    name: ClassVar[str] = "experiment"
    kinds: ClassVar[Mapping[str, Mapping[str, type]]] = {}
    """Fields that hold one of several dataclasses, each with flags of its own: field -> name."""
    acts: ClassVar[Conditions] = {"skip_at_most": Without("skip_above", (None,))}
    """Fields that act with some value of another field only; given without it they are refused."""

    dataset: str = "mnist5k"
    """Any TFDS data set with images of one size: fashion_mnist, ...; built in: mnist5k, photos,
    fiddle_tunes."""
    data_dir: str | None = None
    """TFDS data directory. Default: $TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    epochs: int = 100
    """Passes over the training images."""
    batch_size: int = 128
    """Images a step."""
    learning_rate: float = 1e-3
    """Adam's learning rate."""
    schedule: Literal["constant", "cosine"] = "constant"
    """The learning rate throughout, or its rise over 2% of the steps and a cosine down to 0."""
    seed: int = 0
    """Seed of parameters, shuffling and noise."""
    workdir: str | None = None
    """Run directory. Default: runs/ and the experiment's name."""
    resume: bool = False
    """Go on with the run in the run directory."""
    overwrite: bool = False
    """Replace the run in the run directory, once the new one has something to keep."""
    validation: float | None = None
    """Training images held out to choose by, a number or a share: then the best checkpoint by them
    is kept and used. Default: none, and the last epoch is used."""
    data: Literal["auto", "resident", "stream"] = "auto"
    """Keep the images on the device, or stream them from disk. auto: by their size."""
    devices: int | None = None
    """Devices that share each batch. Default: all."""
    mesh: str | None = None
    """data=4,model=2: 4 times 2 devices; the 4 share each batch, the 2 the columns of kernels of
    128 or more."""
    coordinator: str | None = None
    """host:port of the first of several processes, or auto on TPU pods, Slurm and Open MPI."""
    process_id: int | None = None
    """Which of the processes this is, from 0."""
    num_processes: int | None = None
    """How many there are."""
    checkpoint_every: int = 10
    """Epochs between checkpoints, of which the last 3 are kept."""
    clip_norm: float | None = None
    """Largest norm of a gradient, to which a larger one is scaled down. Default: none."""
    weight_decay: float = 0.0
    """Decay of kernels a step, times the learning rate, apart from the gradient (AdamW)."""
    ema: float | None = None
    """Decay of a moving average of the parameters, which is then what is evaluated and used."""
    skip_above: float | None = None
    """Skip updates whose gradient's norm is not finite or over this many times the 0.9 quantile of
    the last 100. Default: none is skipped."""
    skip_at_most: int = 20
    """How many may be skipped in a row."""
    accumulate: int = 1
    """Parts of a batch whose gradients are taken one after the other, in less memory."""
    remat: bool = False
    """Compute activations anew for the gradient and keep none: on GPU and TPU, where it saves
    memory for a third more time."""
    precision: Literal["float32", "bf16"] = "float32"
    """Of encoder and decoder; parameters, latents and losses are float32."""

    def build(self, image_shape: tuple[int, int, int]) -> Recipe:
        """The model, loss, optimiser and figures for images of `(H, W, C)`.

        Raises:
            ValueError: if a field's value does not fit the images.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how to build its model")

    def build_for(self, image_shape: tuple[int, int, int], train_images: int) -> Recipe:
        """`build`, for experiments whose loss depends on how many training images there are."""
        return self.build(image_shape)

    def computed(self, net: nn.Module) -> nn.Module:
        """The net, computed as --precision and --remat ask."""
        if self.precision == "float32" and not self.remat:
            return net
        dtype = {"float32": jnp.float32, "bf16": jnp.bfloat16}[self.precision]
        return Computed(net, dtype, self.remat)

    def steps(self, train_images: int) -> int:
        """The updates of the whole training."""
        return self.epochs * (train_images // self.batch_size)

    def resumable(self) -> frozenset[str]:
        """The fields that may change when a run is resumed."""
        # A cosine reaches 0 at the last epoch: with more of them every step would be another.
        return RESUMABLE - ({"epochs"} if self.schedule == "cosine" else set())

    def directory(self) -> Path:
        """The run directory."""
        return Path(self.workdir or f"runs/{self.name}")


# What may change when a run is resumed: none of it changes what the finished epochs computed.
RESUMABLE = frozenset(
    {
        "data_dir",
        "epochs",
        "workdir",
        "resume",
        "overwrite",
        "data",
        "devices",
        "mesh",
        "coordinator",
        "process_id",
        "num_processes",
        "checkpoint_every",
    }
)


def check_config(config: Config) -> None:
    """Raises a `UsageError` for the first field whose value makes no sense or changes nothing."""
    for field in ("epochs", "batch_size", "checkpoint_every"):
        if getattr(config, field) < 1:
            raise UsageError(f"{flag(field)} {getattr(config, field)} is not positive")
    check_distributed(config)
    if not (math.isfinite(config.learning_rate) and config.learning_rate > 0):
        raise UsageError(f"--learning-rate {config.learning_rate} is not a positive number")
    check_optimisation(config)
    check_seed(config.seed)
    if config.validation is not None:
        check_validation(config.validation)
    if config.resume and config.overwrite:
        raise UsageError("--resume goes on with a run and --overwrite replaces it: give one")
    check_idle(config)


def check_seed(seed: int) -> None:
    """Raises a `UsageError` for a seed that a random key cannot be made of."""
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed {seed} is not within 0 and 2^32 - 1")


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
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"a run of {config_class.name}.py has fields that this version does not know: {error}"
        ) from error
