"""The judge: it knows digits, and says no to what is none; coverage by hand and on real digits."""

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

import aejax
from aejax.data.dataset import Dataset
from aejax.evaluation.controls import controls, pairs
from aejax.evaluation.coverage import coverage, diversity
from aejax.judging.judge import fit_judge


@pytest.fixture(scope="module")
def digits():
    return aejax.load_dataset("mnist5k", "train"), aejax.load_dataset("mnist5k", "test")


@pytest.fixture(scope="module")
def judge(digits):
    return fit_judge(digits[0])


@pytest.mark.slow
def test_test_digits_are_recognised_and_in_their_class(judge, digits):
    test = digits[1]
    classes, recognised = judge.verdict(test["x"])
    assert 0.9 < recognised.mean() < 0.98  # 0.95 of the held-out digits are
    assert np.mean(classes[recognised] == test.labels[recognised]) > 0.95
    assert judge.recognised(test["x"]) == recognised.mean()
    as_labelled = judge.recognised_as(test["x"], test.labels)
    assert as_labelled == np.mean(recognised & (classes == test.labels))
    assert judge.recognised_as(test["x"], (test.labels + 1) % 10) < 0.05


@pytest.mark.slow
def test_a_picture_may_be_of_bytes_or_floats(judge, digits):
    images = digits[1]["x"][:50]
    for found, expected in zip(
        judge.verdict(images / np.float32(255)), judge.verdict(images), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_what_is_no_digit_is_refused(judge, digits):
    test = digits[1]
    shares = {name: judge.recognised(x) for name, x in controls(test, np.random.default_rng(0))}
    mixed = shares.pop("half and half of two classes")
    # Two digits in one picture are like each of them: refused more often, not always.
    assert mixed < judge.recognised(test["x"]) - 0.1
    shares.pop("blurred by 1 pixels")  # which a person reads easily
    assert max(shares.values()) <= 0.02, shares


@pytest.mark.slow
def test_clothes_are_refused(judge, fashion_mnist_dir):
    clothes = aejax.load_dataset("fashion_mnist", "test", fashion_mnist_dir)
    assert judge.recognised(clothes["x"][:1000]) <= 0.02


def test_every_control_is_of_the_datas_shape_and_range(images):
    other = Dataset({"x": images["x"][::-1], "label": images.labels}, {"label": ()}, "other")
    found = dict(controls(images, np.random.default_rng(0), other))
    assert "other" in found
    for name, x in found.items():
        assert x.shape[1:] == images.spec["x"].shape, name
        assert 0 <= x.min() <= x.max() <= 1, name
    # A permutation keeps an image's pixels.
    for name in ("pixels in one other order", "pixels in an order an image"):
        np.testing.assert_array_equal(
            np.sort(found[name].reshape(37, -1)),
            np.sort(images["x"].reshape(37, -1) / np.float32(255)),
        )


def test_pairs_are_of_different_classes(images):
    chosen = pairs(images, np.random.default_rng(0), 50)
    assert chosen.shape == (50, 2)
    assert np.all(images.labels[chosen[:, 0]] != images.labels[chosen[:, 1]])


def test_images_without_labels_or_with_few_are_one_line(images):
    unlabelled = Dataset(
        {"x": images["x"], "label": np.full(37, -1, np.int32)}, {"label": ()}, "photos"
    )
    with pytest.raises(aejax.UsageError, match="photos has no labels to judge by"):
        fit_judge(unlabelled)
    with pytest.raises(aejax.UsageError, match="a class of random has 6 images"):
        fit_judge(images.first(20))


def test_coverage_is_the_papers_sum():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(40, 3)), rng.normal(size=(30, 3)) + 0.7
    # Naeem et al. 2020, equation 7, with every distance written out.
    apart = pairwise_distances(real)
    reach = np.sort(apart, axis=1)[:, 4]  # the first is the row itself
    expected = np.mean((pairwise_distances(real, fake) <= reach[:, None]).any(axis=1))
    assert coverage(real, fake, neighbours=4) == expected
    with pytest.raises(ValueError, match="3 rows have no 5 neighbours"):
        coverage(real[:3], fake)


def test_a_model_that_repeats_one_digit_a_class_covers_next_to_nothing(digits):
    train, test = digits
    flat = [data["x"].reshape(len(data), -1) / 255.0 for data in digits]
    first = np.array([np.flatnonzero(train.labels == c)[0] for c in range(10)])
    repeated = np.repeat(first, 100)
    stuck = diversity(flat[1], test.labels, flat[0][repeated], train.labels[repeated])
    drawn = diversity(flat[1], test.labels, flat[0][:1000], train.labels[:1000])
    assert stuck["coverage"] < 0.15 < 0.85 < drawn["coverage"]
    assert stuck["distance"] == 0
    np.testing.assert_allclose(drawn["distance"], 1, atol=0.1)
