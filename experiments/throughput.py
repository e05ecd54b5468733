"""How fast this machine trains, against what its matrix multiplication allows.

The networks: a 784-500-20 VAE (--net mlp), an autoencoder of stride-2 convolutions to 32 and 64
channels, a code of 32 and the mirror image (--net conv), and the Keras blog's convolutions of
16-8-8 channels with max-pooling and upsampling (--net lesson). The images are random: the work does
not depend on what they show. --compare torch trains the same networks in PyTorch, in turns.

Command:   python experiments/throughput.py
Expected:  see the README's table of throughput
Cost:      half a minute on two cores
"""

import contextlib
import dataclasses
import importlib.util
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from aejax import likelihoods, models, nets
from aejax.cli.flags import one_line_errors, parse
from aejax.data.dataset import Dataset
from aejax.errors import UsageError
from aejax.flops import matmul_flops, matmul_peak
from aejax.objectives import Elbo, Reconstruction, make_loss
from aejax.training.loop import make_source, train
from aejax.training.sharding import data_mesh
from aejax.training.state import TrainState
from aejax.training.step import make_train_step
from aejax.types import LossFn

if TYPE_CHECKING:
    from aejax.experiments.torch_baseline import TorchProcess

SHAPE = (28, 28, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Measure training images/s, GFLOP/s, the matmul peak, their ratio and the peak memory."""

    net: Literal["mlp", "conv", "lesson"] = "mlp"
    """784-500-20 VAE, 32-64 convolutional autoencoder, or 16-8-8 with pooling."""
    compare: Literal["nothing", "torch"] = "nothing"
    """Time the same network in PyTorch beside it: pip install 'aejax[bench]'."""
    data: Literal["resident", "stream", "both"] = "both"
    """Images on the device, streamed from disk, or both in turn."""
    batch_size: int = 128
    """Images a step."""
    images: int = 60_000
    """Images an epoch."""
    epochs: int = 7
    """Epochs to time, after one that is not counted; the median is shown."""


def build(net: str) -> tuple[TrainState, LossFn, optax.GradientTransformation]:
    """The network's state, its loss and Adam."""
    p_x = likelihoods.bernoulli()
    model = {
        "mlp": lambda: models.vae(*nets.mlp_pair(SHAPE, (500,)), 20, p_x),
        "conv": lambda: models.autoencoder(*nets.conv_pair(SHAPE, (32, 64)), p_x, 32),
        "lesson": lambda: models.autoencoder(
            *nets.pooled_pair(SHAPE, (16, 8, 8), dense=False), p_x
        ),
    }[net]()
    loss_fn = make_loss(model, Elbo() if net == "mlp" else Reconstruction())
    optimizer = optax.adam(1e-3)
    init_key, key = jax.random.split(jax.random.key(0))
    params = model.init(init_key, {"x": jnp.zeros((1, *SHAPE))})["params"]
    return TrainState.create(params, optimizer, key), loss_fn, optimizer


def random_images(count: int, folder: Path) -> Dataset:
    """Random images, memory-mapped from `folder` as decoded data sets are."""
    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8))
    images = np.load(folder / "images.npy", mmap_mode="r")
    return Dataset({"x": images, "label": np.zeros(count, np.int32)})


def measure(config: Config, folder: Path) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Images/s of every timed epoch and peak bytes, by program, and the matmul peak in between."""
    data = random_images(config.images, folder)
    epochs = {kind: aejax_epochs(config, data, kind) for kind in kinds_of(config.data)}
    with contextlib.ExitStack() as stack:
        turns: dict[str, Callable[[], float]] = {k: partial(next, e) for k, e in epochs.items()}
        torch = None
        if config.compare == "torch":
            torch = stack.enter_context(start_torch(config, folder))
            turns |= {f"torch {k}": partial(torch.images_per_second, k) for k in torch_kinds()}
        turns["peak"] = matmul_peak
        rates: dict[str, list[float]] = {name: [] for name in turns}
        for epoch in range(config.epochs + 1):
            for name in turns if epoch % 2 else reversed(turns):
                rates[name].append(turns[name]())
        memory = {"aejax": peak_memory()} | ({"torch": torch.peak_memory()} if torch else {})
    return {name: values[1:] for name, values in rates.items()}, memory


def kinds_of(data: str) -> tuple[str, ...]:
    """Where the images are, in turn."""
    return ("resident", "stream") if data == "both" else (data,)


def aejax_epochs(config: Config, data: Dataset, kind: str) -> Iterator[float]:
    """Images/s of epoch after epoch."""
    state, loss_fn, optimizer = build(config.net)
    mesh = data_mesh(1)
    progress = train(
        state,
        make_train_step(loss_fn, optimizer),
        make_source(data, mesh, stream=kind == "stream"),
        epochs=config.epochs + 1,
        batch_size=config.batch_size,
        mesh=mesh,
    )
    return (p.images_per_second for p in progress if p.epoch_done)


def start_torch(config: Config, folder: Path) -> "TorchProcess":
    """The process that trains in PyTorch."""
    if importlib.util.find_spec("torch") is None:
        raise UsageError("--compare torch needs PyTorch: pip install 'aejax[bench]'")
    from aejax.experiments.torch_baseline import TorchProcess

    return TorchProcess(config.net, folder / "images.npy", config.batch_size)


def torch_kinds() -> tuple[str, ...]:
    """The ways in which PyTorch is timed."""
    from aejax.experiments.torch_baseline import KINDS

    return KINDS


def peak_memory() -> float:
    """Bytes, of this process so far."""
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def flops_per_image(config: Config) -> tuple[float, float]:
    """Multiplications and additions of a step, and 3 x those of the forward pass, an image."""
    state, loss_fn, optimizer = build(config.net)
    batch = {"x": jnp.zeros((config.batch_size, *SHAPE))}
    step = matmul_flops(make_train_step(loss_fn, optimizer), state, batch)
    forward = matmul_flops(lambda s, b: loss_fn(s.params, {}, b, s.key, s.step)[0], state, batch)
    return step / config.batch_size, 3 * forward / config.batch_size


def report(config: Config, rates: dict[str, list[float]], memory: dict[str, float]) -> None:
    """Prints the medians, and the medians of the ratios of neighbouring epochs."""
    flops, thrice_forward = flops_per_image(config)
    peak = float(np.median(rates.pop("peak")))
    print(f"--net {config.net}, batch {config.batch_size}, {jax.devices()[0].device_kind}")
    print(f"a step multiplies {flops / 1e6:.2f} MFLOP an image", end=" ")
    print(f"(3 x forward: {thrice_forward / 1e6:.2f})")
    print(f"matmul peak {peak:.0f} GFLOP/s (float32, 2048 x 2048 x 2048)")
    for kind, values in rates.items():
        rate = float(np.median(values))
        print(
            f"{kind:14s}  {rate:8,.0f} images/s  {rate * flops / 1e9:6.1f} GFLOP/s  "
            f"{rate * flops / 1e9 / peak:.2f} of the peak "
            f"({rate * thrice_forward / 1e9 / peak:.2f} counting 3 x forward)"
        )
    first, *others = rates
    for other in others:
        ratios = np.divide(rates[first], rates[other])
        print(f"{first} / {other} {np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    for program, size in memory.items():
        print(f"peak memory of the {program} process {size / 1e9:.2f} GB")


def main() -> None:
    """Parses the flags, measures and reports."""
    with one_line_errors("throughput.py"):
        config = parse(Config, "throughput.py", sys.argv[1:])
        if min(config.batch_size, config.images, config.epochs) < 1:
            raise UsageError("--batch-size, --images and --epochs must be positive")
        with tempfile.TemporaryDirectory() as folder:
            rates, memory = measure(config, Path(folder))
        report(config, rates, memory)


if __name__ == "__main__":
    main()
