"""A word about releases of JAX that compute wrong numbers."""

import warnings

import jax
import jaxlib

WRONG_ON_CPU = "0.10.2"  # jax-ml/jax#39103


def warn_of_wrong_release() -> None:
    """Warns if the installed JAX computes wrongly on CPU, unless another platform is asked for.

    What is asked for is read from JAX_PLATFORMS and `jax.config`: no backend is started.
    """
    platforms: str | None = jax.config.jax_platforms  # type: ignore[attr-defined]
    first = (platforms or "cpu").split(",")[0]
    if first == "cpu" and WRONG_ON_CPU in (jax.__version__, jaxlib.__version__):
        warnings.warn(
            f"jax {WRONG_ON_CPU} computes wrong numbers on CPU (vmapped products over more than "
            f"32,768 rows, jax-ml/jax#39103): pip install 'jax!={WRONG_ON_CPU}'",
            RuntimeWarning,
            stacklevel=3,
        )
