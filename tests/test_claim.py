"""Who may write in a run directory: nothing is left of a run that never began, nothing is lost."""

import json
import os
from pathlib import Path

import pytest

from aejax.errors import UsageError
from aejax.runs.claim import check_directory, claimed, has_begun

RUN = Path("runs/a")


def begin(directory=RUN, text="old"):
    """What a run leaves that has begun."""
    (directory / "checkpoints" / "10").mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    (directory / "metrics.jsonl").write_text(f'"{text}"\n')


def fail(work, **options):
    """A new run that does some work in its directory, and then fails."""
    with claimed(RUN, resume=False, **options):
        work()
        raise RuntimeError("while tracing")


def write_config():
    (RUN / "config.json").write_text('{"new": 1}')
    (RUN / "events").mkdir()


def test_what_fails_before_it_begins_leaves_nothing():
    with pytest.raises(RuntimeError):
        fail(write_config)
    assert not Path("runs").exists()
    RUN.mkdir(parents=True)
    with pytest.raises(RuntimeError):
        fail(write_config)
    assert os.listdir(RUN) == ["run.lock"]


def test_what_fails_after_it_has_begun_stays():
    with pytest.raises(RuntimeError):
        fail(begin)
    assert has_begun(RUN)
    with pytest.raises(UsageError, match="already holds a run"):
        check_directory(RUN, resume=False)


def test_what_was_killed_before_it_began_is_no_run():
    RUN.mkdir(parents=True)
    (RUN / "config.json").write_text("{}")
    (RUN / "checkpoints").mkdir()
    check_directory(RUN, resume=False)
    with claimed(RUN, resume=False):
        assert os.listdir(RUN) == ["run.lock"]
        begin()


def test_a_replaced_run_is_put_back_until_the_new_one_has_begun():
    begin()
    (RUN / "evaluation_test_10.json").write_text("{}")
    with pytest.raises(RuntimeError):
        fail(write_config, overwrite=True)
    assert json.loads((RUN / "metrics.jsonl").read_text()) == "old"
    assert sorted(os.listdir(RUN)) == [
        "checkpoints", "config.json", "evaluation_test_10.json", "metrics.jsonl", "run.lock",
    ]  # fmt: skip
    with claimed(RUN, resume=False, overwrite=True):
        begin(text="new")
    assert json.loads((RUN / "metrics.jsonl").read_text()) == "new"
    assert sorted(os.listdir(RUN)) == ["checkpoints", "config.json", "metrics.jsonl", "run.lock"]


def test_a_replacement_that_was_killed_as_it_began_loses_nothing():
    begin(RUN / "overwritten")
    (RUN / "config.json").write_text('{"new": 1}')
    with pytest.raises(UsageError, match="already holds a run"):
        check_directory(RUN, resume=False)
    with pytest.raises(UsageError, match="already holds a run"), claimed(RUN, resume=False):
        pass
    assert json.loads((RUN / "metrics.jsonl").read_text()) == "old"
    assert not (RUN / "overwritten").exists()


def test_files_of_a_person_are_never_replaced():
    begin()
    (RUN / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds notes\.txt, which is no run's"):
        check_directory(RUN, resume=False, overwrite=True)
    with (
        pytest.raises(UsageError, match=r"notes\.txt"),
        claimed(RUN, resume=False, overwrite=True),
    ):
        pass
    assert (RUN / "notes.txt").read_text() == "mine"
    assert has_begun(RUN)


def test_another_process_files_are_left_alone():
    with claimed(RUN, resume=False):
        (RUN / "config.json").write_text("{}")
        with pytest.raises(UsageError, match="another process trains"), claimed(RUN, resume=False):
            pass
        assert (RUN / "config.json").exists()
        begin_metrics = RUN / "metrics.jsonl"
        begin_metrics.write_text("1\n")
    assert begin_metrics.exists()
