"""A run as a person has it: the command line, the run directory, stopping and going on."""

import dataclasses
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aejax
from aejax import models, objectives
from aejax.cli.commands import main
from aejax.runs.architecture import ArchitectureConfig
from aejax.runs.claim import claimed
from aejax.runs.optimisation import wrapped_optimizer

SMALL = ["--hidden", "16", "--epochs", "2", "--batch-size", "400", "--checkpoint-every", "1"]
SMALL += ["--devices", "1"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ArchitectureConfig):
    """A small VAE without pictures."""

    name: ClassVar[str] = "small"

    def model(self, spec):
        return models.vae(*self.nets(spec), self.latent_dim, self.p_x())

    def criterion(self, spec):
        return objectives.Elbo()

    def headline(self, metrics):
        return f"ELBO {metrics['elbo']:.2f}"


def config(**fields):
    small = {"hidden": (16,), "epochs": 2, "batch_size": 400, "checkpoint_every": 1, "devices": 1}
    return Config(**(small | fields))


def train(*flags):
    main(Config, [*SMALL, *flags])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Run directories to copy: `begun` is of one epoch, `whole` of two."""
    home = tmp_path_factory.mktemp("runs")
    for name, epochs in (("begun", 1), ("whole", 2)):
        aejax.run(config(workdir=str(home / name), epochs=epochs))
    return home


@pytest.fixture
def begun(trained):
    """A run of one epoch, in runs/small."""
    return Path(shutil.copytree(trained / "begun", "runs/small"))


@pytest.fixture
def whole(trained):
    """A run of two epochs, in whole."""
    return Path(shutil.copytree(trained / "whole", "whole"))


def lines(workdir="runs/small"):
    return [json.loads(line) for line in Path(workdir, "metrics.jsonl").read_text().splitlines()]


def read(path):
    return json.loads(Path(path).read_text())


def refused(capsys, *flags):
    """The one line that the flags are answered with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        train(*flags)
    assert exit_.value.code == 2
    err = capsys.readouterr().err.strip().splitlines()
    message = [line for line in err if line.startswith("small.py: error: ")]
    assert len(message) == 1
    assert "Traceback" not in "\n".join(err)
    return message[0]


def test_a_run_leaves_what_it_promises(capsys):
    train()
    saved = read("runs/small/config.json")
    assert saved["fields"]["hidden"] == [16]
    assert saved["versions"]["jax"] == jax.__version__
    records = lines()
    assert [(r["step"], r["epoch"], r["split"]) for r in records] == [
        (10, 1, "train"), (10, 1, "test"), (20, 2, "train"), (20, 2, "test"),
    ]  # fmt: skip
    for record in records:
        assert record["loss"] == pytest.approx(record["reconstruction"] + record["kl"], rel=1e-5)
    assert records[0]["images_per_second"] > 0
    summary = read("runs/small/summary.json")
    assert summary["test"]["elbo"] == pytest.approx(-records[-1]["loss"], rel=1e-6)
    assert summary["parameters"] == 784 * 16 + 16 + 2 * (16 * 2 + 2) + 2 * 16 + 16 + 16 * 784 + 784
    assert sorted(os.listdir("runs/small/checkpoints")) == ["10", "20"]
    assert (summary["epochs"], summary["steps"], summary["used_step"]) == (2, 20, 20)
    assert os.listdir("runs/small/events")
    assert "test, 1,000 images: ELBO" in capsys.readouterr().out


def test_a_run_is_functions_on_arrays(whole):
    run = aejax.load_run(whole, Config)
    test = aejax.load_dataset("mnist5k", "test")
    codes = run.encode(test["x"])
    chex.assert_shape(codes, (1000, 2))
    chex.assert_shape(run.decode(codes[:7]), (7, 28, 28, 1))
    np.testing.assert_allclose(
        run.reconstruct(test["x"][:3] / np.float32(255)), run.decode(codes[:3]), rtol=1e-4
    )
    images = run.sample(jax.random.key(0), 5)
    chex.assert_shape(images, (5, 28, 28, 1))
    assert 0 <= images.min() <= images.max() <= 1
    assert run.metrics.keys() == {"loss", "reconstruction", "kl", "elbo"}
    with pytest.raises(ValueError, match=r"\[N, 28, 28, 1\]"):
        run.encode(np.zeros((2, 28, 28)))


def test_a_run_is_opened_as_it_was():
    run = aejax.run(config(workdir="r"))
    opened = aejax.load_run("r", Config)
    chex.assert_trees_all_equal(opened.state.params, run.state.params)
    chex.assert_trees_all_equal(opened.state.opt_state, run.state.opt_state)
    assert opened.metrics == run.metrics
    assert opened.config == dataclasses.replace(run.config, workdir="r")
    test = aejax.load_dataset("mnist5k", "test")
    assert opened.evaluate(test)["loss"] == pytest.approx(run.metrics["loss"], rel=1e-6)


def test_resuming_is_exact(begun, whole):
    parts = aejax.run(config(workdir=str(begun), epochs=2, resume=True))
    whole = aejax.load_run(whole, Config)
    chex.assert_trees_all_equal(whole.state.params, parts.state.params)
    chex.assert_trees_all_equal(whole.state.opt_state, parts.state.opt_state)
    untimed = [
        [{k: v for k, v in r.items() if "second" not in k} for r in lines(w)]
        for w in ("whole", begun)
    ]
    assert untimed[0] == untimed[1]


def test_a_resumed_run_says_what_was_run_when(begun):
    aejax.run(config(epochs=3, resume=True))
    saved = read(begun / "config.json")
    assert saved["fields"]["epochs"] == aejax.load_run(begun, Config).config.epochs == 3
    assert [(h["step"], h["fields"]["epochs"]) for h in saved["history"]] == [(0, 1), (10, 3)]
    assert not saved["fields"]["resume"]
    aejax.run(config(epochs=3, resume=True))  # drawn again, and nothing else
    assert read(begun / "config.json") == saved


def test_a_crash_while_tracing_leaves_nothing(trained, monkeypatch):
    class BrokenElbo(objectives.Elbo):
        def terms(self, model, batch, key, step):
            raise KeyError("loss")

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Broken(Config):
        def criterion(self, spec):
            return BrokenElbo()

    with pytest.raises(KeyError):
        aejax.run(Broken(workdir="r", hidden=(8,), batch_size=400, epochs=1))
    assert not os.path.exists("r")
    shutil.copytree(trained / "begun", "r")
    with pytest.raises(KeyError):
        aejax.run(Broken(workdir="r", hidden=(8,), batch_size=400, epochs=1, overwrite=True))
    assert int(aejax.load_run("r", Config).state.step) == 10


def test_a_run_can_be_run_twice(begun, capsys):
    train("--epochs", "1", "--overwrite", "--seed", "1")
    assert read("runs/small/config.json")["fields"]["seed"] == 1
    assert len(lines()) == 2
    assert "give one" in refused(capsys, "--overwrite", "--resume")


@pytest.mark.slow
def test_streamed_and_resident_runs_are_equal():
    runs = [aejax.run(config(workdir=data, data=data)) for data in ("resident", "stream")]
    chex.assert_trees_all_close(runs[0].state.params, runs[1].state.params, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("sent", "status"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_a_signal_saves_in_mid_epoch_and_resuming_is_exact(
    sent, status, whole, monkeypatch, capsys
):
    import aejax.runs.progress as shown

    before = signal.getsignal(sent)
    monkeypatch.setattr("aejax.training.loop._Pace.__call__", lambda self: 3)
    show = shown.Log.show

    def press(self, progress):
        show(self, progress)
        if int(progress.state.step) == 13:
            os.kill(os.getpid(), sent)

    monkeypatch.setattr(shown.Log, "show", press)
    with pytest.raises(SystemExit) as exit_:
        train("--workdir", "stopped")
    assert exit_.value.code == status
    err = capsys.readouterr().err
    assert "stopped in epoch 2 at step 13, saved; go on with" in err
    assert "--resume" in err
    assert "Traceback" not in err
    monkeypatch.setattr(shown.Log, "show", show)
    train("--workdir", "stopped", "--resume")
    whole, stopped = aejax.load_run("whole", Config), aejax.load_run("stopped", Config)
    chex.assert_trees_all_equal(whole.state.params, stopped.state.params)
    assert [r["loss"] for r in lines("whole")] == [r["loss"] for r in lines("stopped")]
    assert signal.getsignal(sent) is before


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_an_epoch_and_no_more(whole, capsys):
    shutil.copytree(whole, "r")
    (file,) = Path("r/checkpoints/20/state/d").iterdir()
    os.truncate(file, file.stat().st_size // 2)
    train("--workdir", "r", "--resume")
    assert "checkpoint 20 cannot be read" in capsys.readouterr().err
    assert [r["step"] for r in lines("r")] == [10, 10, 20, 20]
    whole, again = aejax.load_run("whole", Config), aejax.load_run("r", Config)
    chex.assert_trees_all_equal(whole.state.params, again.state.params)


@pytest.mark.slow
def test_a_torn_last_line_of_the_metrics_is_written_again(begun):
    with open(begun / "metrics.jsonl", "a") as file:
        file.write('{"step": 20, "epo')
    aejax.run(config(epochs=2, resume=True))
    assert [r["step"] for r in lines()] == [10, 10, 20, 20]


def test_the_loss_becoming_nan_names_step_and_checkpoint(begun, capsys):
    saved = read(begun / "config.json")
    saved["fields"]["learning_rate"] = 1e30
    (begun / "config.json").write_text(json.dumps(saved))
    message = refused(capsys, "--resume", "--epochs", "3", "--learning-rate", "1e30")
    assert "the loss is not finite at step 1" in message
    assert "the last good checkpoint, step 10, is kept" in message
    assert os.listdir(begun / "checkpoints") == ["10"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "mnist5"], "unknown data set 'mnist5': did you mean mnist5k"),
        (
            ["--batch-size", "4001"],
            "batch size 4001 is larger than the data set: give at most 4000",
        ),
        (["--batch-size", "-3"], "--batch-size -3 is not positive"),
        (["--epochs", "0"], "--epochs 0 is not positive"),
        (["--learning-rate", "nan"], "--learning-rate nan is not a positive number"),
        (["--latent-dim", "0"], "--latent-dim 0 is not positive"),
        (["--hidden", "0"], "hidden (0,) has a width that is not positive"),
        (
            ["--net", "conv", "--channels", "4", "4", "4", "--hidden", "512", "256", "128"],
            "must be multiples of 8",
        ),
        (["--likelihood", "gaussian", "--sigma", "0"], "--sigma 0.0 is not a positive number"),
        (["--devices", "9"], "--devices 9 is more than the 8 devices at hand"),
        (["--devices", "8", "--batch-size", "100"], "is not a multiple of the 8 devices"),
        (["--net", "mpl"], "Expected one of ('mlp', 'conv'); see small.py --help"),
        (["--epoch", "3"], "Unrecognized options: --epoch, 3; did you mean --epochs?"),
        (["--batch-size", "x"], "Error parsing --batch-size"),
        (["trian"], "Unrecognized options: trian"),
        (["--resume"], "there is no run to resume in runs/small"),
        (["--workdir", "/proc/aejax"], "cannot write the run directory /proc/aejax"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(flags, message, capsys):
    assert message in refused(capsys, *flags)
    assert not os.path.exists("runs")


def test_a_directory_in_use_is_refused(begun, capsys):
    before = sorted(os.listdir("runs/small"))
    assert "already holds a run: give --resume" in refused(capsys)
    assert sorted(os.listdir("runs/small")) == before
    os.makedirs("notes")
    Path("notes/todo.txt").touch()
    assert "notes exists and holds todo.txt" in refused(capsys, "--workdir", "notes")


def test_a_second_process_in_the_directory_is_refused(begun, capsys):
    with claimed(begun, resume=True):
        message = refused(capsys, "--resume", "--epochs", "2")
    assert "another process trains in runs/small" in message
    train("--resume", "--epochs", "2")


def test_what_a_run_killed_as_it_began_left_is_no_hindrance():
    os.makedirs("runs/small")
    Path("runs/small/config.json.partial").write_text("{")
    Path("runs/small/run.lock").touch()
    train("--epochs", "1")
    assert read("runs/small/config.json")["experiment"] == "small"


def test_resuming_with_another_architecture_names_the_fields(begun, capsys):
    message = refused(capsys, "--resume", "--hidden", "17", "--latent-dim", "3")
    assert "--hidden [17] (the run has [16]), --latent-dim 3 (the run has 2)" in message
    assert "--epochs" not in message


def test_a_cosine_rises_falls_and_ends_at_zero():
    given = config(learning_rate=0.5, schedule="cosine")
    optimizer = wrapped_optimizer(given.optimizer(100), given, 200)
    params = {"w": jnp.zeros(())}
    state, rates = optimizer.init(params), []
    for _ in range(200):
        updates, state = optimizer.update({"w": jnp.ones(())}, state, params)
        rates.append(-float(updates["w"]))
    # Adam's update is its rate wherever the gradient is constant.
    t = np.arange(200)
    cosine = 0.25 * (1 + np.cos(np.pi * (t - 4) / 196))
    np.testing.assert_allclose(rates, np.where(t < 4, 0.5 * t / 4, cosine), atol=2e-5)


def test_a_cosine_run_is_not_prolonged(begun, capsys):
    saved = read(begun / "config.json")
    saved["fields"]["schedule"] = "cosine"
    (begun / "config.json").write_text(json.dumps(saved))
    error = refused(capsys, "--schedule", "cosine", "--epochs", "3", "--resume")
    assert "--epochs 3 (the run has 1)" in error


def test_a_damaged_config_is_one_line(begun, capsys):
    Path("runs/small/config.json").write_text("")
    assert "config.json is damaged" in refused(capsys, "--resume")


def test_a_run_of_another_version_is_one_line(begun, capsys):
    path = Path("runs/small/config.json")
    path.write_text(json.dumps(read(path) | {"format": 1}))
    assert "is a run directory of format 1" in refused(capsys, "--resume")
    with pytest.raises(aejax.UsageError, match="another version of aejax wrote"):
        aejax.load_run("runs/small", Config)


def test_commands_use_a_trained_run(begun):
    main(Config, ["evaluate", "--samples", "0"])
    for command in ("encode", "reconstruct", "sample"):
        main(Config, [command])
    evaluation = read("runs/small/evaluation_test_10.json")
    assert (evaluation["split"], evaluation["step"], evaluation["images"]) == ("test", 10, 1000)
    assert evaluation["loss"] == pytest.approx(lines()[-1]["loss"], rel=1e-6)
    with np.load("runs/small/codes_test_10.npz") as codes:
        chex.assert_shape(codes["codes"], (1000, 2))
        assert np.bincount(codes["labels"]).tolist() == [100] * 10
    assert sorted(os.listdir("runs/small/figures")) == [
        "reconstructions_test_10.png",
        "samples_10_count100_seed0.png",
    ]
    evaluate_train = ["evaluate", "--split", "train[:200]", "--samples", "0"]
    main(Config, evaluate_train)
    assert read("runs/small/evaluation_test_10.json") == evaluation
    assert read("runs/small/evaluation_train_200__10.json")["images"] == 200


def test_opening_what_is_no_run_is_one_line():
    with pytest.raises(aejax.UsageError, match="there is no run in nowhere"):
        aejax.load_run("nowhere")


def test_an_experiments_name_is_never_a_path(begun):
    saved = read(begun / "config.json")
    for name in ("../evil", "os.path", "small"):
        (begun / "config.json").write_text(json.dumps(saved | {"experiment": name}))
        with pytest.raises(aejax.UsageError):
            aejax.load_run(begun)
    assert "evil" not in sys.modules


@pytest.mark.slow
def test_likelihoods_all_train():
    for likelihood in ("gaussian", "gaussian_learned"):
        run = aejax.run(config(workdir=likelihood, likelihood=likelihood, epochs=1))
        assert np.isfinite(run.metrics["elbo"])
