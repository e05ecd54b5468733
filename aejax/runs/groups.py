"""Groups of flags that every experiment has: data, optimisation, devices and the run itself."""

import dataclasses
from typing import Any, Literal

from aejax.data.holdout import check_validation
from aejax.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataFlags:
    """What is trained on."""

    dataset: str = "mnist5k"
    """Any TFDS data set of fixed shapes: fashion_mnist, ...; built in: mnist5k, photos, melodies,
    fiddle_tunes; a folder of images or of MIDI files, an .npz or .npy file, or hf:NAME of Hugging
    Face's."""
    x: str | None = None
    """The feature that is modelled. Default: x or image, or the only one that is no label."""
    conditions: tuple[str, ...] = ()
    """Further features that come along, by their own names."""
    crop: bool = False
    """Cut images to the square at their centre."""
    size: int | None = setting(None, at_least=1)
    """Side in pixels that square images are resized to."""
    data_dir: str | None = setting(None, resumable=True)
    """TFDS data directory. Default: $TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    validation: float | None = None
    """Training images held out to choose by, a number or a share: then the best checkpoint by them
    is kept and used. Default: none, and the last epoch is used."""
    data: Literal["auto", "resident", "stream"] = setting("auto", resumable=True)
    """Keep the images on the device, or stream them from disk. auto: by their size."""

    def loading(self) -> dict[str, Any]:
        """What `load_dataset` is told beside the name, where it is not the default."""
        chosen = {n: getattr(self, n) for n in ("x", "conditions", "crop", "size")}
        return {name: value for name, value in chosen.items() if value != getattr(DataFlags, name)}

    def check_data(self) -> None:
        """Raises a `UsageError` for what cannot be held out."""
        if self.validation is not None:
            check_validation(self.validation)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimisationFlags:
    """How an update is made, and how many are."""

    epochs: int = setting(100, at_least=1, resumable=True)
    """Passes over the training images."""
    batch_size: int = setting(128, at_least=1)
    """Images a step."""
    learning_rate: float = setting(1e-3, above=0)
    """Adam's learning rate."""
    schedule: Literal["constant", "cosine"] = "constant"
    """The learning rate throughout, or its rise over 2% of the steps and a cosine down to 0."""
    clip_norm: float | None = setting(None, above=0)
    """Largest norm of a gradient, to which a larger one is scaled down. Default: none."""
    weight_decay: float = setting(0.0, at_least=0)
    """Decay of kernels a step, times the learning rate, apart from the gradient (AdamW)."""
    ema: float | None = setting(None, at_least=0, below=1)
    """Decay of a moving average of the parameters, which is then what is evaluated and used."""
    skip_above: float | None = setting(None, above=0)
    """Skip updates whose gradient's norm is not finite or over this many times the 0.9 quantile of
    the last 100. Default: none is skipped."""
    skip_at_most: int = setting(20, at_least=1)
    """How many may be skipped in a row."""
    accumulate: int = setting(1, at_least=1)
    """Parts of a batch whose gradients are taken one after the other, in less memory."""
    remat: bool = False
    """Compute activations anew for the gradient and keep none: on GPU and TPU, where it saves
    memory for a third more time."""
    precision: Literal["float32", "bf16"] = "float32"
    """Of encoder and decoder; parameters, latents and losses are float32."""

    def check_optimisation(self) -> None:
        """Raises a `ValueError` for a batch that cannot be shared out."""
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"--accumulate {self.accumulate} does not divide --batch-size {self.batch_size}"
            )

    def steps(self, train_examples: int) -> int:
        """The updates of the whole training."""
        return self.epochs * (train_examples // self.batch_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceFlags:
    """Where it is trained."""

    devices: int | None = setting(None, at_least=1, resumable=True)
    """Devices that share each batch. Default: all."""
    mesh: str | None = setting(None, resumable=True)
    """data=4,model=2: 4 times 2 devices; the 4 share each batch, the 2 the columns of kernels of
    128 or more."""
    coordinator: str | None = setting(None, resumable=True)
    """host:port of the first of several processes, or auto on TPU pods, Slurm and Open MPI."""
    process_id: int | None = setting(None, resumable=True)
    """Which of the processes this is, from 0."""
    num_processes: int | None = setting(None, resumable=True)
    """How many there are."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFlags:
    """What is kept of it, and where."""

    seed: int = setting(0, at_least=0, below=2**32)
    """Seed of parameters, shuffling and noise."""
    workdir: str | None = setting(None, resumable=True)
    """Run directory. Default: runs/ and the experiment's name."""
    resume: bool = setting(False, resumable=True)
    """Go on with the run in the run directory."""
    overwrite: bool = setting(False, resumable=True)
    """Replace the run in the run directory, once the new one has something to keep."""
    checkpoint_every: int = setting(10, at_least=1, resumable=True)
    """Epochs between checkpoints, of which the last 3 are kept."""

    def check_run(self) -> None:
        """Raises a `ValueError` for two ways to treat the run in the directory."""
        if self.resume and self.overwrite:
            raise ValueError("--resume goes on with a run and --overwrite replaces it: give one")
