"""TFDS data sets made from what pip packages carry: they prepare without TensorFlow or network."""

from aejax.data.builders import chorales, fiddle_tunes, melodies, mnist5k, photos

__all__ = ["chorales", "fiddle_tunes", "melodies", "mnist5k", "photos"]
