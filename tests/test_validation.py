"""Choosing by images that are held out of the training ones, and by no others."""

import dataclasses
import json
import os
from pathlib import Path

import chex
import numpy as np
import pytest
from specs import recipe_of

import aejax
from aejax.cli.commands import main
from aejax.data.dataset import Dataset
from aejax.data.holdout import hold_out
from aejax.errors import UsageError
from aejax.experiments import autoencoder, vae
from aejax.objectives import Cyclical, Elbo, Geco, Reconstruction, dequantized
from aejax.populations.population import run_population
from aejax.runs.splits import load_split

SMALL = {"hidden": (8,), "batch_size": 500, "devices": 1}


def read(path):
    return json.loads(Path(path).read_text())


def lines(workdir):
    return [json.loads(line) for line in Path(workdir, "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("validation", "count"), [(5, 5), (0.25, 10), (1.0, 1), (39, 39)])
def test_the_parts_are_the_whole(validation, count):
    images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)
    data = Dataset(
        {"x": images, "label": np.arange(40, dtype=np.int32) % 3}, {"label": ("a", "b", "c")}, "d"
    )
    train, held = hold_out(data, validation)
    assert (len(train), len(held)) == (40 - count, count)
    both = np.concatenate([train["x"], held["x"]]).ravel()
    assert sorted(both.tolist()) == list(range(40))
    for part in (train, held):
        np.testing.assert_array_equal(part.labels, part["x"].ravel() % 3)
        assert part.label_names == data.label_names


def test_a_data_set_sorted_by_class_gives_all_classes():
    labels = np.repeat(np.arange(10, dtype=np.int32), 100)
    data = Dataset({"x": np.zeros((1000, 1, 1, 1), np.uint8), "label": labels})
    assert np.bincount(hold_out(data, 0.2)[1].labels, minlength=10).min() > 5


@pytest.mark.parametrize("validation", [0, -1, 1.5, 40, float("nan"), float("inf"), 0.001])
def test_what_cannot_be_held_out_is_one_line(validation):
    data = Dataset({"x": np.zeros((40, 1, 1, 1), np.uint8), "label": np.zeros(40, np.int32)})
    with pytest.raises(UsageError, match="--validation"):
        hold_out(data, validation)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backwards(Reconstruction):
    def score(self, metrics):
        return -metrics["loss"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorstFirst(autoencoder.Config):
    """An autoencoder whose best checkpoint is that of the greatest loss, its first."""

    def criterion(self, spec):
        return Backwards()


def test_a_run_keeps_the_best_by_validation_and_is_tested_once():
    fields = {"checkpoint_every": 2, "validation": 0.25, "workdir": "r"} | SMALL
    aejax.run(WorstFirst(epochs=2, **fields))
    run = aejax.run(WorstFirst(epochs=5, resume=True, **fields))
    records = lines("r")
    assert [r["split"] for r in records] == ["train", "validation"] * 5 + ["test"]
    assert int(run.state.step) == records[-1]["step"] == records[1]["step"] == 6
    assert sorted(map(int, os.listdir("r/checkpoints"))) == [6, 12, 24, 30]
    saved, summary = read("r/config.json"), read("r/summary.json")
    assert (saved["train_examples"], saved["fields"]["validation"]) == (3000, 0.25)
    assert (summary["epochs"], summary["steps"], summary["used_step"]) == (5, 30, 6)
    assert summary["test"]["loss"] == records[-1]["loss"]
    opened = aejax.load_run("r", WorstFirst)
    chex.assert_trees_all_equal(opened.state.params, run.state.params)
    assert opened.metrics == run.metrics
    for split, index in (("validation", 1), ("test", -1)):
        loss = opened.evaluate(load_split(opened.config, split))["loss"]
        assert loss == pytest.approx(records[index]["loss"], rel=1e-5)
    main(WorstFirst, ["evaluate", "--workdir", "r", "--split", "train"])
    assert read("r/evaluation_train_6.json")["images"] == 3000


@pytest.mark.slow
def test_without_validation_nothing_is_selected():
    run = aejax.run(WorstFirst(epochs=5, workdir="r", checkpoint_every=1, **SMALL))
    assert sorted(map(int, os.listdir("r/checkpoints"))) == [24, 32, 40]
    assert int(run.state.step) == int(aejax.load_run("r", WorstFirst).state.step) == 40


def test_schedules_are_ranked_by_what_means_the_same_all_along():
    metrics = {"loss": 1.0, "elbo": -7.0}
    assert Elbo(beta=4.0).score(metrics) == 1.0
    assert Cyclical().score(metrics) == Geco().score(metrics) == 7.0
    recipe = recipe_of(vae.Config(objective=Cyclical()))
    assert recipe.objective.score(metrics) == 7.0
    assert dequantized(Cyclical()).score(metrics) == 7.0


@pytest.mark.slow
def test_a_population_ranks_its_members_by_validation():
    rates = (1e-4, 3e-3, 1e-3)
    configs = [
        autoencoder.Config(learning_rate=r, epochs=2, workdir="p", validation=1000, **SMALL)
        for r in rates
    ]
    records = run_population(configs)
    assert [r["rank"] for r in records] == [3, 1, 2]
    for i, record in enumerate(records):
        member = lines(f"p/members/0{i}")
        assert [r["split"] for r in member] == ["train", "validation"] * 2 + ["test"]
        assert record["score"] == member[-2]["loss"]
        assert record["test"]["loss"] == member[-1]["loss"]
        opened = aejax.load_run(f"p/members/0{i}")
        data = aejax.load_dataset("mnist5k", "test")
        assert opened.evaluate(data)["loss"] == pytest.approx(record["test"]["loss"], rel=1e-5)
