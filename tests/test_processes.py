"""Real processes on this machine: together they are one, and none is lost without a word."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import chex
import pytest

from aejax.experiments import vae
from aejax.runs.opening import load_run

SCRIPT = Path(vae.__file__).resolve()
FLAGS = ("--hidden", "128", "--batch-size", "400", "--checkpoint-every", "1")
LIMIT_S = 300  # a busy machine starts processes slowly


def environment(devices=1):
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def start(count, workdir, *flags, devices=1, each=None):
    """The processes of one run; `each` has further flags of each."""
    together = ("--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", str(count))

    def of_one(i):
        return ("--process-id", str(i), "--workdir", str(workdir), *(each[i] if each else ()))

    return [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), *FLAGS, *together, *of_one(i), *flags],
            env=environment(devices),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(count)
    ]


def ends(processes):
    """Their statuses and what they said."""
    try:
        outputs = [process.communicate(timeout=LIMIT_S)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], outputs


def wait_for_lines(workdir, count, processes):
    path = workdir / "metrics.jsonl"
    begun = time.monotonic()
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert time.monotonic() < begun + LIMIT_S
        assert all(process.poll() is None for process in processes), ends(processes)
        time.sleep(0.02)


def alone(workdir, *flags):
    vae.main(vae.Config, [*FLAGS, "--devices", "1", "--workdir", str(workdir), *flags])
    return load_run(workdir)


def assert_same(found, expected):
    chex.assert_trees_all_close(found.state.params, expected.state.params, rtol=1e-3, atol=1e-5)
    assert int(found.state.step) == int(expected.state.step)
    for name, value in expected.metrics.items():
        assert found.metrics[name] == pytest.approx(value, rel=1e-4)


def numbered(workdir):
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [(record["epoch"], record["split"]) for record in records]


def test_two_train_what_one_does(tmp_path):
    whole = alone(tmp_path / "whole", "--epochs", "3")
    statuses, outputs = ends(start(2, tmp_path / "two", "--epochs", "3"))
    assert statuses == [0, 0], outputs
    assert_same(load_run(tmp_path / "two"), whole)
    assert (tmp_path / "two" / "figures" / "manifold.png").stat().st_size
    assert numbered(tmp_path / "two") == [(e, s) for e in (1, 2, 3) for s in ("train", "test")]


@pytest.mark.slow
def test_the_death_of_one_loses_nothing(tmp_path):
    """With split layers, in the middle of it all."""
    flags = ("--epochs", "400", "--mesh", "data=2,model=2")
    processes = start(2, tmp_path / "lost", *flags, devices=2)
    wait_for_lines(tmp_path / "lost", 4, processes)
    processes[1].kill()
    statuses, outputs = ends(processes)
    assert statuses == [3, -9], outputs
    assert "another process of this run is gone: the last checkpoint, step " in outputs[0]
    assert "start all processes again with --resume" in outputs[0]
    lost = load_run(tmp_path / "lost")
    done = int(lost.state.step) // 10
    assert done >= 1
    assert_same(
        alone(tmp_path / "lost", "--epochs", str(done + 1), "--resume"),
        alone(tmp_path / "whole", "--epochs", str(done + 1)),
    )


@pytest.mark.slow
def test_four_train_what_one_does_and_stop_as_one(tmp_path):
    whole = alone(tmp_path / "whole", "--epochs", "3")
    statuses, outputs = ends(start(4, tmp_path / "four", "--epochs", "3"))
    assert statuses == [0] * 4, outputs
    assert_same(load_run(tmp_path / "four"), whole)

    processes = start(4, tmp_path / "stopped", "--epochs", "400")
    wait_for_lines(tmp_path / "stopped", 2, processes)
    processes[2].send_signal(signal.SIGTERM)
    statuses, outputs = ends(processes)
    assert statuses == [143] * 4, outputs
    done = int(load_run(tmp_path / "stopped").state.step) // 10
    flags = ("--epochs", str(done + 1), "--resume")
    statuses, outputs = ends(start(2, tmp_path / "stopped", *flags))
    assert statuses == [0, 0], outputs
    assert_same(load_run(tmp_path / "stopped"), alone(tmp_path / "one", *flags[:2]))


@pytest.mark.slow
def test_what_fails_in_one_process_alone_ends_all(tmp_path):
    processes = start(
        2, tmp_path / "r", "--epochs", "2", each=[(), ("--data-dir", "/dev/null/data")]
    )
    statuses, outputs = ends(processes)
    assert statuses == [3, 2], outputs
    assert "another process of this run is gone: no checkpoint was saved yet" in outputs[0]
    assert "vae.py: error: " in outputs[1]


@pytest.mark.slow
def test_the_first_s_death_is_told_by_the_others(tmp_path):
    processes = start(4, tmp_path / "lost", "--epochs", "400")
    wait_for_lines(tmp_path / "lost", 4, processes)
    processes[0].kill()
    statuses, outputs = ends(processes)
    assert statuses[0] == -9
    for status, output in zip(statuses[1:], outputs[1:], strict=True):
        # JAX's own thread, which aborts, may be quicker than ours.
        said = {3: "process of this run is gone: the last checkpoint", -6: "another task died"}
        assert said[status] in output
    load_run(tmp_path / "lost")


SUMMING = """
    import sys

    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    port, process, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    jax.distributed.initialize(f"127.0.0.1:{port}", count, process)

    from aejax.processes.lifeline import lifeline

    with lifeline("127.0.0.1", lambda: "there is no checkpoint"):
        print("summing", flush=True)
        while True:
            multihost_utils.process_allgather(np.int32(process))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("count", "victim"), [(3, 1), (3, 2), (4, 1), (4, 2), (4, 3)])
def test_whichever_dies_all_others_end_with_the_status_that_says_so(tmp_path, count, victim):
    processes = start_program(tmp_path, SUMMING, count)
    for process in processes:
        assert "summing\n" in iter(process.stdout.readline, "")
    processes[victim].kill()
    statuses, outputs = ends(processes)
    assert statuses == [-9 if i == victim else 3 for i in range(count)], outputs
    said = "another process of this run is gone: there is no checkpoint"
    assert all(said in output for i, output in enumerate(outputs) if i != victim), outputs


PROGRAM = """
    import sys

    import jax
    import numpy as np
    from jax.sharding import AxisType, Mesh

    port, process = sys.argv[1], int(sys.argv[2])
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)

    from aejax import UsageError
    from aejax.data.dataset import Dataset
    from aejax.data.stream import Stream
    from aejax.processes.processes import (
        any_process, broadcast, first_alone, is_first, on_this_process, placed, several
    )
    from aejax.training.sharding import device_mesh, replicated, split_over_batch

    assert several() and is_first() == (process == 0)
    assert broadcast(f"I am {process}") == "I am 0"
    assert any_process(process + 4) == 5
    ran = []
    first_alone(lambda: ran.append(process))
    assert ran == ([0] if process == 0 else [])

    def fail():
        raise UsageError("only the first saw it")

    try:
        first_alone(fail)
    except UsageError as error:
        assert str(error) == "only the first saw it"
    else:
        raise AssertionError("no error")

    mesh = device_mesh(4)
    tree = {"key": jax.random.key(3), "x": np.arange(8.0)}
    shardings = {"key": replicated(mesh), "x": split_over_batch(mesh)}
    glob = placed(tree, shardings)
    assert len(glob["x"].addressable_shards) == 2 and glob["x"].shape == (8,)
    own = on_this_process(glob, replicated(mesh))
    assert own["x"].is_fully_addressable
    np.testing.assert_array_equal(own["x"], np.arange(8.0))
    assert jax.random.key_data(own["key"]).tolist() == jax.random.key_data(tree["key"]).tolist()

    class Counted:
        def __init__(self, array):
            self.array, self.read = array, set()
        def __getitem__(self, rows):
            if not np.isscalar(rows):
                self.read |= set(np.ravel(rows).tolist())
            return self.array[rows]
        def __len__(self):
            return 16
        shape, ndim, dtype = (16, 2, 2, 1), 4, np.dtype(np.uint8)

    images = Counted(np.arange(64, dtype=np.uint8).reshape(16, 2, 2, 1))
    data = Dataset({"x": images, "label": np.arange(16, dtype=np.int32)})
    order = np.random.default_rng(0).permutation(16).astype(np.int32).reshape(2, 8)
    # Devices as they come, and those of the processes in turn.
    for turns, columns in ((False, [0, 1, 2, 3]), (True, [0, 1, 4, 5])):
        devices = np.array(jax.devices()).reshape(2, 2)
        devices = (devices.T if turns else devices).reshape(4, 1)
        mesh = Mesh(devices, ("data", "model"), axis_types=(AxisType.Auto,) * 2)
        stream = Stream(data, mesh)
        images.read.clear()
        (segment,) = stream.segments(order, 0, lambda: 1)
        own = [c + (2 if turns else 4) * process for c in columns]
        assert images.read == set(order[:, own].ravel().tolist())
        batch = jax.jit(stream.take)(segment.arrays, 1)
        labels = on_this_process(batch["label"], replicated(mesh))
        np.testing.assert_array_equal(labels, order[1])
    print("as it should be")
"""


def start_program(folder, text, count, devices=1):
    """Processes of a program, each given a port, its number and how many there are."""
    program = folder / "program.py"
    program.write_text(textwrap.dedent(text))
    port = str(free_port())
    return [
        subprocess.Popen(
            [sys.executable, str(program), port, str(i), str(count)],
            env=environment(devices),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(count)
    ]


def test_what_processes_agree_on_and_that_each_reads_its_own_part(tmp_path):
    statuses, outputs = ends(start_program(tmp_path, PROGRAM, 2, devices=2))
    assert statuses == [0, 0], outputs
    assert all("as it should be" in output for output in outputs)
