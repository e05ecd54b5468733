"""Models: shapes, parameters, gradients, and what draws and examples make of each other."""

import dataclasses
import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_gaussian import LinearGaussian

from aejax import models, objectives
from aejax.latents import DiagonalGaussian, standard_normal
from aejax.likelihoods import bernoulli, bernoulli_log_prob, gaussian_learned
from aejax.models.decoding import log_prob
from aejax.nets import LearnedScale, conv_pair, mlp_pair
from aejax.nets.priors import ClassMixturePrior

PAIRS = {
    "mlp": lambda shape: mlp_pair(shape, (9, 7)),
    "conv": lambda shape: conv_pair(shape, (4, 6)),
}
KINDS = ["autoencoder", "vae"]
STEP = jnp.zeros((), jnp.int32)


@functools.cache
def build(kind, net, shape, latent_dim=2):
    pair = PAIRS[net](shape)
    model = {
        "autoencoder": lambda: models.autoencoder(*pair, bernoulli(), latent_dim),
        "vae": lambda: models.vae(*pair, latent_dim, bernoulli()),
    }[kind]()
    batch = {"x": jnp.asarray(np.random.default_rng(0).uniform(size=(3, *shape)), jnp.float32)}
    return model, jax.jit(model.init)(jax.random.key(0), batch), batch


def size(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("net", "shape"),
    [
        ("mlp", (7, 5, 1)),
        pytest.param("mlp", (1, 1, 3), marks=pytest.mark.slow),
        pytest.param("conv", (8, 12, 3), marks=pytest.mark.slow),
    ],
)
def test_shapes(kind, net, shape):
    model, variables, batch = build(kind, net, shape)

    @jax.jit
    def parts(variables, batch):
        posterior = model.posterior(variables, batch)
        z = posterior.sample(jax.random.key(0))
        draws = jnp.stack([z, 2 * z, 3 * z, z])
        return (
            posterior,
            model.decode(variables, z),
            model.draw(variables, jax.random.key(1), z),
            model.log_likelihood(variables, batch, z),
            model.log_likelihood(variables, batch, draws),
        )

    posterior, mean, drawn, one, several = parts(variables, batch)
    assert isinstance(posterior, DiagonalGaussian if kind == "vae" else models.Point)
    chex.assert_shape(list(posterior), (3, 2))
    chex.assert_shape([mean, drawn], (3, *shape))
    assert jnp.all((mean > 0) & (mean < 1))
    assert set(np.unique(drawn)) <= {0.0, 1.0}
    chex.assert_shape([one, several], [(3,), (4, 3)])
    chex.assert_trees_all_close(several[0], one, rtol=1e-5)
    chex.assert_trees_all_close(several[3], one, rtol=1e-5)
    assert jnp.all(jnp.abs(several[1] - one) > 1e-4)


def test_parameter_counts():
    """Image of 8 x 12 x 3 = 288; hidden 9, 7; latent 2."""
    encoder = (288 * 9 + 9) + (9 * 7 + 7)
    decoder = (2 * 7 + 7) + (7 * 9 + 9) + (9 * 288 + 288)
    head = 7 * 2 + 2
    assert size(build("autoencoder", "mlp", (8, 12, 3))[1]) == encoder + head + decoder
    assert size(build("vae", "mlp", (8, 12, 3))[1]) == encoder + 2 * head + decoder


def test_a_function_that_objectives_would_not_see_is_refused():
    model = models.autoencoder(*PAIRS["mlp"]((4, 4, 1)), bernoulli(), 2)
    with pytest.raises(ValueError, match="decode is not the module's own"):
        dataclasses.replace(model, decode=lambda variables, z, batch=None: z)
    batch = {"x": jnp.zeros((1, 4, 4, 1))}
    own = dataclasses.replace(model, decode=lambda variables, z, batch=None: z, module=None)
    bound = own.bind(own.init(jax.random.key(0), batch))
    np.testing.assert_array_equal(bound.decode(jnp.ones((1, 2))), jnp.ones((1, 2)))
    assert bound.log_likelihood(batch, jnp.ones((1, 2))).shape == (1,)


def test_no_latent_dimension_is_one_line():
    for make in (
        lambda: models.vae(*PAIRS["mlp"]((4, 4, 1)), 0, bernoulli()),
        lambda: models.autoencoder(*PAIRS["mlp"]((4, 4, 1)), bernoulli(), 0),
    ):
        with pytest.raises(ValueError, match="--latent-dim 0 is not positive"):
            make()


def test_the_posterior_of_a_row_depends_on_that_row_alone():
    model, variables, batch = build("vae", "conv", (8, 8, 1))
    encode = jax.jit(lambda x: model.posterior(variables, {"x": x}))
    before, after = encode(batch["x"]), encode(batch["x"].at[1].set(0.0))
    chex.assert_trees_all_equal(before.mean[::2], after.mean[::2])
    assert jnp.any(before.mean[1] != after.mean[1])


@pytest.mark.parametrize(
    ("kind", "net"),
    [
        ("vae", "conv"),
        ("autoencoder", "mlp"),
        pytest.param("vae", "mlp", marks=pytest.mark.slow),
        pytest.param("autoencoder", "conv", marks=pytest.mark.slow),
    ],
)
def test_gradients_reach_every_parameter(net, kind):
    model, variables, batch = build(kind, net, (8, 8, 1))
    objective = objectives.Elbo() if kind == "vae" else objectives.Reconstruction()
    gradient = jax.jit(jax.grad(objectives.make_loss(model, objective), has_aux=True))
    grads, _ = gradient(variables["params"], {}, batch, jax.random.key(0), STEP)
    chex.assert_trees_all_equal_shapes(grads, variables["params"])
    chex.assert_tree_all_finite(grads)
    dead = [k for k, g in jax.tree_util.tree_leaves_with_path(grads) if not jnp.any(g)]
    assert not dead


def test_learned_scale_has_one_scalar_more_and_its_gradient():
    encoder, decoder = mlp_pair((4, 4, 1), (6,))
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 4, 4, 1)), jnp.float32)
    batch = {"x": x}
    plain = models.vae(encoder, decoder, 2, bernoulli())
    model = models.vae(encoder, LearnedScale(decoder), 2, gaussian_learned())
    variables, bare = (jax.jit(m.init)(jax.random.key(0), batch) for m in (model, plain))
    params = variables["params"]
    assert size(params) == size(bare) + 1
    assert params["decoder"]["log_sigma"] == 0
    z = model.posterior(variables, batch).sample(jax.random.key(0))
    mean = model.decode(variables, z)
    chex.assert_shape(mean, (3, 4, 4, 1))
    loss_fn = objectives.make_loss(model, objectives.Elbo())
    grads, _ = jax.jit(jax.grad(loss_fn, has_aux=True))(params, {}, batch, jax.random.key(0), STEP)
    # d(-log p)/d log_sigma = number of pixels - the squared error at sigma = 1
    expected = 16 - jnp.mean(jnp.sum((x - mean) ** 2, axis=(1, 2, 3)))
    np.testing.assert_allclose(grads["decoder"]["log_sigma"], expected, rtol=1e-5)


@pytest.fixture
def linear():
    return LinearGaussian(inflation=1.4)


def test_draws_are_decoded_each_with_its_example(linear):
    x, z = linear.data(4), jax.random.normal(jax.random.key(0), (3, 4, 2))
    bound = linear.model.bind(linear.variables)
    got = models.log_joint(bound, {"x": x}, z)
    assert got.shape == (3, 4)
    mean = np.asarray(z) @ linear.w.T + linear.b
    squares = ((np.asarray(x) - mean) / linear.sigma) ** 2 + np.log(2 * np.pi * linear.sigma**2)
    prior = (np.asarray(z) ** 2 + np.log(2 * np.pi)).sum(-1)
    np.testing.assert_allclose(got, -0.5 * (squares.sum(-1) + prior), rtol=1e-4)
    one = models.log_joint(bound, {"x": x}, z[0])
    np.testing.assert_allclose(one, got[0], rtol=1e-6)


def test_a_scalar_among_the_likelihoods_parameters_is_shared(linear):
    x, z = linear.data(4), jax.random.normal(jax.random.key(0), (3, 4, 2))

    def decode(z):
        return linear.decode(linear.params, z), jnp.log(linear.sigma)

    got = log_prob(gaussian_learned(), decode, x, z)
    expected = linear.model.log_likelihood(linear.variables, {"x": x}, z)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_log_weights_are_those_of_their_draws(linear):
    batch, bound = {"x": linear.data(4)}, linear.model.bind(linear.variables)
    got = models.log_weights(bound, batch, jax.random.key(1), 5)
    posterior = linear.encode(linear.params, batch["x"])
    z = posterior.samples(jax.random.key(1), 5)
    expected = models.log_joint(bound, batch, z) - posterior.log_prob(z)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    # The evidence is the mean weight, whatever the posterior: within its error.
    weights = np.exp(models.log_weights(bound, batch, jax.random.key(2), 20_000))
    exact = np.exp(linear.log_marginal(batch["x"]))
    error = np.std(weights, axis=0) / np.sqrt(20_000)
    assert (np.abs(weights.mean(axis=0) - exact) < 4.5 * error).all()


@pytest.mark.parametrize("shape", [(4, 3, 2), (3, 2), (2,), (1, 3, 4, 2)])
def test_the_wrong_axes_are_one_line(linear, shape):
    bound, batch = linear.model.bind(linear.variables), {"x": linear.data(4)}
    with pytest.raises(ValueError, match=r"is not \[4, D\] or \[K, 4, D\] for x \(4, 5\)"):
        bound.log_likelihood(batch, jnp.zeros(shape))


def test_no_samples_is_one_line(linear):
    bound, batch = linear.model.bind(linear.variables), {"x": linear.data(4)}
    with pytest.raises(ValueError, match="0 samples"):
        models.log_weights(bound, batch, jax.random.key(0), 0)


def test_the_log_weights_of_a_flax_vae():
    model, variables, batch = build("vae", "mlp", (8, 8, 1))

    @jax.jit
    def weights_of(variables, key):
        return models.log_weights(model.bind(variables), batch, key, 6)

    weights = weights_of(variables, jax.random.key(1))
    assert weights.shape == (6, 3)
    # By the modules themselves.
    encoder, decoder = PAIRS["mlp"]((8, 8, 1))
    params = variables["params"]
    features = encoder.apply({"params": params["encoder"]}, batch["x"])
    heads = (nn.Dense(2).apply({"params": params[n]}, features) for n in ("mean", "log_sigma"))
    posterior = DiagonalGaussian(*heads)
    z = posterior.samples(jax.random.key(1), 6)
    outputs = decoder.apply({"params": params["decoder"]}, z[2])
    third = bernoulli_log_prob(outputs, batch["x"])
    third += standard_normal((2,)).log_prob(z[2]) - posterior.log_prob(z[2])
    np.testing.assert_allclose(weights[2], third, rtol=1e-5)


# A prior of each class's own, and the one that knows no class.
PRIORS = [ClassMixturePrior(3, 2, 2), pytest.param(None, marks=pytest.mark.slow)]


@pytest.mark.parametrize("prior", PRIORS)
def test_a_conditional_vae_of_several_labels_is_that_of_each(prior):
    model = models.conditional_vae(*PAIRS["mlp"]((4, 4, 1)), 2, 3, bernoulli(), prior)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.uniform(size=(5, 4, 4, 1)), jnp.float32)
    batch = {"x": x, "label": jnp.array([0, 2, 1, 0, 2])}
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    z = jnp.asarray(rng.normal(size=(4, 5, 2)), jnp.float32)

    @jax.jit
    def found(batch, z):
        bound = model.bind(variables)
        return bound.log_likelihood(batch, z), models.log_joint(bound, batch, z)

    together = found(batch, z)
    chex.assert_shape(together, (4, 5))
    for row in range(5):
        own = {key: values[row : row + 1] for key, values in batch.items()}
        alone = [found(own, z[k, row : row + 1]) for k in range(4)]
        for several, one in zip(together, zip(*alone, strict=True), strict=True):
            np.testing.assert_allclose(several[:, row], np.ravel(one), rtol=1e-5)
    other = found(batch | {"label": (batch["label"] + 1) % 3}, z)
    assert jnp.all(jnp.abs(other[0] - together[0]) > 1e-4)


@pytest.mark.parametrize("prior", PRIORS)
def test_without_a_label_a_code_has_the_class_of_the_highest_elbo(prior):
    model = models.conditional_vae(*PAIRS["mlp"]((4, 4, 1)), 2, 3, bernoulli(), prior)
    blank = {"x": jnp.zeros((1, 4, 4, 1)), "label": jnp.zeros(1, jnp.int32)}
    variables = jax.jit(model.init)(jax.random.key(3), blank)
    # As initialised a label hardly matters: this is a model that tells them apart.
    variables = jax.tree.map(lambda leaf: 3 * leaf, variables)
    made_of = model.prior(variables).samples(jax.random.key(0), 40)
    x = jax.jit(model.decode)(variables, made_of)
    codes = jax.jit(model.posterior)(variables, {"x": x}).mean
    chex.assert_shape(codes, (40, 2 + 3))

    @jax.jit
    def elbo_and_mean(batch):
        posterior = model.posterior(variables, batch)
        log_q = jnp.sum(-posterior.log_sigma - 0.5 * jnp.log(2 * jnp.pi), axis=-1)
        joint = models.log_joint(model.bind(variables), batch, posterior.mean)
        return joint - log_q, posterior.mean

    of_each = [elbo_and_mean({"x": x, "label": jnp.full(40, label)}) for label in range(3)]
    elbos, means = zip(*of_each, strict=True)
    best = np.argmax(elbos, axis=0)
    assert len(set(best.tolist())) > 1
    np.testing.assert_array_equal(codes[:, 2:], np.eye(3)[best])
    np.testing.assert_allclose(codes[:, :2], np.asarray(means)[best, np.arange(40)], rtol=1e-5)
    # A code says its class to the decoder.
    labelled = {"x": x, "label": jnp.asarray(best)}
    expected = jax.jit(model.decode)(variables, codes[:, :2], labelled)
    np.testing.assert_allclose(jax.jit(model.decode)(variables, codes), expected, rtol=1e-5)
