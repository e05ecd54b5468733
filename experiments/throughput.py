"""How fast this machine trains, against what its matrix multiplication allows.

The networks: a 784-500-20 VAE (--net mlp), and an autoencoder of stride-2 convolutions to 32 and 64
channels, a code of 32 and the mirror image (--net conv). The images are random: the work does not
depend on what they show.

Command:   python experiments/throughput.py
Expected:  see the README's table of throughput
Cost:      half a minute on two cores
"""

import dataclasses
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from aejax import likelihoods, models, nets, objectives
from aejax.data.dataset import ImageDataset
from aejax.errors import UsageError
from aejax.flops import matmul_flops
from aejax.runs.flags import one_line_errors, parse
from aejax.training.loop import make_source, train
from aejax.training.sharding import data_mesh
from aejax.training.state import TrainState
from aejax.training.step import make_train_step

SHAPE = (28, 28, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Measure training images/s, GFLOP/s, the matmul peak, their ratio and the peak memory."""

    net: Literal["mlp", "conv"] = "mlp"
    """784-500-20 VAE, or convolutional autoencoder."""
    data: Literal["resident", "stream", "both"] = "both"
    """Images on the device, streamed from disk, or both in turn."""
    batch_size: int = 128
    """Images a step."""
    images: int = 60_000
    """Images an epoch."""
    epochs: int = 7
    """Epochs to time, after one that is not counted; the median is shown."""


def build(net: str) -> tuple[TrainState, objectives.LossFn, optax.GradientTransformation]:
    """The network's state, its loss and Adam."""
    if net == "mlp":
        model = models.functions(models.VAE(*nets.mlp_pair(SHAPE, (500,)), latent_dim=20))
        loss_fn = objectives.vae(model.apply, likelihoods.bernoulli_log_prob)
    else:
        pair = nets.conv_pair(SHAPE, (32, 64))
        model = models.functions(models.Autoencoder(*pair, latent_dim=32))
        loss_fn = objectives.autoencoder(model.apply, likelihoods.bernoulli_log_prob)
    optimizer = optax.adam(1e-3)
    init_key, key = jax.random.split(jax.random.key(0))
    params = model.init(init_key, jnp.zeros((1, *SHAPE)))
    return TrainState.create(params, optimizer, key), loss_fn, optimizer


def random_images(count: int, folder: Path) -> ImageDataset:
    """Random images, memory-mapped from `folder` as decoded data sets are."""
    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8))
    images = np.load(folder / "images.npy", mmap_mode="r")
    return ImageDataset(images, np.zeros(count, np.int32))


def matmul_peak(size: int = 2048, repeats: int = 8) -> float:
    """The best GFLOP/s of a float32 matrix product of this size."""
    a = jnp.ones((size, size))
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        product(a).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds) / 1e9


def measure(config: Config, data: ImageDataset) -> dict[str, list[float]]:
    """Images/s of every timed epoch by kind of data, and the matmul peak beside them."""
    state, loss_fn, optimizer = build(config.net)
    mesh = data_mesh(1)
    kinds = ("resident", "stream") if config.data == "both" else (config.data,)
    runs = {
        kind: train(
            state,
            make_train_step(loss_fn, optimizer),
            make_source(data, mesh, stream=kind == "stream"),
            epochs=config.epochs + 1,
            batch_size=config.batch_size,
            mesh=mesh,
        )
        for kind in kinds
    }
    rates: dict[str, list[float]] = {kind: [] for kind in (*kinds, "peak")}
    for epoch in range(config.epochs + 1):
        for kind in kinds if epoch % 2 else reversed(kinds):
            progress = next(p for p in runs[kind] if p.epoch_done)
            rates[kind].append(progress.images_per_second)
        rates["peak"].append(matmul_peak())
    return {kind: values[1:] for kind, values in rates.items()}


def report(config: Config, rates: dict[str, list[float]]) -> None:
    """Prints the medians."""
    state, loss_fn, optimizer = build(config.net)
    batch = {"image": jnp.zeros((config.batch_size, *SHAPE))}
    step = make_train_step(loss_fn, optimizer)
    flops = matmul_flops(step, state, batch) / config.batch_size
    forward = (
        matmul_flops(lambda s, b: loss_fn(s.params, {}, b, s.key, s.step)[0], state, batch)
        / config.batch_size
    )
    peak = float(np.median(rates.pop("peak")))
    print(f"--net {config.net}, batch {config.batch_size}, {jax.devices()[0].device_kind}")
    print(
        f"a step multiplies {flops / 1e6:.2f} MFLOP an image (3 x forward: {3 * forward / 1e6:.2f})"
    )
    print(f"matmul peak {peak:.0f} GFLOP/s (float32, 2048 x 2048 x 2048)")
    for kind, values in rates.items():
        rate = float(np.median(values))
        print(
            f"{kind:8s}  {rate:8,.0f} images/s  {rate * flops / 1e9:6.1f} GFLOP/s  "
            f"{rate * flops / 1e9 / peak:.2f} of the peak "
            f"({rate * 3 * forward / 1e9 / peak:.2f} counting 3 x forward)"
        )
    if len(rates) == 2:
        ratios = np.divide(rates["stream"], rates["resident"])
        print(f"stream / resident {np.median(ratios):.3f}")
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(f"peak memory {memory / 1e9:.2f} GB")


def main() -> None:
    """Parses the flags, measures and reports."""
    with one_line_errors("throughput.py"):
        config = parse(Config, "throughput.py", sys.argv[1:])
        if min(config.batch_size, config.images, config.epochs) < 1:
            raise UsageError("--batch-size, --images and --epochs must be positive")
        with tempfile.TemporaryDirectory() as folder:
            rates = measure(config, random_images(config.images, Path(folder)))
        report(config, rates)


if __name__ == "__main__":
    main()
