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
