"""Dense autoencoders with a code of 32: simple, sparse, k-sparse, deep, contractive.

Chollet 2016, "Building autoencoders in Keras" (simple, l1, deep); Makhzani & Frey 2013
(k_sparse); Rifai et al. 2011, "Contractive auto-encoders" (contractive, whose decoder has the
encoder's weights, transposed). PCA of as many dimensions stands beside each. Published for MNIST,
nats a pixel: simple 0.09, l1 0.10, deep 0.08. What a heavier --contraction does, contraction.py
measures and draws. The contractive code is nearly one of zeros and ones: tied weights must be large
to reach a pixel's logits from units in [0, 1], and saturate them.

Command:   python experiments/sparse_autoencoder.py --kind l1
           python experiments/sparse_autoencoder.py --kind deep --epochs 100
Expected:  see RESULTS.md
Cost:      about twenty seconds on two cores, most of it the t-SNE picture
"""

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from aejax import figures, likelihoods, models, nets, penalties
from aejax.cli.commands import main
from aejax.data.dataset import Dataset, as_float
from aejax.evaluation.contraction import jacobian_norms, moved_by_noise
from aejax.evaluation.probes import knn_accuracies, pca_codes
from aejax.figures.codes import activity_histogram, tsne
from aejax.models import Model, TiedAutoencoder, TiedDecoder, flax_model, rebound
from aejax.nets.layers import num_elements
from aejax.nets.sparse import KSparseEncoder, SigmoidEncoder
from aejax.objectives import Objective, Penalised, Reconstruction
from aejax.runs.families import AutoencoderConfig, curves, reconstructions
from aejax.runs.idle_flags import Conditions, With
from aejax.runs.run import Run
from aejax.settings import setting
from aejax.streams import seed_stream
from aejax.types import Batch, Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(AutoencoderConfig):
    """Train a dense autoencoder with a code that is held down, or use a trained one."""

    name: ClassVar[str] = "sparse_autoencoder"
    acts: ClassVar[Conditions] = {
        **AutoencoderConfig.acts,
        "k": With("kind", ("k_sparse",)),
        "activity": With("kind", ("l1",)),
        "contraction": With("kind", ("contractive", "deep_contractive")),
    }

    epochs: int = 50
    """Passes over the training images."""
    batch_size: int = 256
    """Images a step."""
    kind: Literal["simple", "l1", "k_sparse", "deep", "contractive", "deep_contractive"] = "simple"
    """simple: a ReLU code; l1: charged for its activity; k_sparse: its k largest units; deep:
    128-64 before it; contractive: a sigmoid code charged for its Jacobian, exactly, tied weights,
    20 times the learning rate; deep_contractive: deep, charged for an estimate of its Jacobian."""
    latent_dim: int = setting(32, at_least=1)
    """Dimensions of the code."""
    k: int = 8
    """Units that an image keeps (--kind k_sparse)."""
    activity: float = setting(1e-4, at_least=0)
    """Charge on a unit of activity, against the loss of a pixel as in Keras (--kind l1)."""
    contraction: float = setting(0.1, at_least=0)
    """Nats for a unit of the Jacobian's squared norm (the contractive kinds)."""

    def model(self, spec: Spec) -> Model:
        """The autoencoder of this kind."""
        likelihood, shape = likelihoods.bernoulli(), spec["x"].shape
        if self.kind == "contractive":
            tied = SigmoidEncoder(self.latent_dim), TiedDecoder(shape)
            return flax_model(TiedAutoencoder(*tied, likelihood))
        hidden = (128, 64) if self.kind.startswith("deep") else ()
        dense, sparse = nets.MLPEncoder((*hidden, self.latent_dim)), KSparseEncoder
        encoder = sparse(self.latent_dim, self.k) if self.kind == "k_sparse" else dense
        return models.autoencoder(
            encoder, nets.MLPDecoder(tuple(reversed(hidden)), shape), likelihood
        )

    def criterion(self, spec: Spec) -> Objective:
        """The reconstruction error with the charge of this kind."""
        # Keras charges activity beside the mean over pixels; here the loss is their sum.
        charges = {
            "l1": (active, self.activity * num_elements(spec["x"].shape)),
            "contractive": (sigmoid_contraction, self.contraction),
            "deep_contractive": (contraction, self.contraction),
        }
        if self.kind not in charges:
            return Reconstruction()
        penalty, weight = charges[self.kind]
        return Penalised(objective=Reconstruction(), penalty=penalty, weight=weight)

    def optimizer(self, steps_per_epoch: int) -> optax.GradientTransformation:
        """Adam, 20 times as fast for the contractive kind.

        The weights of a tied sigmoid layer grow some ten times as large as a ReLU layer's: its
        units lie in [0, 1] and the logits of a pixel do not.
        """
        return optax.adam(self.learning_rate * (20 if self.kind == "contractive" else 1))

    def check(self) -> None:
        """Raises a `ValueError` for more units than the code has."""
        if self.kind == "k_sparse" and not 1 <= self.k <= self.latent_dim:
            raise ValueError(
                f"--k {self.k} is not within 1 and the code's {self.latent_dim} units "
                "(--latent-dim)"
            )

    def results(self, run: Run, train: Dataset, test: Dataset) -> dict[str, float]:
        """The model's error beside PCA's at equal code size; how busy and steady its code is."""
        images = test["x"][:10_000] / np.float32(255)
        codes, test_codes = run.encode(train["x"][:10_000]), run.encode(test["x"][:10_000])
        pca, test_pca, restored = pca_codes(train["x"][:10_000], test["x"][:10_000], codes.shape[1])
        return {
            "squared_error_per_pixel": float(np.mean((run.decode(test_codes) - images) ** 2)),
            "squared_error_per_pixel_of_pca": float(np.mean((restored - images) ** 2)),
            "mean_activation": float(np.mean(np.abs(test_codes))),
            "share_of_zeros": float(np.mean(test_codes == 0)),
            **steadiness(run, test),
        } | knn_accuracies({"": (codes, test_codes), "_of_pca": (pca, test_pca)}, train, test)

    def figures(self, run: Any, test: Dataset) -> Iterator[tuple[str, Figure]]:
        """Reconstructions, the codes by t-SNE, how active they are, the units, curves."""
        yield "reconstructions", reconstructions(run, test)
        codes = run.encode(test["x"][:1000])
        yield "tsne", tsne(codes, test.labels[:1000], test.label_names)
        yield "activity", activity_histogram(codes)
        units = np.eye(codes.shape[1], dtype=np.float32) * np.abs(codes).max(axis=0, keepdims=True)
        yield "units", figures.image_grid(run.decode(units), columns=8)
        yield from curves(run, "loss", "reconstruction")


def active(model: Any, batch: Batch, key: jax.Array) -> jax.Array:
    """The activity of the code, `[B]`."""
    return penalties.activity(model.posterior(batch).mean)


def sigmoid_contraction(model: Any, batch: Batch, key: jax.Array) -> jax.Array:
    """The squared norm of the Jacobian of one sigmoid layer, `[B]`."""
    return penalties.sigmoid_contraction(model.posterior(batch).mean, model.kernel())


def contraction(model: Any, batch: Batch, key: jax.Array) -> jax.Array:
    """An estimate of the squared norm of any encoder's Jacobian, `[B]`."""
    return penalties.contraction(lambda x: rebound(model).posterior({"x": x}).mean, batch["x"], key)


def steadiness(run: Run, test: Dataset) -> dict[str, float]:
    """How far the code moves with the image: see `aejax.evaluation.contraction`."""

    def encode(x: jax.Array) -> jax.Array:
        return run.recipe.model.posterior(run.variables, {"x": x}).mean

    x = as_float(jnp.asarray(test["x"][:1000]))
    norms = jax.jit(partial(jacobian_norms, encode))(x)
    key = seed_stream(run.config.seed, "results")
    return {
        "jacobian_norm": float(jnp.mean(norms)),
        "code_moved_by_noise": float(jax.jit(partial(moved_by_noise, encode))(x, key)),
    }


if __name__ == "__main__":
    main(Config)
