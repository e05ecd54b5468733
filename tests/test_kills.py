"""A run that is killed at any moment, and goes on, ends as if nothing had happened.

AEJAX_KILLS=20 pytest -m slow tests/test_kills.py kills as often.
"""

import dataclasses
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import pytest

import aejax

SCRIPT = Path(__file__).parent.parent / "experiments" / "vae.py"
KILLS = int(os.environ.get("AEJAX_KILLS", "3"))
EPOCHS = 10 + 3 * KILLS
FLAGS = ["--hidden", "32", "--epochs", str(EPOCHS), "--batch-size", "100", "--ema", "0.9"]


def start(workdir, *flags):
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    words = [*FLAGS, "--checkpoint-every", "1", "--workdir", workdir, *flags]
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def resume_flags(workdir):
    return ["--resume"] if Path(workdir, "config.json").exists() else []


def lines(workdir):
    path = Path(workdir, "metrics.jsonl")
    return path.read_text().splitlines() if path.exists() else []


def metrics(workdir):
    timing = ("seconds", "images_per_second")
    records = [json.loads(line) for line in lines(workdir)]
    return [{k: v for k, v in record.items() if k not in timing} for record in records]


def kill_after(process, workdir, count, seconds):
    """Kills a process so long after the metrics have as many lines."""
    while len(lines(workdir)) < count and process.poll() is None:
        time.sleep(0.01)
    time.sleep(seconds)
    process.kill()
    _, errors = process.communicate()
    assert process.returncode == -9, errors


@pytest.mark.slow
def test_a_killed_run_ends_bitwise_as_if_it_had_not_been():
    whole = start("whole")
    _, errors = whole.communicate()
    assert whole.returncode == 0, errors
    rng = random.Random(0)
    for kill in range(KILLS):
        process = start("killed", *resume_flags("killed"))
        if kill % 5 == 4:  # before the first step
            kill_after(process, "killed", 0, rng.uniform(0, 4))
        else:  # in an epoch, between two, in a checkpoint's write
            more = rng.randint(1, 5)
            kill_after(process, "killed", len(lines("killed")) + more, rng.uniform(0, 0.4))
        assert len(lines("killed")) < 2 * EPOCHS
    last = start("killed", *resume_flags("killed"))
    _, errors = last.communicate()
    assert last.returncode == 0, errors
    expected, got = aejax.load_run("whole"), aejax.load_run("killed")
    got, expected = (
        dataclasses.replace(run.state, key=jax.random.key_data(run.state.key))
        for run in (got, expected)
    )
    chex.assert_trees_all_equal(got, expected)
    assert metrics("killed") == metrics("whole")
