"""Every recipe's step lowers for CUDA and TPU, and compiles for a TPU that is not there."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import export

from aejax.runs.opening import initial_state
from aejax.runs.recipe import build_recipe

RECIPES = {
    "autoencoder": {},
    "vae": {},
    "iwae": {},
    "lesson_vae": {},
    "kvfrans_vae": {},
    "conditional_vae": {},
    "sparse_autoencoder": {},
    "sequence_autoencoder": {},
    "adversarial": {},
    "conv_autoencoder": {},
    "denoising": {},
    "super_resolution": {},
}
CONVOLUTIONS = {"kvfrans_vae", "conv_autoencoder", "denoising", "super_resolution"}


def step_of(name, **flags):
    """A recipe's step, and the shapes of its state and batch of 64."""
    config = importlib.import_module(f"aejax.experiments.{name}").Config(batch_size=64, **flags)
    spec = {
        "x": jax.ShapeDtypeStruct((28, 28, 1), np.float32),
        "label": jax.ShapeDtypeStruct((), np.int32),
    }
    recipe = build_recipe(config, spec, 4000)
    state = jax.eval_shape(lambda: initial_state(config, recipe, spec))
    batch = {k: jax.ShapeDtypeStruct((64, *v.shape), v.dtype) for k, v in spec.items()}
    return recipe.train_step, state, batch


# A dense one, a recurrent one, one of phases and both kinds of convolution; the others are slow.
QUICK = {"vae", "sequence_autoencoder", "adversarial", "kvfrans_vae", "super_resolution"}


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in RECIPES]
)
def test_a_recipe_lowers_for_other_platforms_with_their_own_convolutions(name):
    step, state, batch = step_of(name, **RECIPES[name])
    for platform in ("cuda", "tpu"):
        text = export.export(jax.jit(step), platforms=[platform])(state, batch).mlir_module()
        assert ("stablehlo.convolution" in text) == (name in CONVOLUTIONS), platform


COMPILE = """
import json, re, sys
import jax, numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
sys.path.insert(0, {tests!r})
from test_lowering import step_of

devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices
mesh = Mesh(np.array(devices).ravel(), ("data",))

def on(tree, *axes):
    sharding = NamedSharding(mesh, PartitionSpec(*axes))
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), tree)

found = {{}}
for name in {names!r}:
    step, state, batch = step_of(name)
    jitted = jax.jit(step, donate_argnums=0)
    text = jitted.lower(on(state), on(batch, "data")).compile().as_text()
    found[name] = {{
        kind: len(re.findall(rf" {{kind}}(?:-start)?\\(", text))
        for kind in ("all-reduce", "all-gather", "all-to-all")
    }}
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the extra tpu")
def test_a_tpu_averages_gradients_and_gathers_nothing():
    """TPU's own compiler, for a v5e 2x2: an all-reduce of gradients, no gather of batches."""
    program = COMPILE.format(tests=os.path.dirname(__file__), names=list(RECIPES))
    absent = {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | absent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name, counts in json.loads(done.stdout.splitlines()[-1]).items():
        # adversarial.py takes three gradients a step, one after the other.
        assert 1 <= counts["all-reduce"] <= (3 if name == "adversarial" else 2), (name, counts)
        assert counts["all-gather"] == counts["all-to-all"] == 0, (name, counts)
