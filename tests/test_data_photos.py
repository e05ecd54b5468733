"""photos: whose pixels they are, where they lie, and that nothing is fetched."""

import socket
import sys

import numpy as np
import pytest
import skimage
from skimage.transform import downscale_local_mean
from sklearn.datasets import load_sample_image

from aejax import UsageError, figures, load_dataset

SPLITS = ["train", "test"]


@pytest.fixture
def photos():
    """The builder's module; imported late, since TFDS reads TFDS_DATA_DIR as it is imported."""
    from aejax.data.builders import photos

    return photos


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def records(split):
    """The examples as TFDS reads them, with their photograph and place."""
    import tensorflow_datasets as tfds

    load_dataset("photos", split)
    return list(tfds.builder("photos", file_format="array_record").as_data_source(split))


def test_shapes_and_no_labels(offline):
    train, test = load_dataset("photos", "train"), load_dataset("photos", "test")
    assert train["x"].shape == (4730, 32, 32, 3)
    assert test["x"].shape == (1536, 32, 32, 3)
    assert np.all(train.labels == -1)
    np.testing.assert_array_equal(figures.first_of_each_class(test, 10), test["x"][:10] / 255)


def test_prepared_twice_without_a_network_it_is_the_same(tmp_path, offline, photos, monkeypatch):
    for split, names in {"train": ("rocket",), "test": ("chelsea",)}.items():
        monkeypatch.setitem(photos.SPLITS, split, names)
    for split in SPLITS:
        first, second = (load_dataset("photos", split, str(tmp_path / name)) for name in "ab")
        np.testing.assert_array_equal(first["x"], second["x"])
    assert "tensorflow" not in sys.modules


def test_no_photograph_is_in_both_splits(photos):
    train, test = ({record["photograph"] for record in records(split)} for split in SPLITS)
    assert train.isdisjoint(test)
    assert train | test == {name.encode() for name in photos.FILES}


def test_every_patch_is_where_it_says_in_its_photograph():
    """By scikit-learn's and scikit-image's own readers and averages."""
    whole = {name: load_sample_image(f"{name}.jpg") for name in ("china", "flower")}
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        whole[name] = getattr(skimage.data, name)()
    whole["motorcycle"] = skimage.data.stereo_motorcycle()[0]
    halves = {name: downscale_local_mean(image, (2, 2, 1)) for name, image in whole.items()}
    for record in records("train") + records("test"):
        row, column = record["row"], record["column"]
        expected = halves[record["photograph"].decode()][row : row + 32, column : column + 32]
        assert np.abs(record["image"] - expected).max() <= 0.5  # rounded


def test_patches_lie_seven_apart_and_flat_ones_are_left_out(photos):
    image = np.random.default_rng(0).integers(0, 256, (46, 40, 3), dtype=np.uint8)
    places = [(row, column) for row, column, _ in photos.patches(image)]
    assert places == [(row, column) for row in (0, 7, 14) for column in (0, 7)]
    image[:, :32] = 100
    image[::2, :32] = 114  # a standard deviation of 7, of 255
    assert [(row, column) for row, column, _ in photos.patches(image)] == [(0, 7), (7, 7), (14, 7)]
    assert list(photos.patches(image[:, :32])) == []


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.data", None)  # as if it were not installed
    with pytest.raises(UsageError, match=r"'photos' needs skimage.* pip install 'aejax\[examples"):
        load_dataset("photos", "test", str(tmp_path))
