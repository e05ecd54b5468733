"""A model as plain functions of its variables and a batch: p(z) p(x|z), and q(z|x)."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import flax.linen as nn
import jax

from aejax.axes import per_example
from aejax.types import Batch, Variables


class Distribution(Protocol):
    """What a posterior or a prior is: any pytree with these methods; none looks into it.

    A posterior is over `[B, ...]`, a prior over one z, or over a batch's where it is given one.
    `log_prob` takes further axes in front, `[K, B, D]` for `[B, D]`. Where it is closed, a
    posterior has `kl(prior)`, nats, and its summands `kl_per_dimension(prior)`, `[..., D]`;
    `mean`, `[B, D]`, for codes; and `log_prob_per_dimension(z)`, if its dimensions are independent,
    for the total correlation.
    """

    def sample(self, key: jax.Array) -> Any:
        """One draw for each example, `[B, D]`."""

    def samples(self, key: jax.Array, count: int) -> Any:
        """`count` independent draws, `[count, ...]`."""

    def log_prob(self, z: Any) -> jax.Array:
        """Nats: `[..., D]` -> `[...]`."""


class Bound(Protocol):
    """A model whose methods know their variables, as objectives and evaluations are given it."""

    def posterior(self, batch: Batch) -> Any:
        """q(z|x) over `[B, ...]`; of a deterministic autoencoder a `Point`, its code."""

    def prior(self, batch: Batch | None = None) -> Any:
        """p(z), or p(z|y) of a batch with conditions."""

    def log_likelihood(self, batch: Batch, z: Any) -> jax.Array:
        """Log p(x|z), nats: `[B]`, or `[K, B]` for draws z `[K, B, ...]`."""

    def decode(self, z: Any, batch: Batch | None = None) -> jax.Array:
        """E[x|z], `[B, ...]`."""

    def draw(self, key: jax.Array, z: Any, batch: Batch | None = None) -> jax.Array:
        """Draws x from p(x|z), `[B, ...]`."""


_METHODS = ("posterior", "prior", "log_likelihood", "decode", "draw")


@dataclasses.dataclass(frozen=True, eq=False)
class _Method:
    """A module's method as a function of its variables."""

    module: nn.Module
    name: str

    def __call__(self, variables: Variables, *args: Any) -> Any:
        return self.module.apply(variables, *args, method=self.name)


@dataclasses.dataclass(frozen=True)
class Model:
    """A model as plain functions; `variables` are all its collections, "params" among them.

    Attributes:
        init: (key, batch) -> variables.
        posterior: (variables, batch) -> q(z|x).
        prior: (variables, batch or None) -> p(z).
        log_likelihood: (variables, batch, z) -> log p(x|z), nats, `[B]` or `[K, B]`.
        decode: (variables, z, batch or None) -> E[x|z].
        draw: (variables, key, z, batch or None) -> x ~ p(x|z).
        likelihood: what p(x|z) is, where it is one of `aejax.likelihoods`.
        conditional: whether it is given more than x: its likelihood is p(x|y).
        module: the Flax module that the functions are of, if they are.

    Raises:
        ValueError: if a function is not the module's: objectives are given the module itself.
    """

    init: Callable[[jax.Array, Batch], Variables]
    posterior: Callable[[Variables, Batch], Any]
    prior: Callable[..., Any]
    log_likelihood: Callable[[Variables, Batch, Any], jax.Array]
    decode: Callable[..., jax.Array]
    draw: Callable[..., jax.Array]
    likelihood: Any = None
    conditional: bool = False
    module: nn.Module | None = None

    def __post_init__(self) -> None:
        for name in _METHODS if self.module is not None else ():
            if getattr(getattr(self, name), "module", None) is not self.module:
                raise ValueError(
                    f"{name} is not the module's own, which objectives would use: subclass the "
                    "module, or give module=None"
                )

    def bind(self, variables: Variables) -> Bound:
        """The model with its variables, which it does not change."""
        if self.module is not None:
            return self.module.bind(variables)
        return _BoundFunctions(self, dict(variables))

    def apply(
        self, function: Callable[..., Any], variables: Variables, *args: Any, mutable: Sequence[str]
    ) -> tuple[Any, Variables]:
        """`function(bound model, *args)`, and the collections of `mutable` as it leaves them."""
        if self.module is not None:
            return nn.apply(function, self.module, mutable=list(mutable))(variables, *args)
        bound = _BoundFunctions(self, dict(variables), tuple(mutable))
        found = function(bound, *args)
        return found, {name: bound.variables[name] for name in mutable}


class _BoundFunctions:
    """The functions of a model that is no Flax module, bound to its variables."""

    def __init__(self, model: Model, variables: Variables, mutable: tuple[str, ...] = ()):
        self.model, self.variables, self._mutable = model, variables, mutable

    def posterior(self, batch: Batch) -> Any:
        return self.model.posterior(self.variables, batch)

    def prior(self, batch: Batch | None = None) -> Any:
        return self.model.prior(self.variables, batch)

    def log_likelihood(self, batch: Batch, z: Any) -> jax.Array:
        return self.model.log_likelihood(self.variables, batch, z)

    def decode(self, z: Any, batch: Batch | None = None) -> jax.Array:
        return self.model.decode(self.variables, z, batch)

    def draw(self, key: jax.Array, z: Any, batch: Batch | None = None) -> jax.Array:
        return self.model.draw(self.variables, key, z, batch)

    def get_variable(self, collection: str, name: str) -> Any:
        return self.variables[collection][name]

    def put_variable(self, collection: str, name: str, value: Any) -> None:
        self.variables[collection] = {**self.variables[collection], name: value}

    def is_mutable_collection(self, collection: str) -> bool:
        return collection in self._mutable

    def unbind(self) -> tuple[Model, Variables]:
        return self.model, self.variables


def flax_model(module: nn.Module) -> Model:
    """The plain functions of a module that has the methods of `Bound`."""

    def everything(bound: Any, batch: Batch) -> Any:
        """What touches every variable, to make them by."""
        z = bound.posterior(batch).mean
        return bound.log_likelihood(batch, z), bound.prior(batch)

    methods: dict[str, Any] = {name: _Method(module, name) for name in _METHODS}
    return Model(
        init=lambda key, batch: dict(module.init(key, batch, method=everything)),
        **methods,
        likelihood=getattr(module, "likelihood", None),
        conditional=getattr(module, "conditional", False),
        module=module,
    )


def held(bound: Any) -> Any:
    """A bound model through whose variables no gradient goes."""
    model, variables = bound.unbind()
    return model.bind(jax.lax.stop_gradient(variables))


def log_joint(bound: Bound, batch: Batch, z: jax.Array) -> jax.Array:
    """Log p(x, z) in nats: z `[K, B, ...]` -> `[K, B]`."""
    return bound.log_likelihood(batch, z) + log_q(bound.prior(batch), z)


def log_q(distribution: Distribution, z: Any) -> jax.Array:
    """The log-density of each example's draws, nats: z `[K, B, ...]` -> `[K, B]`."""
    return per_example(distribution.log_prob(z), leading=2)


def log_weights(bound: Bound, batch: Batch, key: jax.Array, samples: int) -> jax.Array:
    """Log p(x, z) - log q(z|x) in nats at draws of z from q(z|x): `[samples, B]`.

    Burda, Grosse & Salakhutdinov 2016 (arXiv 1509.00519), equation 8.
    """
    posterior = bound.posterior(batch)
    z = posterior.samples(key, samples)
    return log_joint(bound, batch, z) - log_q(posterior, z)
