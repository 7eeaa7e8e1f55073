"""scripts/chaos finds what is wrong, says so, and says how it can be had again."""

import pytest

from tests.chaos import story
from tests.chaos.__main__ import main
from tests.chaos.faults import Fault, lose_everything, reset_readers

FEW = ("--nodes", "1", "--users", "3", "--streams", "2", "--minutes", "0.01")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, fault: Fault) -> int:
    monkeypatch.setattr(story, "FAULTS", (fault,))
    monkeypatch.setattr(story, "LONGEST", 0.2)
    monkeypatch.setattr("sys.argv", ["chaos", *FEW, *arguments])
    return main()


def test_story_of_a_fault_that_is_survived_ends_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """0, with a line for each fault, and how long it took until all was well."""
    fault = Fault("all hang up", reset_readers, "readers")
    assert run(monkeypatch, "--seed", "7", fault=fault) == 0
    output = capsys.readouterr().out
    assert output.startswith("Seed 7.\n")
    assert "ok    all hang up" in output
    assert "Every durable event, once, in order, to every stream. Seed 7." in output


def test_story_ends_with_the_first_violation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """1, at once: here for events that are gone, which nobody had said might happen."""
    fault = Fault("Redis lies", lose_everything, "", loses=False)
    assert run(monkeypatch, fault=fault) == 1
    output = capsys.readouterr().out
    assert output.startswith("Seed ")
    assert "wrong Redis lies" in output
    assert "a gap that nobody caused: lost" in output
