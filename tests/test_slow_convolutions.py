"""A convolution that trains slowly is named, once; the package's own never is."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

from aejax import TrainState, fit, fit_population, models, nets
from aejax.likelihoods import bernoulli
from aejax.nets import layers
from aejax.training import slow_convolutions
from aejax.training.members import stack_states
from aejax.training.slow_convolutions import has_slow_convolution


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch):
    monkeypatch.setattr(slow_convolutions, "_warned", [])


def gradient(net):
    x = jnp.zeros((2, 8, 8, 4))
    params = jax.eval_shape(net.init, jax.random.key(0), x)
    return jax.make_jaxpr(jax.grad(lambda p: jnp.sum(net.apply(p, x) ** 2)))(params).jaxpr


SHAPES = [
    {},
    {"strides": 2},
    {"kernel_dilation": 2},
    {"strides": 2, "kernel_dilation": 2},
    {"precision": "highest"},
]
GROUPED = {"feature_group_count": 2}


@pytest.mark.parametrize("options", [*SHAPES, GROUPED])
def test_of_ours_none_is_slow_not_even_what_falls_back(options):
    assert not has_slow_convolution(gradient(layers.Conv(6, (3, 3), **options)))
    if options is not GROUPED:
        assert not has_slow_convolution(gradient(layers.ConvTranspose(6, (3, 3), **options)))


@pytest.mark.parametrize("options", SHAPES)
def test_flax_s_are_slow_within_whatever_they_stand(options):
    for plain in (nn.Conv(6, (3, 3), **options), nn.ConvTranspose(6, (3, 3), **options)):
        assert has_slow_convolution(gradient(plain))
    deep = nn.Sequential([nn.remat(nn.Conv)(4, (3, 3), **options), nn.Dense(2)])
    loop = jax.make_jaxpr(lambda x: jax.lax.map(lambda x: deep.init(jax.random.key(0), x), x))
    assert has_slow_convolution(loop(jnp.zeros((1, 2, 8, 8, 4))).jaxpr)


def test_flax_s_that_we_have_no_faster_form_of_are_not():
    assert not has_slow_convolution(gradient(nn.Conv(6, (3, 3), **GROUPED)))


def loss_of(net):
    def loss_fn(params, extra, batch, key, step):
        loss = jnp.mean((net.apply(params, batch["x"]) - batch["x"]) ** 2)
        return loss, ({"loss": loss}, extra)

    return loss_fn


def begun(net):
    params = net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    return TrainState.create(params, optax.adam(1e-3), jax.random.key(1))


def train_alone(net, images):
    fit(begun(net), loss_of(net), optax.adam(1e-3), images, epochs=1, batch_size=16)


def train_together(net, images):
    states = stack_states([begun(net), begun(net)])
    member = (loss_of(net), optax.adam(1e-3))
    fit_population(states, lambda _: member, images, hyperparameters=(), epochs=1, batch_size=16)


@pytest.mark.parametrize("train", [train_alone, train_together])
def test_training_says_so_once(images, train):
    with pytest.warns(RuntimeWarning, match="take aejax.nets.layers.Conv") as caught:
        train(nn.Conv(1, (3, 3)), images)
    assert len(caught) == 1
    train(nn.Conv(1, (3, 3)), images)  # a warning would be an error


def test_training_with_ours_says_nothing(images):
    train_alone(layers.Conv(1, (3, 3)), images)


@pytest.mark.parametrize(
    "pair", [nets.conv_pair((8, 8, 1), (4, 8)), nets.pooled_pair((8, 8, 1), (4, 2, 2), dense=False)]
)
def test_no_net_of_ours_is_slow(pair):
    model = models.autoencoder(*pair, bernoulli())
    batch = {"x": jnp.zeros((2, 8, 8, 1))}
    variables = jax.eval_shape(model.init, jax.random.key(0), batch)

    def loss(variables):
        return jnp.sum(model.decode(variables, model.posterior(variables, batch).mean))

    assert not has_slow_convolution(jax.make_jaxpr(jax.grad(loss))(variables).jaxpr)
