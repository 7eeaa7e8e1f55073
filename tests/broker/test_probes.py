"""Probes: what is known once they are answered and heard, in whatever order."""

import pytest

from aionotify.broker.probes import Probes


@pytest.mark.parametrize("heard_first", [True, False])
def test_everything_before_a_probe_was_heard_when_it_is_answered_and_heard(
    heard_first: bool,
) -> None:
    probes = Probes()
    number = probes.send()
    if heard_first:
        told = probes.heard(number), probes.answered(number, 1000)
    else:
        told = probes.answered(number, 1000), probes.heard(number)
    assert told == (None, 1000)
    assert not probes.astray


def test_a_probe_that_is_not_heard_though_a_later_one_is_went_astray() -> None:
    """But not one whose answer has not come: it may not have been published."""
    probes = Probes()
    unanswered, lost, later = probes.send(), probes.send(), probes.send()
    probes.heard(later)
    before = probes.astray
    probes.answered(lost, 1000)
    assert probes.heard(probes.send()) is None
    after = probes.astray
    probes.forget()
    assert (before, after, probes.astray) == (False, True, False)
    assert probes.answered(unanswered, 500) is None


def test_probes_count_as_unheard_until_one_is_heard() -> None:
    probes = Probes()
    numbers = [probes.send(), probes.send()]
    before = probes.unheard
    probes.heard(numbers[0])
    assert (before, probes.unheard) == (2, 0)
    assert probes.lag >= 0


def test_answers_that_never_come_are_not_waited_for_for_ever() -> None:
    probes = Probes()
    numbers = [probes.send() for _ in range(100)]
    for number in numbers:
        probes.heard(number)
    assert probes.answered(numbers[0], 1000) is None
    assert probes.answered(numbers[-1], 2000) == 2000
