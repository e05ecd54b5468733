"""Each room imports only from those above it; the library knows the experiments in one place."""

import ast
from pathlib import Path

import pytest

import aejax

ROOT = Path(aejax.__file__).parent
ROOMS = (
    # A leaf that loads nothing of ours.
    {"errors", "types", "settings", "streams", "quiet", "release", "lazily"},
    # Formulas: arrays in, unreduced arrays out.
    {
        "admission",
        "aggregate_posterior",
        "axes",
        "bounds",
        "corruptions",
        "dequantization",
        "divergences",
        "estimators",
        "flops",
        "latents",
        "likelihoods",
        "metrics",
        "penalties",
        "precision",
        "priors",
        "schedules",
    },
    {"music"},
    {"nets"},
    {"models"},
    {"objectives"},
    {"data"},
    {"processes"},
    {"training"},
    {"evaluation"},
    {"judging"},
    {"figures"},
    {"registry"},
    {"runs"},
    {"populations"},
    {"cli"},
    {"experiments"},
)
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
FILES = [p for p in sorted(ROOT.rglob("*.py")) if p.relative_to(ROOT).parts != ("__init__.py",)]


def room_of(parts):
    return parts[0].removesuffix(".py")


def imports(path):
    """The rooms that a file imports from, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "aejax":
            parts = node.module.split(".")[1:]
            yield from [parts[0]] if parts else [alias.name for alias in node.names]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_each_room_imports_from_rooms_above_it(path):
    room = room_of(path.relative_to(ROOT).parts)
    assert room in LEVEL, f"say in tests/test_layers.py where the room {room} stands"
    for other in imports(path):
        above = LEVEL[other] < LEVEL[room] or other == room or LEVEL[other] == LEVEL[room] == 1
        assert above or {room, other} <= ROOMS[0], f"{path} imports {other}, which is not above it"


def test_no_import_of_ours_hides_under_type_checking():
    """But in a script, of what needs an extra."""
    for path in FILES:
        if room_of(path.relative_to(ROOT).parts) == "experiments":  # here where it is installed
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                hidden = [n.module for n in ast.walk(node) if isinstance(n, ast.ImportFrom)]
                assert not [m for m in hidden if m.startswith("aejax")], path


def test_only_the_registry_knows_the_experiments():
    naming = [
        p.relative_to(ROOT)
        for p in FILES
        if "aejax.experiments" in p.read_text()
        and room_of(p.relative_to(ROOT).parts) != "experiments"
    ]
    assert {str(p) for p in naming} <= {"registry.py", "runs/opening.py"}
