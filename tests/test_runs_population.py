"""Populations from the command line: members, their directories, and what they say together."""

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

import aejax
from aejax.cli.commands import main
from aejax.errors import UsageError
from aejax.experiments import adversarial, autoencoder, vae
from aejax.objectives import Elbo, Geco, Iwae, WarmUp
from aejax.populations import report as population_report
from aejax.populations.members import differing, members, numbers, population_flags, with_number
from aejax.populations.population import run_population
from aejax.streams import seed_stream

SMALL = {"hidden": (8,), "batch_size": 1000, "epochs": 2}


def test_seeds_and_sweeps_multiply():
    found = members(
        vae.Config(seed=3), "seeds=2", ["beta=0.1:10:log:3", "learning-rate=1:2:linear:2"]
    )
    assert [c.seed for c in found] == [3, 4] * 6
    assert [c.objective.beta for c in found[::4]] == pytest.approx([0.1, 1.0, 10.0])
    assert {c.learning_rate for c in found} == {1.0, 2.0}
    assert differing(found) == ["learning_rate", "beta"]


@pytest.mark.parametrize(
    ("population", "sweeps", "message"),
    [
        ("seeds=0", [], "--population seeds=0 is not seeds=N"),
        ("8", [], "--population 8 is not seeds=N"),
        (None, ["beta=1:2"], "--sweep beta=1:2 is not NAME=LOW:HIGH:log|linear:N"),
        (
            None,
            ["gamma=1:2:log:3"],
            "there is no number gamma; there are learning_rate, weight_decay, sigma, beta",
        ),
        (None, ["latent_dim=1:8:linear:4"], "there is no number latent_dim"),
        (None, ["beta=0:2:log:3"], "a log scale needs two positive ends"),
        (None, ["beta=a:2:log:3"], "a and 2 are not both numbers"),
        (None, ["beta=1:inf:log:3"], "1 and inf are not two finite numbers"),
        (None, ["beta=1:1:log:3"], "1 and 1 are not two finite numbers"),
        (None, ["beta=1:2:log:2", "beta=3:4:log:2"], "--sweep names one number twice"),
        ("seeds=1", [], "a population of 1 is a run"),
    ],
)
def test_what_cannot_be_read_is_one_line(population, sweeps, message):
    with pytest.raises(UsageError) as error:
        members(vae.Config(), population, sweeps)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_flags_are_taken_from_among_the_others():
    argv = [
        "--epochs",
        "3",
        "--population",
        "seeds=2",
        "--sweep",
        "a=1:2:log:2",
        "--sweep=b=1:2:log:2",
    ]
    assert population_flags(argv) == ("seeds=2", ["a=1:2:log:2", "b=1:2:log:2"], ["--epochs", "3"])
    with pytest.raises(UsageError, match="--sweep lacks its value"):
        population_flags(["--sweep"])


def test_members_that_differ_in_more_are_refused():
    one = vae.Config()
    with pytest.raises(UsageError, match="differs from"):
        differing([one, vae.Config(latent_dim=3)])
    with pytest.raises(UsageError, match="differs from"):
        differing([one, vae.Config(objective=Iwae())])


def test_a_number_is_replaced_wherever_it_is():
    assert numbers(vae.Config(objective=Elbo(beta=2.0)))["beta"] == 2.0
    assert with_number(vae.Config(), "beta", 3.0).objective.beta == 3.0
    assert with_number(vae.Config(), "learning_rate", 3.0).learning_rate == 3.0


def test_every_member_is_the_run_alone(capsys):
    main(vae.Config, [
        "--hidden", "8", "--batch-size", "1000", "--epochs", "2", "--workdir", "p",
        "--devices", "1", "--population", "seeds=2", "--sweep", "beta=0.5:2:log:2",
    ])  # fmt: skip
    found = json.loads(Path("p/population.json").read_text())
    assert found["numbers"] == ["beta"]
    seen = [(m["seed"], m["beta"], m["diverged_at_step"]) for m in found["members"]]
    assert seen == [(0, 0.5, None), (1, 0.5, None), (0, 2.0, None), (1, 2.0, None)]
    assert all(m["active_units"] in (0, 1, 2) for m in found["members"])
    assert {path.name for path in Path("p/figures").iterdir()} == {
        "losses.png",
        "rate_distortion.png",
    }
    printed = capsys.readouterr().out
    assert "0.5" in printed
    assert "+-" in printed
    alone = aejax.run(vae.Config(objective=Elbo(beta=2.0), seed=1, workdir="q", devices=1, **SMALL))
    member = aejax.load_run("p/members/03")
    assert member.config.objective == Elbo(beta=2.0)
    chex.assert_trees_all_close(member.state.params, alone.state.params, rtol=1e-5, atol=1e-7)
    for name, value in alone.metrics.items():
        assert member.metrics[name] == pytest.approx(value, rel=1e-5)
        assert found["members"][3]["test"][name] == pytest.approx(value, rel=1e-5)


def test_members_leave_their_results(capsys):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Config(autoencoder.Config):
        def results(self, run, train, test):
            return {"first_code": float(run.encode(test["x"][:1])[0, 0]), "images": len(train)}

    config = Config(workdir="p", devices=1, **(SMALL | {"epochs": 1}))
    records = run_population(members(config, "seeds=2", []))
    for i, record in enumerate(records):
        left = json.loads(Path(f"p/members/0{i}/results.json").read_text())
        code = aejax.load_run(f"p/members/0{i}", Config).encode(
            aejax.load_dataset("mnist5k", "test")["x"][:1]
        )[0, 0]
        assert record["results"] == left == {"first_code": pytest.approx(code), "images": 4000}
    assert records[0]["results"] != records[1]["results"]
    assert "first_code" in capsys.readouterr().out


def test_a_diverged_member_is_named(capsys):
    rates = [1e-3, 1e30]
    configs = [autoencoder.Config(learning_rate=r, workdir="p", devices=1, **SMALL) for r in rates]
    records = run_population(configs)
    assert records[0]["diverged_at_step"] is None
    assert records[1]["diverged_at_step"] >= 1
    assert np.isfinite(records[0]["test"]["loss"])
    assert "p/members/01 diverged at step" in capsys.readouterr().out


def test_what_a_population_cannot_do_is_one_line():
    with pytest.raises(UsageError, match=r"adversarial\.py has a step of its own"):
        run_population([adversarial.Config(seed=s, workdir="p") for s in (0, 1)])
    assert not Path("p").exists()
    with pytest.raises(UsageError, match="there is no population to resume in p"):
        run_population([vae.Config(seed=s, workdir="p", resume=True) for s in (0, 1)])
    with pytest.raises(UsageError, match="in place of --mesh"):
        run_population([vae.Config(seed=s, workdir="p", mesh="data=2") for s in (0, 1)])
    with pytest.raises(UsageError, match="--beta -1.0"):
        run_population(members(vae.Config(workdir="p"), None, ["beta=1:-1:linear:2"]))
    rises = [vae.Config(objective=WarmUp(rise=r), workdir="p") for r in (0.1, 0.2)]
    with pytest.raises(UsageError, match="rise cannot all differ between members"):
        run_population(rises)
    seeds = [vae.Config(seed=s, workdir="p", devices=2) for s in (0, 1, 2)]
    with pytest.raises(UsageError, match="--devices 2 cannot share out 3 members"):
        run_population(seeds)
    assert not Path("p").exists()


def test_a_population_is_not_begun_where_one_is():
    configs = [autoencoder.Config(seed=s, workdir="p", **(SMALL | {"epochs": 1})) for s in (0, 1)]
    run_population(configs)
    with pytest.raises(UsageError, match="p already holds a population"):
        run_population(configs)
    with pytest.raises(UsageError, match="p already holds a population"):
        aejax.run(autoencoder.Config(workdir="p", **SMALL))


@pytest.mark.slow
def test_a_member_goes_on_alone_to_the_bit():
    configs = [
        vae.Config(seed=s, workdir="p", devices=1, schedule="constant", **(SMALL | {"epochs": 1}))
        for s in (0, 1)
    ]
    run_population(configs)
    member = dataclasses.replace(configs[1], workdir="p/members/01", epochs=2, resume=True)
    resumed = aejax.run(member)
    whole = aejax.run(dataclasses.replace(configs[1], workdir="q", epochs=2))
    chex.assert_trees_all_equal(resumed.state.params, whole.state.params)


@pytest.mark.slow
def test_a_cosine_and_a_multiplier_are_those_of_the_run_alone():
    objective = Geco(tolerance=150.0)
    config = vae.Config(objective=objective, schedule="cosine", workdir="p", devices=1, **SMALL)
    run_population([config, dataclasses.replace(config, seed=1)])
    alone = aejax.run(dataclasses.replace(config, seed=1, workdir="q"))
    member = aejax.load_run("p/members/01")
    chex.assert_trees_all_close(member.state.params, alone.state.params, rtol=1e-5, atol=1e-7)
    chex.assert_trees_all_close(member.state.extra, alone.state.extra, rtol=1e-5)


def test_ctrl_c_saves_in_mid_epoch_and_resuming_is_exact(monkeypatch):
    import aejax.runs.train as module

    original = module.train

    def interrupted(*args, **settings):
        for progress in original(*args, **settings):
            if progress.step == 6:
                os.kill(os.getpid(), signal.SIGINT)
            yield progress

    def configs(workdir, **fields):
        own = SMALL | {"workdir": workdir, "devices": 1} | fields
        return [autoencoder.Config(seed=s, **own) for s in (0, 1)]

    monkeypatch.setattr("aejax.training.loop._Pace.__call__", lambda self: 2)
    run_population(configs("whole"))
    with monkeypatch.context() as patch:
        patch.setattr(module, "train", interrupted)
        with pytest.raises(KeyboardInterrupt, match="stopped in epoch 2 at step 6, saved"):
            run_population(configs("p"))
    assert int(aejax.load_run("p/members/00").state.step) == 6
    # A member alone, from the middle of an epoch on, and all together, streamed.
    shutil.copytree("p/members/01", "alone")
    aejax.run(dataclasses.replace(configs("alone", resume=True)[1]))
    run_population(configs("p", resume=True, data="stream"))
    for i, paths in enumerate((["p/members/00"], ["p/members/01", "alone"])):
        expected = aejax.load_run(f"whole/members/0{i}")
        for path in paths:
            got = aejax.load_run(path)
            chex.assert_trees_all_equal(got.state.params, expected.state.params)
            assert got.metrics == expected.metrics


@pytest.mark.slow
def test_a_population_goes_on_to_the_bit_with_its_diverged_member(monkeypatch):
    import aejax.runs.train as module

    rates = (1e-3, 1e30, 2e-3)

    def configs(workdir, epochs, **fields):
        own = SMALL | {"epochs": epochs, "checkpoint_every": 1, "devices": 1} | fields
        return [vae.Config(learning_rate=rate, workdir=workdir, **own) for rate in rates]

    def lines(workdir):
        found = map(json.loads, Path(workdir, "metrics.jsonl").read_text().splitlines())
        timing = ("seconds", "images_per_second")
        return [{k: v for k, v in line.items() if k not in timing} for line in found]

    whole = run_population(configs("whole", 3))
    original = module.train

    def killed(*args, **settings):
        yield next(original(*args, **settings))
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(module, "train", killed)
        with pytest.raises(RuntimeError, match="killed"):
            run_population(configs("killed", 3))
    with pytest.raises(UsageError, match=r"cannot resume killed with --hidden \[9\]"):
        run_population(configs("killed", 3, hidden=(9,), resume=True))
    with pytest.raises(UsageError, match="holds 3 members, not 2"):
        run_population(configs("killed", 3, resume=True)[:2])
    resumed = run_population(configs("killed", 3, resume=True))
    ends = [[r["diverged_at_step"] for r in records] for records in (whole, resumed)]
    assert ends[0] == ends[1]
    assert [step is None for step in ends[0]] == [True, False, True]
    assert str(lines("killed")) == str(lines("whole"))  # NaN is not NaN
    for i in (0, 2):
        got, expected = (aejax.load_run(f"{p}/members/{i:02d}") for p in ("killed", "whole"))
        chex.assert_trees_all_equal(got.state.params, expected.state.params)
        assert got.history == expected.history


@pytest.mark.slow
def test_a_member_that_went_on_alone_is_not_lost():
    def configs(**fields):
        own = SMALL | {"devices": 1, "checkpoint_every": 1} | fields
        return [autoencoder.Config(seed=s, workdir="p", **own) for s in (0, 1)]

    run_population(configs(epochs=1))
    alone = dataclasses.replace(configs(epochs=2)[1], workdir="p/members/01", resume=True)
    aejax.run(alone)
    with pytest.raises(UsageError, match="p/members/01 went on alone to step 8"):
        run_population(configs(epochs=3, resume=True))
    assert int(aejax.load_run("p/members/01").state.step) == 8


@pytest.mark.slow
def test_where_all_diverge_there_is_a_table_and_no_picture(capsys):
    configs = [
        vae.Config(learning_rate=1e30, seed=s, workdir="p", devices=1, **SMALL) for s in (0, 1)
    ]
    records = run_population(configs)
    assert all(r["diverged_at_step"] is not None for r in records)
    assert "diverged" in capsys.readouterr().out
    json.loads(Path("p/population.json").read_text(), parse_constant=pytest.fail)


def test_the_table_has_means_over_the_seeds_that_live():
    def record(beta, loss, diverged=None):
        return {
            "beta": beta,
            "test": {"loss": loss},
            "active_units": 2,
            "diverged_at_step": diverged,
        }

    lines = population_report.table(
        [record(1.0, 10.0), record(1.0, 12.0), record(2.0, 5.0), record(2.0, np.nan, 3)], ["beta"]
    )
    assert lines[0].split() == ["beta", "loss", "active"]
    assert lines[1].split() == ["1", "11", "+-", "1.4", "2", "+-", "0"]
    assert lines[2].split() == ["2", "5", "2"]


@pytest.mark.slow
def test_keys_of_members_are_those_of_their_seeds():
    configs = members(vae.Config(workdir="p", devices=1, **(SMALL | {"epochs": 1})), "seeds=2", [])
    run_population(configs)
    for seed in (0, 1):
        expected = seed_stream(seed, "state")
        got = aejax.load_run(f"p/members/0{seed}").state.key
        np.testing.assert_array_equal(jax.random.key_data(got), jax.random.key_data(expected))
