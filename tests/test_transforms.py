"""Every public formula and objective under JAX's transformations and strict settings.

What these find, they find while tracing; `debug_nans` and the guard of transfers have to run.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pieces
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from aejax import likelihoods, models, nets, objectives
from aejax.evaluation.annealed import annealed_importance, linear_schedule
from aejax.evaluation.importance import importance_estimate

PAIRS = {"squared_mmd", "squared_mmd of inverse_multiquadric", "median_distance"}
BY_ROWS = PAIRS | {"aggregate_log_probs"}  # said in aejax/README.md
KEY = jax.random.key(0)
IMAGES = jnp.asarray(np.random.default_rng(0).uniform(size=(8, 4, 4, 1)), jnp.float32)


def vae():
    model = models.vae(*nets.mlp_pair((4, 4, 1), (3,)), 2, likelihoods.bernoulli())
    return model, dict(model.init(KEY, {"x": IMAGES}))


def losses():
    """Every objective as a function of parameters and images."""
    model, variables = vae()

    def of(kind, **options):
        objective = kind(**options).during(objectives.Training(10, 8, 8))
        loss_fn, extra = objectives.make_loss(model, objective), objective.collections()

        def loss(params, x):
            return loss_fn(params, extra, {"x": x}, jax.random.key(1), jnp.int32(3))[0]

        return loss, variables["params"], IMAGES

    found = {name: of(kind) for name, kind in objectives.OBJECTIVES.items()}
    kinds = objectives.OBJECTIVES
    found["iwae twice"] = of(kinds["iwae"], samples=4, gradient="double")
    return found | {"landing": of(kinds["sampled"], samples=4, gradient="landing")}


@pytest.fixture(scope="module")
def everything():
    """Name -> (function, arrays); those of an evaluation too."""
    model, variables = vae()

    def importance(params, x):
        return importance_estimate(model, {"params": params}, {"x": x}, KEY, samples=4)

    def annealed(params, x):
        batch, variables = {"x": x}, {"params": params}
        return annealed_importance(
            model,
            variables,
            batch,
            model.posterior(variables, batch),
            KEY,
            chains=2,
            betas=linear_schedule(2),
            leapfrog_steps=1,
        )

    arrays = variables["params"], IMAGES
    evaluations = {"importance": (importance, *arrays), "annealed": (annealed, *arrays)}
    formulas = {n: (f, *map(jnp.asarray, rest)) for n, (f, *rest) in pieces.PIECES.items()}
    return formulas | losses() | evaluations


def is_float(leaf):
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def traced(function, *arrays):
    return jax.eval_shape(function, *arrays)


def strict(function, *arrays):
    with jax.numpy_dtype_promotion("strict"):
        traced(function, *arrays)


def ranks(function, *arrays):
    with jax.numpy_rank_promotion("raise"):
        traced(function, *arrays)


def double(function, *arrays):
    """With float32 it stays float32 but where a prior is float64, with float64 it is that."""
    with jax.enable_x64(True):
        traced(function, *arrays)
        of = jax.tree.map(lambda a: a.astype(jnp.float64) if is_float(a) else a, arrays)
        leaves = jax.tree.leaves(traced(function, *of))
        assert all(leaf.dtype == jnp.float64 for leaf in leaves if is_float(leaf))


def leaks(function, *arrays):
    with jax.checking_leaks():
        traced(function, *arrays)


def forward(function, *arrays):
    # Along the floats; keys and tokens stay.
    leaves, tree = jax.tree.flatten(arrays)
    floats = [leaf for leaf in leaves if is_float(leaf)]

    def of_floats(*given):
        rest = iter(given)
        return function(*tree.unflatten([next(rest) if is_float(a) else a for a in leaves]))

    jax.eval_shape(lambda *given: jax.jvp(of_floats, given, given), *floats)


def batched(function, *arrays):
    stacked = jax.tree.map(lambda a: jnp.stack([a, a]), arrays)
    one, many = traced(function, *arrays), traced(jax.vmap(function), *stacked)
    assert [leaf.shape for leaf in jax.tree.leaves(many)] == [
        (2, *leaf.shape) for leaf in jax.tree.leaves(one)
    ]


def mapped(function, *arrays):
    """One of two on each of two devices, the outputs' variation checked."""
    mesh = jax.make_mesh((2,), ("i",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    stacked = jax.tree.map(lambda a: jnp.stack([a, a]), arrays)

    def of_one(*parts):
        found = function(*jax.tree.map(lambda a: a[0], parts))
        return jax.tree.map(lambda a: a[None], found)

    traced(jax.shard_map(of_one, mesh=mesh, in_specs=P("i"), out_specs=P("i")), *stacked)


SETTINGS = {f.__name__: f for f in (strict, ranks, double, leaks, forward, batched, mapped)}


@pytest.mark.parametrize("setting", SETTINGS)
def test_everything_bears(everything, setting):
    failed = {}
    for name, (function, *arrays) in everything.items():
        try:
            SETTINGS[setting](function, *arrays)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {str(error)[:200]}"
    assert not failed


def explicit(name, function, arrays):
    """The examples' axis split over two devices, by the name of its mesh axis."""
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    assert mesh.axis_types == (AxisType.Explicit,)
    axis = 1 if name in pieces.BY_BOUND else 0

    def laid_out(a):
        split = jnp.ndim(a) > axis and a.shape[axis] in (4, 8)
        spec = P(*[None] * axis, "data") if split else P()
        return jax.device_put(a, NamedSharding(mesh, spec))

    with jax.set_mesh(mesh):
        if isinstance(arrays[0], dict):
            arrays = (jax.device_put(arrays[0], NamedSharding(mesh, P())), *arrays[1:])
            return traced(function, arrays[0], *map(laid_out, arrays[1:]))
        return traced(function, *map(laid_out, arrays))


def test_explicit_axes_are_borne_or_named_in_the_docs(everything):
    failed = set()
    for name, (function, *arrays) in everything.items():
        if name in ("importance", "annealed"):
            continue
        try:
            explicit(name, function, arrays)
        except Exception as error:
            failed.add(name)
            print(name, type(error).__name__, str(error)[:200])
    assert failed <= BY_ROWS


def test_compiled_formulas_send_nothing_and_make_no_nan():
    for name, (function, *arrays) in pieces.PIECES.items():
        arrays = jax.device_put(arrays)
        compiled = jax.jit(function)
        compiled(*arrays)
        with jax.debug_nans(True), jax.transfer_guard("disallow"):
            jax.block_until_ready(jax.jit(function)(*arrays)), name


def test_a_doubly_reparameterised_gradient_is_the_same_forwards():
    loss, params, x = losses()["iwae twice"]
    along = jax.tree.map(jnp.ones_like, params)
    gradient = jax.grad(loss)(params, x)
    backward = sum(jnp.sum(g) for g in jax.tree.leaves(gradient))
    forward = jax.jvp(partial(loss, x=x), (params,), (along,))[1]
    np.testing.assert_allclose(forward, backward, rtol=1e-4)
