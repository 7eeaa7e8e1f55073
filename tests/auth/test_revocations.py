"""What is known of a user is of no use once their rights have changed."""

from aionotify.auth.revocations import Revocations


def test_what_was_learned_before_a_change_is_outdated_and_what_comes_after_is_not() -> None:
    forgotten = Revocations(10)
    before = forgotten.now
    forgotten.add("alice")
    after = forgotten.now
    assert forgotten.since(before, "alice")
    assert not forgotten.since(after, "alice")
    forgotten.add("alice")
    assert forgotten.since(after, "alice")


def test_others_are_not_concerned() -> None:
    forgotten = Revocations(10)
    before = forgotten.now
    forgotten.add("alice")
    assert not forgotten.since(before, "bob")


def test_who_had_to_go_for_others_stays_forgotten() -> None:
    """At the price of asking again about whoever was known before that, and nobody later."""
    forgotten = Revocations(3)
    before = forgotten.now
    forgotten.add("alice")
    between = forgotten.now
    for other in "abcd":
        forgotten.add(other)
    assert forgotten.since(before, "alice")
    assert forgotten.since(before, "bob")
    assert not forgotten.since(forgotten.now, "alice")
    assert forgotten.since(between, "a")


def test_numbers_tell_what_was_learned_at_another_node() -> None:
    """One that is heard twice, or late, or without a number, takes nothing back."""
    revocations = Revocations(10)
    for number in (7.0, 5.0, 0.0):
        revocations.add("alice", number)
    assert revocations.outdates(6, "alice")
    assert not revocations.outdates(7, "alice")
    assert not revocations.outdates(0, "bob")
    assert revocations.knows(7, "alice")
    assert not revocations.knows(8, "alice")


def test_what_is_forgotten_counts_for_nobody_and_numbers_begin_anew() -> None:
    """Those of a Redis that has lost its own may be below the ones from before."""
    revocations = Revocations()
    revocations.number = 1000
    revocations.add("alice", 1000)
    learned = revocations.now
    revocations.forget(7)
    for user in ("alice", "bob"):
        assert revocations.since(learned, user)
        assert not revocations.since(revocations.now, user)
        assert revocations.outdates(6, user)
        assert not revocations.outdates(7, user)
    assert revocations.number == 7
    assert not revocations.miss(7)


def test_the_number_of_who_had_to_go_counts_for_everybody() -> None:
    revocations = Revocations(1)
    revocations.add("alice", 7)
    revocations.add("bob", 9)
    assert revocations.outdates(6, "alice")
    assert revocations.outdates(6, "carol")
    assert not revocations.outdates(7, "carol")
    assert revocations.outdates(8, "bob")
