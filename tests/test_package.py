"""What importing the package costs and gives."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import aejax
from aejax import release

README = Path(__file__).parent.parent / "README.md"


def test_importing_stays_light():
    code = (
        "import sys, aejax; heavy = {'tensorflow', 'tensorflow_datasets', 'matplotlib', 'sklearn',"
        " 'tyro', 'tqdm'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_names_a_release_that_is_wrong_on_cpu_once():
    code = (
        "import jax; jax.__version__ = '0.10.2'; import aejax, aejax.bounds;"
        "from jax._src import xla_bridge; assert not xla_bridge.backends_are_initialized()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.count("RuntimeWarning: jax 0.10.2 computes wrong numbers on CPU") == 1
    assert "pip install 'jax!=0.10.2'" in done.stderr


@pytest.mark.parametrize("platforms", [None, "", "cpu", "cpu,cuda"])
def test_that_release_is_named_where_it_may_compute_on_cpu(monkeypatch, platforms):
    monkeypatch.setattr(release.jax, "__version__", "0.10.2")
    monkeypatch.setattr(release.jax, "config", SimpleNamespace(jax_platforms=platforms))
    with pytest.warns(RuntimeWarning, match="pip install 'jax!=0.10.2'"):
        release.warn_of_wrong_release()


@pytest.mark.parametrize(("version", "platforms"), [("0.10.2", "cuda"), ("0.12.0", "cpu")])
def test_other_platforms_and_releases_pass_in_silence(monkeypatch, version, platforms):
    monkeypatch.setattr(release.jax, "__version__", version)
    monkeypatch.setattr(release.jax, "config", SimpleNamespace(jax_platforms=platforms))
    release.warn_of_wrong_release()


def test_every_public_name_is_there():
    for name in aejax.__all__:
        assert getattr(aejax, name) is not None
    assert callable(aejax.run)


def test_importing_submodules_does_not_hide_the_function_run():
    importlib.import_module("aejax.runs.run")
    assert callable(aejax.run)


def test_the_readmes_examples_run():
    examples = re.findall(r"```python\n(import jax\n.*?)```", README.read_text(), re.DOTALL)
    names = {}
    for example in examples:
        exec(compile(example, str(README), "exec"), names)
    assert names["losses"][-1] < 0.7 * names["losses"][0]
    x = names["jnp"].zeros((2, 28, 28, 1))
    params = names["vae"].init(names["jax"].random.key(0), {"x": x})["params"]
    loss, _ = names["loss_fn"](params, {}, {"x": x}, names["jax"].random.key(1), 0)
    assert loss > 0


def test_flops_are_counted_as_products():
    import jax
    import jax.numpy as jnp

    from aejax.flops import matmul_flops

    a, b = jnp.zeros((3, 4)), jnp.zeros((4, 5))
    assert matmul_flops(lambda a, b: jax.jit(jnp.matmul)(a, b) + 1, a, b) == 2 * 3 * 4 * 5
    x, kernel = jnp.zeros((2, 8, 8, 3)), jnp.zeros((3, 3, 3, 6))

    def convolution(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    assert matmul_flops(convolution, x, kernel) == 2 * (2 * 6 * 6 * 6) * (3 * 3 * 3)
