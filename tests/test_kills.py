"""A run that is killed at any moment, and goes on, ends as if nothing had happened.

AEJAX_KILLS=20 pytest -m slow tests/test_kills.py kills as often.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import chex
import pytest

import aejax

SCRIPT = Path(__file__).parent.parent / "experiments" / "vae.py"
FLAGS = ["--hidden", "32", "--epochs", "25", "--batch-size", "100", "--checkpoint-every", "1"]
KILLS = int(os.environ.get("AEJAX_KILLS", "3"))


def start(workdir, *flags):
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(SCRIPT), *FLAGS, "--workdir", workdir, *flags]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def resume_flags(workdir):
    return ["--resume"] if Path(workdir, "config.json").exists() else []


def metrics(workdir):
    lines = [json.loads(line) for line in Path(workdir, "metrics.jsonl").read_text().splitlines()]
    timing = ("seconds", "images_per_second")
    return [{k: v for k, v in line.items() if k not in timing} for line in lines]


@pytest.mark.slow
def test_a_killed_run_ends_bitwise_as_if_it_had_not_been():
    whole = start("whole")
    _, errors = whole.communicate()
    assert whole.returncode == 0, errors
    rng = random.Random(0)
    begun = time.monotonic()
    kills = 0
    while kills < KILLS and time.monotonic() - begun < 60 * KILLS:
        process = start("killed", *resume_flags("killed"))
        try:
            process.wait(rng.uniform(1.0, 9.0))
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        _, errors = process.communicate()
        assert process.returncode in (0, -9), errors
        if process.returncode == 0 and kills < KILLS:  # it was faster: once more from the start
            shutil.rmtree("killed")
    last = start("killed", *resume_flags("killed"))
    _, errors = last.communicate()
    assert last.returncode == 0, errors
    expected, got = aejax.load_run("whole"), aejax.load_run("killed")
    chex.assert_trees_all_equal(got.state.params, expected.state.params)
    chex.assert_trees_all_equal(got.state.opt_state, expected.state.opt_state)
    assert int(got.state.step) == int(expected.state.step)
    assert metrics("killed") == metrics("whole")
    print(f"{kills} kills survived")
