# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Autoencoders, a lesson with aejax
#
# An autoencoder learns a short code for an image by having to paint the image again from the code alone.
# This notebook walks through the family, each member in a few lines, with its picture, what it shows and
# where it fails. Everything runs on a CPU, on 5,000 real MNIST digits that come with the installation.
#
# The exercises of the "Autoencoders" lesson of AI for Beginners are among them.
#
# aejax is installed from a clone of its repository: the one that this notebook is in or beside, or what the
# environment variable `AEJAX_SOURCE` names, a folder or anything else that pip takes.

# %%
import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

here = Path.cwd()
if (here / "aejax").is_dir() and not (here / "aejax" / "__init__.py").exists():
    # A clone named aejax: Python would take the folder for the package.
    sys.path = [entry for entry in sys.path if Path(entry).resolve() != here]

if importlib.util.find_spec("aejax") is None:
    clones = [
        folder
        for folder in (here, here.parent, here / "aejax")
        if (folder / "aejax/__init__.py").exists()
    ]
    source = os.environ.get("AEJAX_SOURCE") or next(map(str, clones), None)
    if source is None:
        raise RuntimeError(
            f"aejax is not installed, and {here} is in or beside no clone: set AEJAX_SOURCE to one"
        )
    wanted = f"{source}[examples]" if Path(source).exists() else f"aejax[examples] @ {source}"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", wanted], check=True)
    importlib.invalidate_caches()

# %%
import io
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
from IPython.display import Image, display

import aejax

EPOCHS = int(os.environ.get("LESSON_EPOCHS", "15"))  # an epoch is 4,000 digits
RUNS = Path(tempfile.mkdtemp())


def show(run, *names):
    """The pictures that a run has left."""
    for name in names:
        display(Image(run.workdir / "figures" / f"{name}.png", width=560))


def draw(figure):
    """A matplotlib figure."""
    png = io.BytesIO()
    figure.savefig(png, dpi=150)
    display(Image(png.getvalue(), width=560))


# %% [markdown]
# ## The data
#
# `load_dataset` gives any TFDS data set of images as arrays: uint8 at rest, `[N, H, W, C]`.

# %%
train, test = aejax.load_dataset("mnist5k", "train"), aejax.load_dataset("mnist5k", "test")
print(train["x"].shape, train["x"].dtype, test["x"].shape)

# %% [markdown]
# ## A convolutional autoencoder
#
# Three convolutions with pooling lead down to a code of 4 x 4 x 8 numbers; three with upsampling lead back.
# 4,385 parameters. The loss is the cross-entropy of the pixels, in nats per image.

# %%
from aejax.experiments import conv_autoencoder

conv = aejax.run(conv_autoencoder.Config(epochs=EPOCHS, workdir=str(RUNS / "conv"), overwrite=True))
show(conv, "reconstructions", "code_maps", "random_codes")

# %% [markdown]
# The reconstructions are recognisable; what *random* codes decode to is not. A plain autoencoder says nothing
# about where codes lie, so there is nothing to sample from: that is what the variational one adds below.
#
# ### Task: noise in the latent
#
# Codes of several digits with more and more noise, and how many of the decodings a small classifier
# still takes for the same class.

# %%
show(conv, "noise", "stability")

# %% [markdown]
# ### Task: a code of two numbers
#
# With two numbers the code can be drawn. Some classes part, without the labels ever having been used; the
# accuracy of the nearest neighbours says how far, beside that of two principal components. So narrow a code
# takes long to train: `python experiments/conv_autoencoder.py --latent-dim 2 --epochs 100`.

# %%
flat = aejax.run(
    conv_autoencoder.Config(
        epochs=3 * EPOCHS, latent_dim=2, workdir=str(RUNS / "conv_2"), overwrite=True
    )
)
show(flat, "latent")

# %% [markdown]
# ## Denoising
#
# Given a noisy image, paint the clean one. The noise is drawn anew at every step, so that there is nothing to
# learn by heart. Beside it: filters, and the best linear map, each fitted on training images.

# %%
from aejax.experiments import denoising

denoiser = aejax.run(
    denoising.Config(epochs=EPOCHS, workdir=str(RUNS / "denoising"), overwrite=True)
)
show(denoiser, "denoised", "filters")

# %% [markdown]
# ## Super-resolution
#
# The same idea with another damage: given the image at half the size, paint the whole. The lesson's autoencoder
# has a narrow code in the middle and loses to bicubic interpolation; without one (`net="residual"`) it wins.

# %%
from aejax.experiments import super_resolution

finer = aejax.run(
    super_resolution.Config(epochs=EPOCHS, workdir=str(RUNS / "super"), overwrite=True)
)
show(finer, "super_resolution", "from_noise")

# %% [markdown]
# ## A sparse code
#
# Few units at work at a time: a charge on their activity, beside principal components at equal code size.

# %%
from aejax.experiments import sparse_autoencoder

sparse = aejax.run(
    sparse_autoencoder.Config(
        kind="l1", epochs=EPOCHS, workdir=str(RUNS / "sparse"), overwrite=True
    )
)
show(sparse, "reconstructions", "activity")

# %% [markdown]
# ## The variational autoencoder
#
# The encoder gives a Gaussian over codes; the loss is the negative ELBO: the reconstruction and the divergence
# from a standard normal prior. Now codes can be drawn from the prior, and the plane between them is filled.

# %%
from aejax.experiments import vae

variational = aejax.run(vae.Config(epochs=2 * EPOCHS, workdir=str(RUNS / "vae"), overwrite=True))
show(variational, "manifold", "latent")

# %% [markdown]
# ### The assignment: a convolutional one
#
# The networks of the convolutional autoencoder with a Gaussian head in the middle, and the lesson's own
# loss, the squared error plus the divergence.

# %%
from aejax.experiments import lesson_vae

assignment = aejax.run(
    lesson_vae.Config(net="conv", epochs=EPOCHS, workdir=str(RUNS / "lesson_vae"), overwrite=True)
)
show(assignment, "manifold")

# %% [markdown]
# ## Asking for a class
#
# Given the label too, encoder and decoder leave the class to it, and z keeps the style: a row a class, a
# column a z.

# %%
from aejax.experiments import conditional_vae

conditional = aejax.run(
    conditional_vae.Config(epochs=2 * EPOCHS, workdir=str(RUNS / "conditional"), overwrite=True)
)
show(conditional, "classes")

# %% [markdown]
# ## The adversarial autoencoder
#
# Here a discriminator, not a divergence, draws the codes towards the prior: it learns to tell codes from draws
# of the prior, and the encoder learns to fool it. Three losses, three optimisers, one step.

# %%
from aejax.experiments import adversarial

contest = aejax.run(
    adversarial.Config(epochs=3 * EPOCHS, workdir=str(RUNS / "adversarial"), overwrite=True)
)
show(contest, "codes", "samples")

# %% [markdown]
# The left cloud should look like the right one. It takes its time: `python experiments/adversarial.py` trains
# longer, and `--frozen-discriminator` shows what is left when the discriminator never learns.
#
# ## A sequence autoencoder
#
# The same digits read row by row by a recurrent network, and written again from its last state.

# %%
from aejax.experiments import sequence_autoencoder

rows = aejax.run(
    sequence_autoencoder.Config(epochs=2 * EPOCHS, workdir=str(RUNS / "sequence"), overwrite=True)
)
show(rows, "reconstructions")

# %% [markdown]
# ## Walking through the latent
#
# From one digit to another, by the straight line between their codes.

# %%
from aejax import figures
from aejax.evaluation.latent_space import lerp, path

ends = [int(np.argmax(test.labels == digit)) for digit in (3, 7)]
first, last = variational.encode(test["x"][ends])
draw(figures.image_grid(variational.decode(path(lerp, first, last, 10)), columns=10))

# %% [markdown]
# ## One piece at a time
#
# Every formula is a pure function that works in a loop of your own. A linear VAE, whole:

# %%
images = train["x"][:1000].reshape(1000, -1) / jnp.float32(255)
params = {
    "encode": 0.05 * jax.random.normal(jax.random.key(0), (784, 16)),
    "decode": jnp.zeros((8, 784)),
}


def loss_fn(params, key):
    mean, log_sigma = jnp.split(images @ params["encode"], 2, axis=-1)
    logits = aejax.reparameterize(key, mean, log_sigma) @ params["decode"]
    return jnp.mean(
        aejax.gaussian_kl(mean, log_sigma) - aejax.bernoulli_log_prob(logits, images)
    )  # -ELBO, nats


optimizer, value_and_grad = optax.adam(1e-2), jax.jit(jax.value_and_grad(loss_fn))
opt_state, losses = optimizer.init(params), []
for key in jax.random.split(jax.random.key(1), 100):
    loss, grads = value_and_grad(params, key)
    updates, opt_state = optimizer.update(grads, opt_state)
    params = optax.apply_updates(params, updates)
    losses.append(float(loss))
print(f"-ELBO {losses[0]:.1f} -> {np.mean(losses[-10:]):.1f} nats")
