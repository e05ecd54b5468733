"""Penalties against the explicit Jacobian; the encoders and the script that use them."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aejax
from aejax import models, nets, penalties
from aejax.evaluation import contraction
from aejax.experiments import sparse_autoencoder
from aejax.likelihoods import bernoulli
from aejax.nets.sparse import KSparseEncoder, SigmoidEncoder
from aejax.objectives import Objective, Penalised, make_loss


def explicit_norms(encode, x):
    jacobians = jax.vmap(jax.jacobian(lambda row: encode(row[None])[0]))(x)
    return np.sum(np.asarray(jacobians).reshape(len(x), -1) ** 2, axis=-1)


def test_one_layers_contraction_is_its_jacobians_norm():
    x = jax.random.normal(jax.random.key(0), (4, 3, 2, 1))
    net = SigmoidEncoder(5)
    variables = net.init(jax.random.key(1), x)
    code = net.apply(variables, x)
    found = penalties.sigmoid_contraction(code, variables["params"]["Dense_0"]["kernel"])
    np.testing.assert_allclose(
        found, explicit_norms(lambda x: net.apply(variables, x), x), rtol=1e-5
    )


def test_hutchinsons_estimate_is_unbiased():
    x = jax.random.normal(jax.random.key(0), (3, 4, 4, 1))
    net = nets.MLPEncoder((8, 5))
    variables = net.init(jax.random.key(1), x)

    def encode(x):
        return net.apply(variables, x)

    keys = jax.random.split(jax.random.key(2), 4000)
    draws = np.asarray(jax.vmap(lambda key: penalties.contraction(encode, x, key))(keys))
    errors = draws.std(axis=0) / np.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(axis=0) - explicit_norms(encode, x)) < 4 * errors)


def test_activity_is_the_sum_of_absolute_values():
    np.testing.assert_allclose(penalties.activity(jnp.array([[1.0, -2.0], [0.0, 0.5]])), [3, 0.5])


def test_k_units_are_kept_and_they_are_the_largest():
    x = jax.random.normal(jax.random.key(0), (6, 4, 4, 1))
    net = KSparseEncoder(10, 3)
    variables = net.init(jax.random.key(1), x)
    code = np.asarray(net.apply(variables, x))
    units = np.asarray(KSparseEncoder(10, 10).apply(variables, x))
    for row, whole in zip(code, units, strict=True):
        np.testing.assert_array_equal(np.flatnonzero(row), np.sort(np.argsort(whole)[-3:]))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_of_equal_units_just_k_are_kept_and_carry_the_gradient(dtype):
    x = jnp.ones((3, 2, 2, 1), dtype)
    net = KSparseEncoder(10, 4)
    kernel = jnp.asarray([[1, 2, 2, 2, 2, 2, 2, 0, 3, 1]] * 4, dtype)
    variables = {"params": {"Dense_0": {"kernel": kernel, "bias": jnp.zeros(10, dtype)}}}
    code, pull = jax.vjp(lambda v: net.apply(v, x), variables)
    assert code.dtype == dtype
    kept = np.asarray(code[0] != 0)
    np.testing.assert_array_equal(np.sort(code[0])[-4:], [8, 8, 8, 12])
    assert kept.sum() == 4
    (gradient,) = pull(jnp.ones_like(code))
    # Each of the three images adds 1 to the bias's gradient of a unit that it keeps.
    np.testing.assert_array_equal(gradient["params"]["Dense_0"]["bias"], 3 * kept)


SPEC = {"x": jax.ShapeDtypeStruct((28, 28, 1), jnp.float32)}


class Two(Objective):
    def terms(self, model, batch, key, step):
        return {"loss": jnp.full(len(batch["x"]), 2.0)}


def test_a_penalty_is_weighed_and_reported():
    model = models.autoencoder(nets.MLPEncoder((2,)), nets.MLPDecoder((), (1, 1, 1)), bernoulli())
    penalised = Penalised(
        objective=Two(), penalty=lambda model, batch, key: batch["x"].sum((1, 2, 3)), weight=0.5
    )
    loss_fn = make_loss(model, penalised)
    batch = {"x": jnp.arange(3.0).reshape(3, 1, 1, 1), "mask": jnp.array([True, True, False])}
    loss, (metrics, _) = loss_fn({}, {}, batch, jax.random.key(0), 0)
    assert float(metrics["penalty"]) == 0.5
    assert float(loss) == float(metrics["loss"]) == 2.25


@pytest.mark.parametrize(("kind", "parameters"), [("simple", 50_992), ("deep", 222_384)])
def test_keras_parameters(kind, parameters):
    model = sparse_autoencoder.Config(kind=kind).model(SPEC)
    params = jax.eval_shape(model.init, jax.random.key(0), {"x": jnp.zeros((1, 28, 28, 1))})
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters


@pytest.mark.parametrize(
    "kind",
    [
        "l1",
        *(pytest.param(k, marks=pytest.mark.slow) for k in ("k_sparse", "contractive")),
        pytest.param("deep_contractive", marks=pytest.mark.slow),
    ],
)
def test_every_kind_trains(kind, tmp_path):
    run = aejax.run(
        sparse_autoencoder.Config(kind=kind, epochs=1, devices=1, workdir=str(tmp_path / "r"))
    )
    assert ("penalty" in run.metrics) == (kind != "k_sparse")
    names = {path.stem for path in (tmp_path / "r" / "figures").iterdir()}
    assert names == {"activity", "curves", "reconstructions", "tsne", "units"}


def test_the_jacobians_norm_is_that_of_the_explicit_jacobian():
    x = jax.random.normal(jax.random.key(0), (5, 3, 2, 1))
    net = nets.MLPEncoder((8, 4))
    variables = net.init(jax.random.key(1), x)
    encode = lambda x: net.apply(variables, x)  # noqa: E731
    found = contraction.jacobian_norms(encode, x)
    np.testing.assert_allclose(found**2, explicit_norms(encode, x), rtol=1e-5)


def test_noise_moves_a_linear_code_by_its_jacobian_whatever_its_scale():
    x = jax.random.normal(jax.random.key(0), (4000, 4, 1, 1))
    kernel = jax.random.normal(jax.random.key(1), (4, 3))

    def moved(scale):
        encode = lambda x: scale * x.reshape(len(x), -1) @ kernel  # noqa: E731
        return float(contraction.moved_by_noise(encode, x, jax.random.key(2), 0.3))

    # x has unit covariance, so codes and what noise adds have covariances that are proportional.
    assert moved(1.0) == pytest.approx(0.3, rel=0.03)
    assert moved(1e-3) == pytest.approx(moved(1.0), rel=1e-4)


def test_the_tied_decoder_is_the_encoders_transpose():
    config = sparse_autoencoder.Config(kind="contractive", contraction=2.0)
    spec = {"x": jax.ShapeDtypeStruct((4, 3, 1), jnp.float32)}
    model = config.model(spec)
    x = jax.random.uniform(jax.random.key(1), (5, 4, 3, 1))
    variables = model.init(jax.random.key(0), {"x": x})
    params = variables["params"]
    kernel = params["encoder"]["Dense_0"]["kernel"]
    assert jax.tree.map(jnp.shape, params["decoder"]) == {"bias": (12,)}
    params["decoder"]["bias"] = jnp.arange(12.0)
    code = jax.nn.sigmoid(x.reshape(5, 12) @ kernel)
    expected = jax.nn.sigmoid(code @ kernel.T + jnp.arange(12.0)[None]).reshape(x.shape)
    np.testing.assert_allclose(model.posterior(variables, {"x": x}).mean, code, rtol=1e-5)
    np.testing.assert_allclose(model.decode(variables, code), expected, rtol=1e-5)
    drawn = model.draw(variables, jax.random.key(2), jnp.tile(code[:1], (2000, 1)))
    np.testing.assert_allclose(drawn.mean(axis=0), expected[0], atol=0.06)
    # The loss of the experiment, its charge by the explicit Jacobian.
    loss_fn = make_loss(model, config.criterion(spec))
    _, (metrics, _) = loss_fn(params, {}, {"x": x}, jax.random.key(3), jnp.zeros(()))
    restored = -np.sum(x * np.log(expected) + (1 - x) * np.log1p(-expected), axis=(1, 2, 3))
    norms = explicit_norms(lambda x: model.posterior(variables, {"x": x}).mean, x)
    np.testing.assert_allclose(metrics["reconstruction"], restored.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], (restored + 2 * norms).mean(), rtol=1e-4)


def test_a_deep_encoders_penalty_is_hutchinsons():
    config = sparse_autoencoder.Config(kind="deep_contractive", latent_dim=3)
    spec = {"x": jax.ShapeDtypeStruct((3, 2, 1), jnp.float32)}
    model, penalty = config.model(spec), config.criterion(spec).penalty
    x = jax.random.uniform(jax.random.key(1), (2, 3, 2, 1))
    variables = model.init(jax.random.key(0), {"x": x})
    bound = model.bind(variables)
    keys = jax.random.split(jax.random.key(2), 4000)
    draws = np.asarray(jax.vmap(lambda key: penalty(bound, {"x": x}, key))(keys))
    errors = draws.std(axis=0) / np.sqrt(len(draws))
    expected = explicit_norms(lambda x: model.posterior(variables, {"x": x}).mean, x)
    assert np.all(np.abs(draws.mean(axis=0) - expected) < 4.5 * errors)


@pytest.mark.slow
def test_contraction_contracts_and_costs_little_at_its_default(tmp_path):
    found = {}
    for weight in (0.1, 1.0):
        workdir = str(tmp_path / str(weight))
        run = aejax.run(
            sparse_autoencoder.Config(kind="contractive", contraction=weight, workdir=workdir)
        )
        found[weight] = json.loads((run.workdir / "results.json").read_text()) | run.metrics
    assert found[0.1]["reconstruction"] < 120  # the mean image: 207
    for name in ("jacobian_norm", "code_moved_by_noise"):
        assert found[1.0][name] < 0.9 * found[0.1][name]


@pytest.mark.slow
def test_the_curve_of_a_sweep(start):
    sweep = ["--kind", "contractive", "--sweep", "contraction=0.1:10:log:2", "--workdir", "p"]
    done = start("sparse_autoencoder.py", *sweep, "--population", "seeds=2", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    done = start("contraction.py", "--run", "p", "--workdir", "out")
    assert done.returncode == 0, done.stderr
    assert Path("out/contraction.png").exists()
    found = json.loads(Path("out/table.json").read_text())
    assert found["seeds"] == [0, 1]
    assert list(found["table"]) == ["weight 0.1", "weight 10"]
    done = start("contraction.py", "--run", "out")
    assert done.returncode == 2
    assert "--run out holds no population" in done.stderr


@pytest.mark.parametrize("k", [0, 33])
def test_a_k_that_does_not_fit_is_one_line(k):
    with pytest.raises(ValueError, match=f"--k {k} is not within 1 and the code's 32 units"):
        sparse_autoencoder.Config(kind="k_sparse", k=k).check()
