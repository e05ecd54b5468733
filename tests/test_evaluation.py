"""Probes and the classifier on data whose answer is known."""

import jax
import numpy as np
import pytest

from aejax.data.dataset import Dataset
from aejax.evaluation.probes import knn_accuracy, linear_probe_accuracy, pca_codes
from aejax.judging.classifier import ConvClassifier, train_classifier


def blobs(rng, count, spread):
    labels = np.arange(count) % 3
    centres = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    return centres[labels] + spread * rng.normal(size=(count, 2)), labels


@pytest.mark.parametrize("probe", [knn_accuracy, linear_probe_accuracy])
def test_separate_classes_are_told_apart_and_noise_is_not(probe):
    rng = np.random.default_rng(0)
    codes, labels = blobs(rng, 300, 0.5)
    test_codes, test_labels = blobs(rng, 300, 0.5)
    assert probe(codes, labels, test_codes, test_labels) == 1.0
    noise = rng.normal(size=(300, 2))
    assert abs(probe(noise, labels, noise[::-1], test_labels) - 1 / 3) < 0.15


def test_all_components_restore_the_images():
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 3, 1), dtype=np.uint8)
    codes, test_codes, back = pca_codes(images, images[:5], 12)
    np.testing.assert_allclose(back, images[:5] / 255, atol=1e-5)
    np.testing.assert_allclose(test_codes, codes[:5], atol=1e-5)
    # The code of fewer dimensions is the beginning of the whole one (Eckart-Young).
    fewer, _, _ = pca_codes(images, images[:5], 3)
    np.testing.assert_allclose(np.abs(fewer), np.abs(codes[:, :3]), atol=1e-3)


def test_the_classifier_learns_where_the_bright_half_is():
    rng = np.random.default_rng(0)
    labels = (np.arange(400) % 2).astype(np.int32)
    images = rng.integers(0, 60, (400, 8, 8, 1), dtype=np.uint8)
    images[labels == 1, :, 4:] += 150
    data = Dataset({"x": images, "label": labels}, {"label": ("left", "right")}, "halves")
    classifier = train_classifier(data, epochs=3, batch_size=50)
    assert classifier.accuracy(data) == 1.0
    assert classifier.features(images[:3] / 255.0).shape == (3, 64)


def test_the_classifiers_parameters():
    model = ConvClassifier(10)
    params = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 28, 28, 1), np.float32))
    convolutions = (9 * 16 + 16) + (9 * 16 * 32 + 32)
    dense = (7 * 7 * 32 * 64 + 64) + (64 * 10 + 10)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == convolutions + dense
