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
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from aejax import figures, likelihoods, models, nets, objectives, penalties
from aejax.data.dataset import Dataset, as_float
from aejax.evaluation.contraction import jacobian_norms, moved_by_noise
from aejax.evaluation.probes import knn_accuracies, pca_codes
from aejax.figures.codes import activity_histogram, tsne
from aejax.nets.layers import num_elements
from aejax.nets.sparse import KSparseEncoder, SigmoidEncoder
from aejax.runs import headlines
from aejax.runs.commands import main
from aejax.runs.config import Config as CommonConfig
from aejax.runs.idle_flags import Conditions, With
from aejax.runs.recipe import Recipe
from aejax.runs.run import Run
from aejax.streams import seed_stream
from aejax.traced import is_known


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(CommonConfig):
    """Train a dense autoencoder with a code that is held down, or use a trained one."""

    name: ClassVar[str] = "sparse_autoencoder"
    acts: ClassVar[Conditions] = {
        **CommonConfig.acts,
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
    latent_dim: int = 32
    """Dimensions of the code."""
    k: int = 8
    """Units that an image keeps (--kind k_sparse)."""
    activity: float = 1e-4
    """Charge on a unit of activity, against the loss of a pixel as in Keras (--kind l1)."""
    contraction: float = 0.1
    """Nats for a unit of the Jacobian's squared norm (the contractive kinds)."""

    def build(self, image_shape: tuple[int, int, int]) -> Recipe:
        """Model, loss, optimiser and figures for images of `(H, W, C)`."""
        self.check()
        hidden = (128, 64) if self.kind.startswith("deep") else ()
        encoders: dict[str, Callable[[], nn.Module]] = {
            "k_sparse": lambda: KSparseEncoder(self.latent_dim, self.k),
            "contractive": lambda: SigmoidEncoder(self.latent_dim),
        }
        dense = nets.MLPEncoder((*hidden, self.latent_dim))
        encoder = self.computed(encoders.get(self.kind, lambda: dense)())
        decoder = self.computed(nets.MLPDecoder(tuple(reversed(hidden)), image_shape))
        model = models.functions(models.Autoencoder(encoder, decoder))
        model = models.tied(model) if self.kind == "contractive" else model
        loss_fn = objectives.autoencoder(model.apply, likelihoods.bernoulli_log_prob)
        return Recipe(
            init=model.init,
            loss_fn=self.held_down(loss_fn, model, image_shape),
            optimizer=optax.adam(self.rate()),
            encode=model.encode,
            decode=lambda params, z: jax.nn.sigmoid(model.decode(params, z)),
            sample_prior=None,
            figures=pictures,
            headline=headlines.reconstruction,
            results=results,
        )

    def rate(self) -> float:
        """Adam's learning rate for this kind.

        The weights of a tied sigmoid layer grow some ten times as large as a ReLU layer's: its
        units lie in [0, 1] and the logits of a pixel do not.
        """
        return self.learning_rate * (20 if self.kind == "contractive" else 1)

    def check(self) -> None:
        """Raises a `ValueError` for a size or a charge that makes no sense."""
        if self.latent_dim < 1:
            raise ValueError(f"--latent-dim {self.latent_dim} is not positive")
        if self.kind == "k_sparse" and not 1 <= self.k <= self.latent_dim:
            raise ValueError(
                f"--k {self.k} is not within 1 and the code's {self.latent_dim} units "
                "(--latent-dim)"
            )
        for flag, value in (("activity", self.activity), ("contraction", self.contraction)):
            if is_known(value) and not value >= 0:
                raise ValueError(f"--{flag} {value} is negative")

    def held_down(
        self, loss_fn: objectives.LossFn, model: Any, image_shape: tuple[int, int, int]
    ) -> objectives.LossFn:
        """The loss with the charge of this kind."""
        charges: dict[str, tuple[Callable[..., jax.Array], float]] = {
            # Keras charges it beside the mean over pixels; here the loss is their sum.
            "l1": (
                lambda params, x, key: penalties.activity(model.encode(params, x)),
                self.activity * num_elements(image_shape),
            ),
            "contractive": (
                lambda params, x, key: penalties.sigmoid_contraction(
                    model.encode(params, x), params["encoder"]["Dense_0"]["kernel"]
                ),
                self.contraction,
            ),
            "deep_contractive": (
                lambda params, x, key: penalties.contraction(partial(model.encode, params), x, key),
                self.contraction,
            ),
        }
        if self.kind not in charges:
            return loss_fn
        return objectives.penalised(loss_fn, *charges[self.kind])


def results(run: Run, train: Dataset, test: Dataset) -> dict[str, float]:
    """The model's error beside PCA's at equal code size; how busy and how steady its code is."""
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


def steadiness(run: Run, test: Dataset) -> dict[str, float]:
    """How far the code moves with the image: see `aejax.evaluation.contraction`."""
    encode = partial(run.recipe.encode, run.state.eval_params)
    x = as_float(jnp.asarray(test["x"][:1000]))
    norms = jax.jit(partial(jacobian_norms, encode))(x)
    key = seed_stream(run.config.seed, "results")
    return {
        "jacobian_norm": float(jnp.mean(norms)),
        "code_moved_by_noise": float(jax.jit(partial(moved_by_noise, encode))(x, key)),
    }


def pictures(run: Run, test: Dataset) -> Iterator[tuple[str, Figure]]:
    """The figures that a run leaves."""
    images = figures.first_of_each_class(test, 20)
    yield "reconstructions", figures.reconstructions(images, run.reconstruct(images))
    codes = run.encode(test["x"][:1000])
    yield "tsne", tsne(codes, test.labels[:1000], test.label_names)
    yield "activity", activity_histogram(codes)
    units = np.eye(codes.shape[1], dtype=np.float32) * np.abs(codes).max(axis=0, keepdims=True)
    yield "units", figures.image_grid(run.decode(units), columns=8)
    if run.history:
        yield "curves", figures.curves(run.history, ("loss", "reconstruction"))


if __name__ == "__main__":
    main(Config)
