"""A small convolutional classifier, trained here, that says what class an image looks like."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from aejax.admission import unit_images
from aejax.data.dataset import Dataset
from aejax.errors import UsageError
from aejax.evaluation.features import fingerprint
from aejax.nets.layers import Conv
from aejax.objectives import batch_mean
from aejax.streams import seed_stream
from aejax.training.fit import fit
from aejax.training.state import TrainState
from aejax.types import Batch, LossFn, Metrics

_IMAGES = 10_000  # trained on, enough to tell what an image looks like
_ROWS = 1000  # images classified at a time


class ConvClassifier(nn.Module):
    """Images `[B, H, W, C]` -> logits `[B, classes]`; its last hidden layer is `features`."""

    classes: int
    channels: tuple[int, ...] = (16, 32)
    width: int = 64

    def setup(self) -> None:
        self.convolutions = [Conv(c, (3, 3), strides=2) for c in self.channels]
        self.hidden, self.head = nn.Dense(self.width), nn.Dense(self.classes)

    def features(self, x: jax.Array) -> jax.Array:
        """Images `[B, H, W, C]` -> `[B, width]`."""
        for convolution in self.convolutions:
            x = nn.relu(convolution(x))
        return nn.relu(self.hidden(x.reshape(x.shape[0], -1)))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.features(x))


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Attributes:
        classify: images `[N, H, W, C]` (uint8, or floats in [0, 1]) -> labels `[N]`.
        features: images `[N, H, W, C]` -> `[N, width]`.
        fingerprint: of its parameters, see `features.fingerprint`.
    """

    classify: Callable[[Any], np.ndarray]
    features: Callable[[Any], np.ndarray]
    fingerprint: str

    def accuracy(self, data: Dataset) -> float:
        """The share of the images whose class is found."""
        return float(np.mean(self.classify(data["x"]) == data.labels))


def train_classifier(
    data: Dataset, *, epochs: int = 10, batch_size: int = 100, seed: int = 0
) -> Classifier:
    """Trains on the first 10,000 images of `data`; about ten seconds on 4,000 digits."""
    if not data.labelled:
        raise UsageError(
            f"{data.name} has no labels to train a classifier on: give another data set"
        )
    data = data.first(_IMAGES)
    model = ConvClassifier(int(data.labels.max()) + 1)
    optimizer = optax.adam(1e-3)
    init_key, key = jax.random.split(seed_stream(seed, "classifier"))
    params = model.init(init_key, jnp.zeros((1, *data.spec["x"].shape)))["params"]
    state = TrainState.create(params, optimizer, key)
    fitted = fit(
        state, cross_entropy(model.apply), optimizer, data, epochs=epochs, batch_size=batch_size
    )
    return _as_classifier(model, fitted[0].params)


def cross_entropy(apply_fn: Callable[..., Any]) -> LossFn:
    """The negative log-likelihood of `batch["label"]` `[B]`, nats per example."""

    def loss_fn(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        logits = apply_fn({"params": params, **extra}, batch["x"])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        loss = batch_mean(losses, batch.get("mask"))
        return loss, ({"loss": loss}, extra)

    return loss_fn


def _as_classifier(model: ConvClassifier, params: Any) -> Classifier:
    def by_rows(function: Callable[[jax.Array], Any]) -> Callable[[Any], np.ndarray]:
        compiled = jax.jit(function)

        def over(images: Any) -> np.ndarray:
            images = np.asarray(images)
            parts = range(0, max(1, len(images)), _ROWS)
            some = (unit_images("images", images[i : i + _ROWS]) for i in parts)
            return np.concatenate([np.asarray(compiled(x)) for x in some])

        return over

    def label(x: jax.Array) -> jax.Array:
        logits: Any = model.apply({"params": params}, x)
        return jnp.argmax(logits, axis=-1)

    return Classifier(
        classify=by_rows(label),
        features=by_rows(lambda x: model.apply({"params": params}, x, method="features")),
        fingerprint=fingerprint(params),
    )
