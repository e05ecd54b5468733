"""A run: a trained model, and its functions on arrays."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax.admission import Kind, admitted
from aejax.data.dataset import Dataset, as_batch, at_rest
from aejax.errors import UsageError
from aejax.models.model import Bound
from aejax.runs.config import Config
from aejax.runs.recipe import Recipe
from aejax.training.loop import make_evaluate, make_source
from aejax.training.sharding import device_mesh, replicated
from aejax.training.state import TrainState
from aejax.training.step import make_eval_step
from aejax.types import Batch, Spec, Variables

_ROWS = 1024  # examples that a function takes at a time


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained model, and its functions on arrays.

    An `x` is an array `[N, ...]` (uint8, or floats in [0, 1], of images; tokens; vectors), or a
    mapping of such by name where the model is given conditions too. What is given is looked at
    beside what the model was trained on, by `aejax.admission`.

    Attributes:
        config: what was trained.
        recipe: the functions that it was made of.
        state: the training state at the end.
        metrics: the last metrics on the test examples, nats per example.
        history: every line of `metrics.jsonl`.
        workdir: the run directory.
        spec: what one example of the data is, by name.
        names: what the data's integers stand for, by the array's name.
        at_rest: the type of the data before they are on the device, by name; of an earlier run
            uint8 of images, else that of `spec`.
    """

    config: Config
    recipe: Recipe
    state: TrainState
    metrics: dict[str, float]
    history: list[dict[str, Any]]
    workdir: Path
    spec: Spec
    names: Mapping[str, tuple[str, ...]]
    at_rest: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def variables(self) -> Variables:
        """The model's collections: the parameters that are used, and whatever else it keeps."""
        return {"params": self.state.eval_params, **self.state.extra}

    @property
    def images(self) -> bool:
        """Whether x are images `[H, W, C]`."""
        return len(self.spec["x"].shape) == 3 and self.spec["x"].dtype == np.float32

    def encode(self, x: Any) -> np.ndarray:
        """Maps x to codes `[N, ...]`; a variational model codes x as its posterior mean.

        Raises:
            ValueError: if x is not of the shape, type and range of what the model was trained on.
        """
        return self.by_rows(lambda bound, batch: bound.posterior(batch).mean, self._batch(x))

    def decode(self, z: Any) -> np.ndarray:
        """Codes `[N, ...]` -> x `[N, ...]`, the mean of p(x|z).

        Raises:
            ValueError: if z is not of the shape and type that `encode` gives, or not finite.
        """
        z = admitted("z", z, self._code)
        return self.by_rows(lambda bound, rows: bound.decode(rows["z"]), {"z": z})

    def reconstruct(self, x: Any) -> np.ndarray:
        """Reconstructs x through its code."""
        return self.decode(self.encode(x))

    def sample(self, key: jax.Array, n: int) -> np.ndarray:
        """`n` examples decoded from draws of the prior; tokens are drawn, other x are means.

        Raises:
            UsageError: if the model has no prior.
        """
        code_key, draw_key = jax.random.split(key) if self._discrete else (key, key)
        z = self.prior_codes(code_key, n)
        if not self._discrete:
            return self.decode(z)
        bound = self.recipe.model.bind(self.variables)
        return np.asarray(jax.jit(bound.draw)(draw_key, z))

    def prior_codes(self, key: jax.Array, n: int) -> np.ndarray:
        """`n` draws of the prior, `[n, ...]`; a `UsageError` if the model has none."""
        prior = self.recipe.model.prior(self.variables, None)
        if prior is None:
            raise UsageError(f"{self.config.name} has no prior to sample from: train a VAE")
        return np.asarray(prior.samples(key, n))

    def evaluate(self, data: Any) -> dict[str, float]:
        """The metrics' means over a data set, or arrays by name, nats per example.

        Raises:
            ValueError: if they are not of the shape, type and range of what the model was trained
                on, lack what it is conditional on, or are none.
        """
        data = self._dataset(data)
        mesh = device_mesh(1, devices=jax.local_devices())
        source = make_source(data, mesh, stream=True)
        eval_step = make_eval_step(self.recipe.loss_fn)
        batch_size = max(2, min(len(data), self.config.batch_size))  # some losses are over pairs
        evaluate = make_evaluate(eval_step, source, batch_size=batch_size, mesh=mesh)
        # A run that has just trained is spread over its devices.
        return evaluate(jax.device_put(self.state, replicated(mesh)))

    def by_rows(self, function: Callable[[Bound, Batch], Any], rows: Mapping[str, Any]) -> Any:
        """A function of (bound model, batch) on all rows, a thousand of them at a time.

        Its arrays `[B, ...]`, of any pytree, are put together.
        """

        @jax.jit
        def compiled(variables: Variables, rows: Mapping[str, jax.Array]) -> Any:
            return function(self.recipe.model.bind(variables), as_batch(rows))

        count = len(next(iter(rows.values())))
        if not count:  # a net's shapes are those of one row
            one = {k: np.zeros((1, *v.shape[1:]), v.dtype) for k, v in rows.items()}
            return jax.tree.map(lambda a: a[:0], jax.device_get(compiled(self.variables, one)))
        parts = [
            jax.device_get(compiled(self.variables, {k: v[i : i + _ROWS] for k, v in rows.items()}))
            for i in range(0, count, _ROWS)
        ]
        return jax.tree.map(lambda *of: np.concatenate(of), *parts)

    @property
    def _discrete(self) -> bool:
        return np.issubdtype(self.spec["x"].dtype, np.integer)

    def _batch(self, x: Any) -> dict[str, np.ndarray]:
        """Arrays by name, as the model takes them; what it was not trained with stays."""
        arrays = dict(x.items()) if hasattr(x, "items") else {"x": x}
        if "x" not in arrays:
            raise ValueError(f"arrays {', '.join(arrays) or 'none'}: name what is modelled 'x'")
        found = {
            key: admitted(key, values, self._kind(key))
            if key in self.spec
            else at_rest(key, values)
            for key, values in arrays.items()
        }
        lengths = {key: len(values) for key, values in found.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"arrays differ in length: {lengths}; give one row an example")
        return found

    def _dataset(self, data: Any) -> Dataset:
        arrays = self._batch(data)
        missing = self.spec.keys() - arrays.keys() if self.recipe.model.conditional else ()
        if missing:
            raise ValueError(f"the model is given {', '.join(sorted(missing))} too: add it to x")
        if not len(arrays["x"]):
            raise ValueError("x holds no examples: give at least one to evaluate")
        return Dataset(arrays, getattr(data, "names", self.names), getattr(data, "name", ""))

    def _kind(self, key: str) -> Kind:
        spec, likelihood = self.spec[key], self.recipe.model.likelihood
        images = key == "x" and self.images
        dtype = np.dtype(self.at_rest.get(key, np.uint8 if images else spec.dtype))
        unit = key == "x" and getattr(likelihood, "unit", False)
        return Kind(tuple(spec.shape), dtype, unit)

    @functools.cached_property
    def _code(self) -> Kind:
        """What the model's codes of x are."""

        def code(variables: Variables, x: jax.Array) -> jax.Array:
            return self.recipe.model.bind(variables).posterior({"x": x}).mean

        x = jax.ShapeDtypeStruct((1, *self.spec["x"].shape), self.spec["x"].dtype)
        found = jax.eval_shape(code, self.variables, x)
        floating = jnp.issubdtype(found.dtype, jnp.floating)
        return Kind(found.shape[1:], np.dtype(np.float32 if floating else found.dtype))
