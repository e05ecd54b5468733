"""What a finished run leaves and says: the summary, the results and the figures."""

from typing import Any

import jax
import numpy as np

from aejax.runs import directory as files
from aejax.runs.run import Run
from aejax.runs.splits import Splits


def leave_report(run: Run, splits: Splits, total_seconds: float) -> None:
    """Leaves the summary, the results and the figures, and says where they are."""
    files.write_json(run.workdir / files.SUMMARY, _summary(run, total_seconds))
    if run.metrics:
        print(f"test, {len(splits.test):,} images: {run.config.headline(run.metrics)}")
    for name, value in leave_results(run, splits).items():
        print(f"  {name:40s} {value:.4g}")
    folder = run.workdir / files.FIGURES
    folder.mkdir(exist_ok=True)
    names = []
    for name, figure in run.config.figures(run, splits.test):
        figure.savefig(folder / f"{name}.png", dpi=150)
        names.append(name)
    print(f"figures in {folder}/: {', '.join(names)}")


def _summary(run: Run, total_seconds: float) -> dict[str, Any]:
    # A member of a population has no rate of its own.
    lines = [r for r in run.history if r["split"] == "train"]
    rates = [r["images_per_second"] for r in lines if "images_per_second" in r]
    return {
        "test": run.metrics,
        "epochs": max((r["epoch"] for r in lines), default=0),
        "steps": max((r["step"] for r in lines), default=0),
        "used_step": int(run.state.step),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(run.state.params)),
        "seconds": total_seconds,
        "images_per_second": float(np.median(rates)) if rates else None,
    }


def leave_results(run: Run, splits: Splits) -> dict[str, float]:
    """What the experiment measures beside the metrics, which it leaves in `results.json`."""
    results = run.config.results(run, splits.train, splits.test)
    if results:
        files.write_json(run.workdir / files.RESULTS, results)
    return results
