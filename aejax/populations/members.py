"""Which members a population has: configurations that differ in their seeds and in numbers."""

import argparse
import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from aejax.errors import UsageError
from aejax.runs.config import Config
from aejax.settings import with_values

SEEDS, SWEEP = "--population seeds=N", "--sweep NAME=LOW:HIGH:log|linear:N"


def members(config: Config, population: str | None, sweeps: Sequence[str]) -> list[Config]:
    """Every seed with every combination of the swept numbers.

    Args:
        config: what all have in common.
        population: "seeds=N" for the N seeds from that of `config` on, or None for it alone.
        sweeps: each "NAME=LOW:HIGH:log|linear:N", of a number that is no integer.

    Raises:
        UsageError: for what cannot be read so, or a NAME that there is not.
    """
    seeds = range(config.seed, config.seed + _seeds(population))
    axes = [_sweep(config, text) for text in sweeps]
    swept_names = [axis[0][0] for axis in axes]
    if len(set(swept_names)) < len(swept_names):
        raise UsageError(f"--sweep names one number twice: {', '.join(swept_names)}")
    found = []
    for swept, seed in itertools.product(itertools.product(*axes), seeds):
        member = dataclasses.replace(config, seed=seed)
        for name, value in swept:
            member = with_number(member, name, value)
        found.append(member)
    if len(found) < 2:
        raise UsageError(f"a population of {len(found)} is a run: give {SEEDS} or {SWEEP}")
    return found


def population_flags(argv: list[str]) -> tuple[str | None, list[str], list[str]]:
    """The values of --population and of every --sweep, and the other words.

    Raises:
        UsageError: for a flag without a value.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--population")
    parser.add_argument("--sweep", action="append", default=[])
    try:
        known, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error.argument_name} lacks its value") from None
    return known.population, known.sweep, rest


def numbers(config: Config) -> dict[str, float]:
    """The fields that hold a float, those of a dataclass among them too."""
    found = {}
    for part in (config, *(getattr(config, field) for field in config.kinds)):
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if isinstance(value, float) and field.name != "validation":  # members share their data
                found[field.name] = value
    return found


def with_number(config: Any, name: str, value: Any) -> Any:
    """The configuration with another value of a number, wherever that is."""
    for field in config.kinds:
        part = getattr(config, field)
        if name in {f.name for f in dataclasses.fields(part)}:
            return with_values(config, **{field: with_values(part, **{name: value})})
    return with_values(config, **{name: value})


def differing(configs: Sequence[Config]) -> list[str]:
    """The numbers in which the members differ.

    Raises:
        UsageError: if they differ in anything else, their seeds apart.
    """
    first = configs[0]
    of_each = [numbers(config) for config in configs]
    names = [
        name
        for name, value in of_each[0].items()
        if all(name in found for found in of_each) and any(f[name] != value for f in of_each)
    ]
    for config in configs:
        alike = dataclasses.replace(config, seed=first.seed, workdir=first.workdir)
        for name in names:
            alike = with_number(alike, name, numbers(first)[name])
        if alike != first:
            raise UsageError(
                f"{config} differs from {first} in more than the seed and numbers: train it alone"
            )
    return names


def _seeds(population: str | None) -> int:
    if population is None:
        return 1
    match = re.fullmatch(r"seeds=([1-9]\d*)", population)
    if match is None:
        raise UsageError(f"--population {population} is not seeds=N")
    return int(match.group(1))


def _sweep(config: Config, text: str) -> list[tuple[str, float]]:
    match = re.fullmatch(r"([\w-]+)=([^:]+):([^:]+):(log|linear):([1-9]\d*)", text)
    if match is None:
        raise UsageError(
            f"--sweep {text} is not NAME=LOW:HIGH:log|linear:N, like beta=0.1:10:log:16"
        )
    name, low, high, scale, count = match.groups()
    name = name.replace("-", "_")
    if name not in numbers(config):
        raise UsageError(
            f"--sweep {text}: there is no number {name}; there are {', '.join(numbers(config))}"
        )
    try:
        ends = float(low), float(high)
    except ValueError:
        raise UsageError(f"--sweep {text}: {low} and {high} are not both numbers") from None
    if not all(map(math.isfinite, ends)) or (ends[0] == ends[1] and int(count) > 1):
        raise UsageError(f"--sweep {text}: {low} and {high} are not two finite numbers")
    if scale == "log" and not min(ends) > 0:
        raise UsageError(f"--sweep {text}: a log scale needs two positive ends")
    space = np.geomspace if scale == "log" else np.linspace
    return [(name, float(value)) for value in space(*ends, int(count))]
