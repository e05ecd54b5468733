"""What a test builds an experiment for: the `Spec` of labelled images, and the recipe for such."""

import jax
import jax.numpy as jnp

from aejax.runs.recipe import build_recipe


def image_spec(shape=(28, 28, 1)):
    return {
        "x": jax.ShapeDtypeStruct(shape, jnp.float32),
        "label": jax.ShapeDtypeStruct((), jnp.int32),
    }


def recipe_of(config, shape=(28, 28, 1), train_examples=4000):
    return build_recipe(config, image_spec(shape), train_examples)


def shapes_of(model, shape=(28, 28, 1)):
    """The shapes of the model's parameters."""
    batch = {"x": jnp.zeros((1, *shape)), "label": jnp.zeros(1, jnp.int32)}
    return jax.eval_shape(model.init, jax.random.key(0), batch)["params"]
