"""The networks of throughput.py in PyTorch, trained in a process of their own, to compare with.

Not an experiment: `python experiments/throughput.py --compare torch` starts it.
"""

import multiprocessing
import resource
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

KINDS = ("eager", "compiled", "loader")


class TorchProcess:
    """Answers `images_per_second(kind)` for one epoch at a time, and idles in between.

    Kinds: `eager` and `compiled` (torch.compile) on images that are in memory, `loader` (eager)
    with a DataLoader of two workers.
    """

    def __init__(self, net: str, images: Path, batch_size: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, net, str(images), batch_size), daemon=False
        )
        self._process.start()

    def images_per_second(self, kind: str) -> float:
        """Trains an epoch."""
        return float(self._ask(kind))

    def peak_memory(self) -> float:
        """Bytes, of the process so far."""
        return float(self._ask("memory"))

    def _ask(self, question: str) -> Any:
        self._pipe.send(question)
        try:
            return self._pipe.recv()
        except EOFError:
            raise RuntimeError("the PyTorch process ended: its message is above") from None

    def __enter__(self) -> "TorchProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pipe.close()
        self._process.join()


def _serve(pipe: Connection, net: str, images: str, batch_size: int) -> None:
    import numpy as np

    data = np.load(images)
    epochs = {kind: _epochs(net, data, batch_size, kind) for kind in KINDS}
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        if question == "memory":
            pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        else:
            pipe.send(next(epochs[question]))


def _epochs(net: str, data: Any, batch_size: int, kind: str) -> Iterator[float]:
    """Images/s of epoch after epoch, on a GPU if there is one, there with TF32 products as JAX."""
    import torch

    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    model = _network(net).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=on_gpu)
    loss_of = torch.compile(model.loss) if kind == "compiled" else model.loss
    in_memory = kind != "loader"
    batches = _in_memory(data, batch_size, device) if in_memory else _loader(data, batch_size)
    while True:
        start, seen = time.perf_counter(), 0
        for x in batches():
            x = x.to(device).contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            loss_of(x).backward()
            optimizer.step()
            seen += len(x)
        if on_gpu:
            torch.cuda.synchronize()
        yield seen / (time.perf_counter() - start)


def _in_memory(data: Any, batch_size: int, device: Any) -> Any:
    import torch

    images = torch.from_numpy(data).permute(0, 3, 1, 2).to(device)

    def batches() -> Iterator[Any]:
        order = torch.randperm(len(images), device=device)
        for i in range(0, len(images) - batch_size + 1, batch_size):
            yield images[order[i : i + batch_size]].float() / 255

    return batches


def _loader(data: Any, batch_size: int) -> Any:
    from torch.utils.data import DataLoader

    options: dict[str, Any] = {"shuffle": True, "drop_last": True, "num_workers": 2}
    images: Any = _Images(data)
    loader: Any = DataLoader(images, batch_size, persistent_workers=True, **options)
    return lambda: loader


class _Images:
    """A map-style data set: an image at a time, as torchvision's are."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        import torch

        return torch.from_numpy(self.data[index]).permute(2, 0, 1).float() / 255


def _network(net: str) -> Any:
    import torch
    from torch import nn
    from torch.nn import functional

    class Autoencoder(nn.Module):
        def __init__(self, layers: nn.Module) -> None:
            super().__init__()
            self.layers = layers

        def loss(self, x: torch.Tensor) -> torch.Tensor:
            return bernoulli(self.layers(x), x)

    class VAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 500), nn.ReLU())
            self.mean, self.log_sigma = nn.Linear(500, 20), nn.Linear(500, 20)
            self.decoder = nn.Sequential(nn.Linear(20, 500), nn.ReLU(), nn.Linear(500, 784))

        def loss(self, x: torch.Tensor) -> torch.Tensor:
            features = self.encoder(x)
            mean, log_sigma = self.mean(features), self.log_sigma(features)
            z = mean + log_sigma.exp() * torch.randn_like(mean)
            kl = (0.5 * (torch.expm1(2 * log_sigma) + mean**2) - log_sigma).sum() / len(x)
            return bernoulli(self.decoder(z).view_as(x), x) + kl

    def bernoulli(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        loss = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return loss / len(x)

    if net == "mlp":
        return VAE()
    if net == "conv":
        return Autoencoder(nn.Sequential(
            nn.Conv2d(1, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(3136, 32), nn.Linear(32, 3136), nn.ReLU(),
            nn.Unflatten(1, (64, 7, 7)),
            nn.ConvTranspose2d(64, 64, 3, 2, 1, 1), nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 3, 2, 1, 1), nn.ReLU(), nn.Conv2d(32, 1, 3, 1, 1),
        ))  # fmt: skip
    down = [(1, 16), (16, 8), (8, 8)]
    up = [(8, 8, 1), (8, 8, 1), (8, 16, 0)]
    layers: list[nn.Module] = []
    for i, o in down:
        layers += [nn.Conv2d(i, o, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2, 2, ceil_mode=True)]
    for i, o, padding in up:
        layers += [nn.Conv2d(i, o, 3, 1, padding), nn.ReLU(), nn.Upsample(scale_factor=2)]
    return Autoencoder(nn.Sequential(*layers, nn.Conv2d(16, 1, 3, 1, 1)))
