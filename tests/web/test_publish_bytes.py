"""How many bytes publish requests may hold together."""

import pytest

from aionotify.errors import PublishOverloaded
from aionotify.web.publish_bytes import PublishBytes


def test_what_a_request_held_is_free_when_it_ends() -> None:
    all_ = PublishBytes(100)
    with all_.request() as first, all_.request() as second:
        first.add(30)
        second.add(60)
        first.add(10)
        assert all_.held == 100
    assert all_.held == 0


def test_a_request_that_would_be_too_much_beside_others_is_refused_and_holds_nothing_more() -> None:
    all_ = PublishBytes(100)
    with all_.request() as first:
        first.add(60)
        with all_.request() as second:
            second.add(40)
            with pytest.raises(PublishOverloaded):
                second.add(1)
        assert all_.held == 60
        with all_.request() as third:
            third.add(40)


def test_one_request_alone_is_always_taken() -> None:
    """Or it would be refused for ever."""
    all_ = PublishBytes(100)
    with all_.request() as first:
        first.add(70)
        first.add(70)
        with pytest.raises(PublishOverloaded), all_.request() as second:
            second.add(1)
    assert all_.held == 0


def test_another_limit_counts_from_the_next_bytes_on() -> None:
    all_ = PublishBytes(100)
    with all_.request() as first, all_.request() as second:
        first.add(80)
        all_.adopt(PublishBytes(50))
        with pytest.raises(PublishOverloaded):
            second.add(1)
        all_.adopt(PublishBytes(200))
        second.add(100)
    assert all_.held == 0


def test_what_is_held_for_a_block_is_free_after_it() -> None:
    all_ = PublishBytes(100)
    with all_.request() as first, all_.request() as second:
        first.add(30)
        second.add(20)
        with first.also(50):
            assert all_.held == 100
        with pytest.raises(PublishOverloaded), second.also(71):
            pass
        assert all_.held == 50
    assert all_.held == 0
