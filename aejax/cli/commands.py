"""The command line of an experiment: `script.py [train|evaluate|encode|reconstruct|...]`."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from aejax.cli.examples import (
    Interpolate,
    OnImages,
    Sample,
    images_of,
    interpolate,
    reconstruct,
    sample,
    step_of,
)
from aejax.cli.flags import one_line_errors, parse
from aejax.data.dataset import Dataset
from aejax.errors import UsageError
from aejax.populations.members import SEEDS, SWEEP, members, population_flags
from aejax.runs import directory as files
from aejax.runs.config import Config
from aejax.runs.idle_flags import Conditions, Without, check_idle
from aejax.runs.opening import load_run, run
from aejax.runs.run import Run
from aejax.settings import check_settings, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Evaluate(OnImages):
    """Measure a trained run on the images of its data set."""

    acts: ClassVar[Conditions] = {
        "eval_memory": Without("samples", (0,)),
        "annealing_images": Without("annealing_steps", (0,)),
    }

    samples: int | None = setting(None, at_least=0)
    """Draws of q(z|x) that log p(x) is estimated with, of a VAE, by default 1000: as many passes
    of the decoder over the images. 0: the test metrics alone."""
    eval_memory: int | None = setting(None, at_least=1)
    """MiB that the draws evaluated at a time may take. Default: by the device."""
    annealing_steps: int = setting(0, at_least=0)
    """Temperatures of annealed importance sampling, a second estimate; 0: none."""
    annealing_images: int = setting(100, at_least=2)
    """How many images it looks at."""
    seed: int = setting(0, at_least=0, below=2**32)
    """Seed of the draws."""


def main(config_class: type[Config], argv: Sequence[str] | None = None) -> None:
    """Runs an experiment's script; bad input is one line on standard error and exit status 2."""
    argv = list(sys.argv[1:] if argv is None else argv)
    script = f"{config_class.name}.py"
    commands: dict[str, tuple[type[Any], Callable[[Run, Any], None]]] = {
        "evaluate": (_Evaluate, _evaluate),
        "encode": (OnImages, _encode),
        "reconstruct": (OnImages, reconstruct),
        "sample": (Sample, sample),
        "interpolate": (Interpolate, interpolate),
    }
    with one_line_errors(script):
        if argv and argv[0] in commands:
            arguments_class, use = commands[argv[0]]
            default = arguments_class(workdir=str(Path("runs") / config_class.name))
            arguments = parse(arguments_class, f"{script} {argv[0]}", argv[1:], default)
            _check(arguments)
            use(load_run(arguments.workdir, config_class), arguments)
        else:
            prog = f"{script} [train|{'|'.join(commands)}]"
            _train(config_class, prog, argv[1:] if argv[:1] == ["train"] else argv)


def _train(config_class: type[Config], prog: str, argv: list[str]) -> None:
    population, sweeps, argv = population_flags(argv)
    note = f"Many members in one program: {SEEDS}, {SWEEP} (as often as you like)."
    config = parse(config_class, prog, argv, note=note)
    if population is None and not sweeps:
        run(config)
        return
    from aejax.populations.population import run_population

    run_population(members(config, population, sweeps))


def _evaluate(opened: Run, arguments: _Evaluate) -> None:
    _check_drawing(opened, arguments)
    data = opened.config.observe(images_of(opened, arguments))
    metrics: dict[str, Any] = dict(opened.evaluate(data))
    print(f"{arguments.split}, {len(data):,} images: {opened.config.headline(metrics)}")
    measured = _measured(opened, data, arguments)
    for name, value in measured.items():
        print(f"  {name:32s} {_as_text(value)}")
    step = step_of(opened)
    record = {"split": arguments.split, "step": step, "images": len(data)} | metrics | measured
    path = opened.workdir / f"{files.measured_at(files.EVALUATION, arguments.split, step)}.json"
    files.write_json(path, record)
    print(path)


def _check(arguments: Any) -> None:
    """Raises a `UsageError` for the first flag that is out of its range or changes nothing."""
    try:
        check_settings(arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error
    check_idle(arguments)


def has_prior(opened: Run) -> bool:
    """Whether the run's model can draw codes."""
    return opened.recipe.model.prior(opened.variables, None) is not None


def _check_drawing(opened: Run, arguments: _Evaluate) -> None:
    """Raises a `UsageError` for a flag about draws where this run's evaluation makes none."""
    recipe, annealed = opened.recipe, arguments.annealing_steps > 0
    asked = bool(arguments.samples) or annealed
    left_out = arguments.samples == 0 and not annealed
    estimated = asked or (recipe.has_likelihood and not left_out)
    if arguments.eval_memory is not None and not estimated:
        raise UsageError(
            f"--eval-memory {arguments.eval_memory} is for the log p(x) of a VAE, which a run of "
            f"{opened.config.name}.py is not"
        )
    if arguments.seed and not estimated and (left_out or not has_prior(opened)):
        raise UsageError(f"--seed {arguments.seed} changes nothing: nothing is drawn")


def _measured(opened: Run, data: Dataset, arguments: _Evaluate) -> dict[str, Any]:
    """What there is to measure beside the metrics: of a model with a prior, of a VAE more."""
    from aejax.runs import log_likelihood, measurements

    keys = measurements.evaluation_keys(arguments.seed)
    asked = bool(arguments.samples) or arguments.annealing_steps > 0
    results: dict[str, Any] = {}
    if arguments.samples == 0 and not asked:
        return results
    if len(data) < 2:
        raise UsageError(f"{len(data)} images have no standard error: give a --split of 2 or more")
    if asked or opened.recipe.has_likelihood:
        samples = 1000 if arguments.samples is None else arguments.samples
        memory = None if arguments.eval_memory is None else arguments.eval_memory * 2**20
        if samples > 0:
            results |= log_likelihood.likelihood_results(
                opened, data, keys["likelihood"], samples=samples, memory=memory
            )
        if arguments.annealing_steps > 0:
            steps, images = arguments.annealing_steps, arguments.annealing_images
            results |= log_likelihood.annealing_results(
                opened, data, keys["annealing"], steps=steps, images=images
            )
        results |= measurements.latent_results(opened, data, keys["latent"])
    if has_prior(opened) and opened.images:
        train = images_of(opened, dataclasses.replace(arguments, split="train"))
        test = images_of(opened, arguments)
        results |= measurements.restoration_results(opened, data)
        results |= measurements.class_results(opened, train, test, keys["samples"])
    return results


def _as_text(value: Any) -> str:
    """A number, a mean with its standard error, or several numbers."""
    if isinstance(value, dict):
        return f"{value['mean']:.5g} +- {value['error']:.2g}"
    if isinstance(value, list):
        return " ".join(f"{v:.2f}" for v in value)
    return value if isinstance(value, str) else f"{value:.5g}"


def _encode(opened: Run, arguments: OnImages) -> None:
    data = opened.config.observe(images_of(opened, arguments))
    codes = opened.encode({key: values for key, values in data.items() if key != "label"})
    step = step_of(opened)
    path = opened.workdir / f"{files.measured_at(files.CODES, arguments.split, step)}.npz"
    np.savez_compressed(path, codes=codes, labels=data.labels)
    print(f"{path}: codes {list(codes.shape)}, labels [{len(data)}]")
