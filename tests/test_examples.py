"""The examples of aejax/README.md: each adds files and touches nothing else."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from examples import count_vae, pair, target_kl, token_vae, vq_vae

import aejax
from aejax.cli.commands import main
from aejax.experiments import vae
from aejax.training.checkpoint import Checkpoints

EXAMPLES = Path(__file__).parent / "examples"
README = Path(__file__).parents[1] / "aejax/README.md"  # an installed package has none
QUICK = ["--epochs", "2", "--batch-size", "32", "--checkpoint-every", "1", "--devices", "1"]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Small data sets in files: counts of two kinds, tokens that repeat, images of squares."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 2, 200)
    counts = rng.poisson(np.where(kinds[:, None], 8.0, 1.0), (200, 10))
    tokens = (rng.integers(0, 9, (200, 1)) + np.arange(12)) % 9
    images = np.zeros((200, 8, 8, 1), np.uint8)
    for image, (top, left) in zip(images, rng.integers(0, 5, (200, 2)), strict=True):
        image[top : top + 3, left : left + 3] = 255
    for name, x in (("counts", counts), ("tokens", tokens), ("images", images)):
        np.savez(f"{name}.npz", x_train=x[:160], x_test=x[160:])
    return tmp_path


def read(path):
    return json.loads(Path(path).read_text())


def test_the_readme_quotes_the_examples():
    sources = [path.read_text() for path in EXAMPLES.glob("*.py")]
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert len(blocks) >= 5
    for block in blocks:
        assert any(block.rstrip() in source for source in sources), block


def test_an_objective_with_its_flag(data):
    main(vae.Config, ["--dataset", "images.npz", "--hidden", "8", "--workdir", "a", *QUICK,
                      "--objective", "target_kl", "--target", "3"])  # fmt: skip
    assert read("a/config.json")["fields"]["objective"] == {"name": "target_kl", "target": 3.0}
    assert aejax.load_run("a").config.objective == target_kl.TargetKl(target=3.0)
    with pytest.raises(SystemExit):
        main(vae.Config, ["--objective", "target_kl", "--target", "-1", "--workdir", "b"])


def test_a_pair_of_nets(data):
    main(pair.Config, ["--dataset", "images.npz", "--workdir", "a", *QUICK])
    run = aejax.load_run("a", pair.Config)
    assert run.sample(jax.random.key(0), 3).shape == (3, 8, 8, 1)


def test_a_codebook_travels_and_resumes_to_the_bit(data):
    flags = ["--dataset", "images.npz", *QUICK]
    main(vq_vae.Config, [*flags, "--workdir", "whole"])
    main(vq_vae.Config, [*flags, "--workdir", "parts", "--epochs", "1"])
    main(vq_vae.Config, [*flags, "--workdir", "parts", "--resume"])
    whole, parts = (aejax.load_run(name, vq_vae.Config) for name in ("whole", "parts"))
    jax.tree.map(np.testing.assert_array_equal, whole.variables, parts.variables)
    fresh = (
        vq_vae.Config()
        .model(whole.spec)
        .init(jax.random.key(0), {"x": np.zeros((1, 8, 8, 1), np.float32)})
    )
    assert (whole.state.extra["codebook"]["codebook"]["counts"]
            != fresh["codebook"]["codebook"]["counts"]).any()  # fmt: skip
    images = np.load("images.npz")["x_test"]
    codes = whole.encode(images)
    assert codes.shape == (40, 8)
    assert codes.dtype == np.int32
    np.testing.assert_array_equal(whole.decode(codes), whole.reconstruct(images))


@pytest.mark.slow
def test_tokens_with_a_decoder_that_sees_them(data):
    flags = ["--dataset", "tokens.npz", "--vocabulary", "9", "--workdir", "a", *QUICK]
    main(token_vae.Config, [*flags, "--learning-rate", "1e-2", "--epochs", "8"])
    main(token_vae.Config, ["evaluate", "--workdir", "a", "--samples", "20"])
    run = aejax.load_run("a", token_vae.Config)
    found = read(f"a/evaluation_test_{int(run.state.step)}.json")
    # The exact log p(x) is -log 9: the first token says all.
    assert -12 * np.log(9) < found["log_likelihood"]["mean"] < -np.log(9) + 0.5
    assert found["log_likelihood"]["mean"] >= found["sampled_elbo"]["mean"]
    drawn = run.sample(jax.random.key(0), 50)
    assert drawn.shape == (50, 12)
    assert drawn.dtype == np.int32
    assert {int(v) for v in np.unique(drawn)} <= set(range(9))


def test_a_token_sees_only_those_before_it():
    model = token_vae.Config(vocabulary=9).model({"x": jax.ShapeDtypeStruct((6,), np.int32)})
    x = np.arange(6, dtype=np.int32)[None]
    variables = model.init(jax.random.key(0), {"x": x})
    z = np.zeros((1, 2), np.float32)
    other = x.copy()
    other[0, 3] = 8
    bound = model.bind(variables)
    inputs = [bound._inputs(a, z) for a in (x, other)]
    differs = np.abs(np.asarray(inputs[0] - inputs[1])).sum(axis=(0, 2)) > 0
    np.testing.assert_array_equal(differs, [False, False, False, False, True, False])
    per_draw = model.log_likelihood(variables, {"x": x}, np.stack([z, z + 1]))
    each = [model.log_likelihood(variables, {"x": x}, v) for v in (z, z + 1)]
    np.testing.assert_allclose(per_draw, np.stack(each), rtol=1e-5)


def test_poisson_is_scipys():
    from scipy import stats

    x = np.arange(6).reshape(2, 3)
    rates = np.linspace(0.5, 4, 6).reshape(2, 3)
    found = count_vae.poisson_log_prob(np.log(rates), x)
    np.testing.assert_allclose(found, stats.poisson.logpmf(x, rates).sum(axis=1), rtol=1e-5)


@pytest.mark.slow
def test_a_script_outside_the_repository(data):
    """A population with a sweep, an evaluation and an opening of one's own script."""
    script = data / "count_vae.py"
    script.write_text((EXAMPLES / "count_vae.py").read_text())

    def python(*words):
        done = subprocess.run(
            [sys.executable, str(script), *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    python("--dataset", "counts.npz", "--workdir", "p", *QUICK, "--population", "seeds=2",
           "--sweep", "learning-rate=1e-3:1e-2:log:2")  # fmt: skip
    assert len(read("p/population.json")["members"]) == 4
    assert "log_likelihood" in python("evaluate", "--workdir", "p/members/00", "--samples", "10")
    run = aejax.load_run("p/members/00", count_vae.Config)
    assert run.encode(np.load("counts.npz")["x_test"]).shape == (40, 2)
    with Checkpoints(Path("p/members/00/checkpoints").resolve()) as checkpoints:
        assert checkpoints.steps() == [10]
