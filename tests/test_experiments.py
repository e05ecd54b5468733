"""Every script end to end, small, as a person starts it."""

import importlib.util
import json
import os
from pathlib import Path

import pytest

from aejax.cli.commands import main
from aejax.experiments import vae


@pytest.mark.parametrize(
    ("script", "flags", "figures"),
    [
        pytest.param(
            "vae.py",
            ["--hidden", "32"],
            ["curves", "latent", "manifold", "reconstructions", "samples"],
            marks=pytest.mark.slow,  # others train it
        ),
        ("autoencoder.py", ["--hidden", "32"], ["curves", "latent", "reconstructions"]),
        pytest.param(
            "autoencoder.py",
            ["--net", "conv", "--channels", "4", "--batch-size", "1000"],
            ["curves", "latent", "reconstructions"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_script_trains_and_leaves_its_figures(start, script, flags, figures):
    done = start(script, "--epochs", "1", "--workdir", "r", *flags)
    assert done.returncode == 0, done.stderr
    assert "images/s" in done.stderr
    assert sorted(os.listdir("r/figures")) == [f"{name}.png" for name in figures]
    assert json.loads(Path("r/summary.json").read_text())["test"]["loss"] > 0


@pytest.mark.slow
def test_an_opened_run_is_found_by_its_name():
    import aejax
    from aejax.experiments import autoencoder

    aejax.run(autoencoder.Config(workdir="r", epochs=1, hidden=(8,), batch_size=1000, devices=1))
    opened = aejax.load_run("r")
    assert type(opened.config).__name__ == "Config"
    assert opened.config.name == "autoencoder"
    with pytest.raises(aejax.UsageError, match="has no prior to sample from"):
        opened.sample(None, 3)


@pytest.mark.slow
def test_fashion_mnist_trains_from_its_data_dir(start, fashion_mnist_dir):
    flags = ["--dataset", "fashion_mnist", "--data-dir", fashion_mnist_dir, "--epochs", "1"]
    done = start("vae.py", *flags, "--hidden", "64", "--batch-size", "500", "--workdir", "r")
    assert done.returncode == 0, done.stderr
    assert json.loads(Path("r/summary.json").read_text())["test"]["loss"] < 340


def test_help_reads_well(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(vae.Config, ["--help"])
    assert exit_.value.code == 0
    printed = capsys.readouterr().out
    assert "usage: vae.py [train|evaluate|encode|reconstruct|sample|interpolate]" in printed
    assert "Dimensions of the latent." in printed


def test_a_wrong_flag_is_one_line(start):
    done = start("vae.py", "--latent_dims", "3")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("vae.py: error: Unrecognized options")


@pytest.mark.parametrize("net", ["mlp", "lesson"])
@pytest.mark.slow
def test_throughput_prints_its_ratio(start, net):
    done = start("throughput.py", "--net", net, "--images", "500", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert "of the peak" in done.stdout
    assert "resident / stream" in done.stdout


@pytest.mark.slow
def test_scaling_leaves_its_table_and_picture(start):
    flags = ("--members", "1", "2", "--images", "256", "--repeats", "1", "--workdir", "s")
    done = start("scaling.py", *flags)
    assert done.returncode == 0, done.stderr
    table = done.stdout.splitlines()[1:-1]
    assert [line.split()[:2] for line in table] == [
        ["1", "device"],
        ["1", "member"],
        ["2", "members"],
    ]
    assert all(float(line.split()[-1]) > 0 for line in table)
    assert Path("s/scaling.png").stat().st_size
    done = start("scaling.py", "--members", "0")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_comparing_without_pytorch_is_one_line(start):
    if importlib.util.find_spec("torch"):
        pytest.skip("PyTorch is installed")
    done = start("throughput.py", "--compare", "torch")
    assert done.returncode == 2
    assert done.stderr.strip().endswith("pip install 'aejax[bench]'")
