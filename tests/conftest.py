"""Strict settings for every test: eight CPU devices, no silent broadcasting, no key used twice."""

import gc
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

# Tracing makes many objects and few cycles: looking for these as often as usual takes a tenth.
gc.set_threshold(100_000, 20, 100)

# Tests compile far more than they compute: without LLVM's costly passes they take a quarter. Where
# XLA has a choice (not from 0.12 on), fusions compile twice as fast without MLIR, and in one part.
_QUICK = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
)
if version("jaxlib").startswith("0.10."):  # others end at a flag that they do not know
    _QUICK += ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1")
_DEVICES = "--xla_force_host_platform_device_count=8"
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), _DEVICES, *_QUICK])
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"  # in programs that nobody reads
# Large buffers go back to the system when they are freed: read as a process begins, and so by the
# workers and the scripts.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**20))
os.environ.setdefault("MALLOC_ARENA_MAX", "2")

# TFDS reads its directory once, when it is first imported, which a test module may do.
# The workers of pytest-xdist inherit what this sets: what was given has a name of its own.
_GIVEN = os.environ.setdefault("AEJAX_TESTS_TFDS", os.environ.get("TFDS_DATA_DIR", ""))
_SESSION = tempfile.TemporaryDirectory(prefix="aejax-tests-")
# What is prepared is shared: whoever is first holds a lock, and the others wait for it.
_SHARED = Path(os.environ.setdefault("AEJAX_TESTS_DATA", _SESSION.name))
os.environ["TFDS_DATA_DIR"] = str(_SHARED / "tfds")
os.environ["AEJAX_CACHE_DIR"] = str(_SHARED / "cache")
# Runs, their resumptions and the scripts compile the same programs: once a worker is enough.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(_SESSION.name) / "compiled")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import numpy as np
import pytest

from aejax.data.dataset import Dataset
from aejax.data.load import load_dataset

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


def pytest_xdist_auto_num_workers(config):
    """A worker a core, up to eight; a single file is sooner done in this process."""
    named = {arg.split("::")[0] for arg in config.args}
    if len(named) == 1 and named.pop().endswith(".py"):
        config.option.dist = "no"
        return 0
    return min(os.cpu_count() or 1, 8)


@pytest.fixture(autouse=True)
def own_directory(monkeypatch, tmp_path):
    """No test reads or writes the user's working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def own_programs():
    """No test file keeps the compiled programs of another in memory."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def fashion_mnist_dir():
    """A TFDS data directory with the real Fashion-MNIST, or a skip."""
    directory = _GIVEN_DATA_DIR
    if directory is None or not (directory / "fashion_mnist").is_dir():
        pytest.skip("needs Fashion-MNIST: set TFDS_DATA_DIR to a data directory that has it")
    return str(directory)


_GIVEN_DATA_DIR = Path(_GIVEN).resolve() if _GIVEN else None


@pytest.fixture
def images():
    """37 random 8 x 8 grey images of 3 classes."""
    rng = np.random.default_rng(0)
    return Dataset(
        {
            "x": rng.integers(0, 256, (37, 8, 8, 1), dtype=np.uint8),
            "label": (np.arange(37) % 3).astype(np.int32),
        },
        {"label": ("a", "b", "c")},
        "random",
    )


@pytest.fixture(scope="session")
def digit_classifier():
    """What says which digit an image looks like, trained for an epoch on 1,000."""
    from aejax.judging.classifier import train_classifier

    return train_classifier(load_dataset("mnist5k", "train").first(1000), epochs=1)


@pytest.fixture
def shared_classifier(monkeypatch, digit_classifier):
    """Evaluations of runs on digits train no classifier of their own."""
    for module in ("runs.measurements", "experiments.conv_autoencoder"):
        monkeypatch.setattr(f"aejax.{module}.train_classifier", lambda data: digit_classifier)


@pytest.fixture
def few_images(monkeypatch):
    """Runs train on 512 images and are tested on 256."""
    counts = {"train": 512, "test": 256}

    def few(name, split, data_dir=None):
        return load_dataset(name, split, data_dir).first(counts[split])

    monkeypatch.setattr("aejax.runs.splits.load_dataset", few)


@pytest.fixture
def start():
    """Starts a script of experiments/ as a person does: (name, *flags) -> the finished process.

    On one device, and compiled as quickly as the tests are.
    """

    def start_script(name, *flags):
        return subprocess.run(
            [sys.executable, str(_EXPERIMENTS / name), *flags],
            env=os.environ | {"XLA_FLAGS": " ".join(_QUICK)},
            capture_output=True,
            text=True,
            check=False,
        )

    return start_script


_EXPERIMENTS = Path(__file__).parent.parent / "experiments"
