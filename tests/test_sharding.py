"""Kernels split over a second axis of devices train what one device does."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from aejax import UsageError, likelihoods, models, nets, objectives
from aejax.data.dataset import Dataset
from aejax.experiments import vae
from aejax.runs.config import check_config
from aejax.runs.opening import load_run
from aejax.training.loop import make_source, train
from aejax.training.sharding import device_mesh, split_kernels
from aejax.training.state import TrainState
from aejax.training.step import make_train_step

OPTIMIZER = optax.adam(1e-3)
MODEL = models.vae(*nets.mlp_pair((4, 4, 1), (256,)), 2, likelihoods.bernoulli())
LOSS = objectives.make_loss(MODEL, objectives.Elbo())


def trained(mesh, stream=False):
    """The state after 20 steps of a VAE with a layer of 256 units."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (160, 4, 4, 1), dtype=np.uint8)
    data = Dataset({"x": pixels, "label": np.zeros(160, np.int32)})
    params = MODEL.init(jax.random.key(0), {"x": jnp.zeros((1, 4, 4, 1))})["params"]
    state = TrainState.create(params, OPTIMIZER, jax.random.key(7), ema=True)
    step = make_train_step(LOSS, OPTIMIZER)
    source = make_source(data, mesh, stream=stream)
    *_, last = train(state, step, source, epochs=2, batch_size=16, mesh=mesh)
    assert int(last.state.step) == 20
    return last.state


@pytest.mark.parametrize(
    ("sizes", "stream"),
    [
        ((2, 4), True),
        *(pytest.param(s, False, marks=pytest.mark.slow) for s in ((4, 2), (1, 8))),
    ],
)
def test_wide_layers_over_devices_are_those_of_one(sizes, stream):
    one, many = trained(device_mesh(1)), trained(device_mesh(*sizes), stream)
    chex.assert_trees_all_close(many.params, one.params, rtol=2e-4, atol=2e-6)
    for tree in (many.params, many.opt_state[0].mu, many.ema):
        kernel = tree["encoder"]["Dense_0"]["kernel"]
        assert kernel.sharding.spec == P(None, "model")
        assert kernel.addressable_shards[0].data.shape == (16, 256 // sizes[1])
        assert tree["mean"]["kernel"].sharding.is_fully_replicated


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((16, 256), P(None, "model")),
        ((3, 3, 16, 128), P(None, None, None, "model")),
        ((256,), P()),
        ((16, 64), P()),
        ((16, 255), P()),
        ((), P()),
    ],
)
def test_what_is_split(shape, spec):
    assert split_kernels(jnp.zeros(shape), device_mesh(4, 2)).spec == spec
    assert split_kernels(jnp.zeros(shape), device_mesh(8)).spec == P()


@pytest.mark.slow
def test_a_run_goes_on_on_other_devices(tmp_path):
    def run(name, *flags):
        words = ("--hidden", "128", "--batch-size", "400", "--workdir", str(tmp_path / name))
        vae.main(vae.Config, [*words, *flags])
        return load_run(tmp_path / name)

    whole = run("whole", "--epochs", "2", "--devices", "1")
    run("parts", "--epochs", "1", "--mesh", "data=2,model=4")
    parts = run("parts", "--epochs", "2", "--mesh", "data=4", "--resume", "--data", "stream")
    chex.assert_trees_all_close(parts.state.params, whole.state.params, rtol=1e-3, atol=1e-5)
    for name, value in whole.metrics.items():
        assert parts.metrics[name] == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mesh": "4x2"}, "--mesh 4x2 is not data=N,model=M"),
        ({"mesh": "data=0"}, "--mesh data=0 is not data=N,model=M"),
        ({"mesh": ""}, "is not data=N,model=M"),
        ({"mesh": "data=2", "devices": 2}, "leave one out"),
        ({"devices": 0}, "--devices 0 is not positive"),
        ({"process_id": 0}, "are for a --coordinator"),
        ({"coordinator": "auto", "num_processes": 2}, "are for a --coordinator host:port"),
        ({"coordinator": "here"}, "--coordinator here is not host:port, nor auto"),
        ({"coordinator": "h:1"}, "needs --process-id and --num-processes"),
        (
            {"coordinator": "h:1", "process_id": 2, "num_processes": 2},
            "--process-id 2 is not one of 0 to --num-processes 2 - 1",
        ),
    ],
)
def test_flags_that_make_no_sense_are_named(fields, message):
    with pytest.raises(UsageError, match=message):
        check_config(vae.Config(**fields))


def test_a_mesh_of_more_devices_than_there_are(capsys):
    with pytest.raises(SystemExit, match="2"):
        vae.main(vae.Config, ["--mesh", "data=4,model=4"])
    assert "--mesh data=4,model=4 is more than the 8 devices at hand" in capsys.readouterr().err
