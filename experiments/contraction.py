"""What contraction does to a code: its Jacobian, its steadiness under noise, and what it costs.

Reads a population of sparse_autoencoder.py that sweeps the penalty's weight, --kind contractive
(Rifai et al. 2011) or deep_contractive. A code that is only smaller has a smaller Jacobian and is
no steadier: what noise does is measured against the codes' own spread.

Command:   python experiments/sparse_autoencoder.py --kind contractive --population seeds=3 \
               --sweep contraction=0.01:10:log:7 --workdir runs/contractive
           python experiments/contraction.py --run runs/contractive
Expected:  up to a weight of 0.1 the reconstruction costs what it does without (115 to 116 nats; the
           mean image 207); the Jacobian's norm is 6.0 at 0.01, 5.3 at 0.1, 3.0 at 1, 1.3 at 10,
           what noise does to the code .39, .36, .30, .24 of its spread, the reconstruction 131.5
           nats at 1, 159.5 at 10; beyond, at 32 and 100, the code dies
Cost:      the sweep a few minutes on two cores, the curve two
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from aejax import figures
from aejax.cli.flags import one_line_errors, parse
from aejax.data.load import load_dataset
from aejax.errors import UsageError
from aejax.experiments import sparse_autoencoder
from aejax.runs import directory as files
from aejax.runs import seed_table
from aejax.runs.opening import load_run
from aejax.runs.run import Run

Sweep = dict[float, list[Run]]  # weight -> the runs of its seeds
COLUMNS = {
    "jacobian_norm": "norm of the Jacobian",
    "code_moved_by_noise": "moved by noise, over the spread",
    "reconstruction": "reconstruction, nats",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure and draw what the weight of the contraction penalty changes."""

    run: str = "runs/contractive"
    """Directory of a population of sparse_autoencoder.py, swept over --contraction."""
    data_dir: str | None = None
    """TFDS data directory. Default: that of the run, $TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    workdir: str = "runs/contraction"
    """Directory for the table and the picture."""


def opened(workdir: str) -> Sweep:
    """The members of a population by the weight of their penalty.

    Raises:
        UsageError: if there is no such population, or not all of it has trained to its end.
    """
    path = Path(workdir) / files.POPULATION
    if not path.exists():
        raise UsageError(
            f"--run {workdir} holds no population: make one with python experiments/"
            "sparse_autoencoder.py --kind contractive --sweep contraction=0.01:10:log:7 "
            f"--workdir {workdir}"
        )
    found = json.loads(path.read_text())
    if found["numbers"] != ["contraction"]:
        raise UsageError(f"--run {workdir} sweeps {found['numbers']}: sweep contraction alone")
    sweep: Sweep = {}
    for index, member in enumerate(found["members"]):
        if member["diverged_at_step"] is not None:
            raise UsageError(f"member {index} of --run {workdir} diverged: sweep a lower range")
        run = load_run(path.parent / files.MEMBERS / f"{index:02d}", sparse_autoencoder.Config)
        sweep.setdefault(member["contraction"], []).append(run)
    return sweep


def measured(run: Run, data_dir: str | None) -> dict[str, float]:
    """The code's steadiness and the reconstruction, on the test images."""
    test = load_dataset(run.config.dataset, "test", data_dir or run.config.data_dir)
    found = sparse_autoencoder.steadiness(run, test) | run.metrics
    return {column: found[column] for column in COLUMNS}


def main() -> None:
    """Parses the flags, measures, and leaves the table and the picture."""
    with one_line_errors("contraction.py"):
        arguments = parse(Arguments, "contraction.py", sys.argv[1:])
        sweep = opened(arguments.run)
        table = seed_table.over_seeds(
            {f"weight {weight:.3g}": measured(run, arguments.data_dir)}
            for weight, runs in sweep.items()
            for run in runs
        )
        print("\n".join(seed_table.text(table)))
        first: Any = [run.config for run in next(iter(sweep.values()))]
        seeds = [config.seed for config in first]
        workdir = Path(arguments.workdir)
        seed_table.leave(workdir, "contraction.py", arguments, seeds, table)
        panels = {
            title: {first[0].kind: [row[column] for row in table.values()]}
            for column, title in COLUMNS.items()
        }
        figure = figures.lines(panels, list(sweep), "weight of the penalty", logarithmic=True)
        figure.savefig(workdir / "contraction.png", dpi=150)
        print(f"{workdir}/: table.json, contraction.png")


if __name__ == "__main__":
    main()
