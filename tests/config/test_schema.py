"""Sections within sections: all problems at once, each by its name."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionotify.config import (
    SETTINGS,
    Config,
)
from tests.config.helpers import nested, outcome_of, problems_of


def test_problems_are_told_all_at_once() -> None:
    problems = problems_of(
        {
            "server": {"port": 0.5, "prot": 1},
            "auth": {"main_host": {"timeout": "x"}, "jwt": {"algorithms": ["none"]}},
            "stream": "fast",
            "nothing": {},
        }
    )
    assert list(problems) == [
        "auth.jwt.algorithms.0",
        "auth.main_host.timeout",
        "nothing",
        "server.port",
        "server.prot",
        "stream",
    ]


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("server.prot", "unknown; did you mean port?"),
        ("strem", "unknown; did you mean stream?"),
        ("stream.hartbeat", "unknown; did you mean heartbeat?"),
        ("server.heartbeat", "unknown; did you mean stream.heartbeat?"),
        ("heartbeat", "unknown; did you mean stream.heartbeat?"),
        ("auth.main_host.cache", "unknown; did you mean cache_ttl?"),
        ("cors.quagga", "unknown; known here: origins, headers"),
    ],
)
def test_an_unknown_key_is_refused_with_what_may_have_been_meant(path: str, hint: str) -> None:
    assert problems_of(nested(path, 1)) == {path: hint}


def test_a_section_has_to_be_a_mapping_and_its_text_is_not_shown() -> None:
    assert problems_of({"redis": "redis://:hunter2@host"}) == {"redis": "expected a mapping"}


def test_an_empty_section_has_its_defaults() -> None:
    assert Config.from_mapping({"server": None, "auth": {"jwt": None}}) == Config()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda below: (
            st.lists(below, max_size=3)
            | st.dictionaries(
                st.sampled_from([p for path in SETTINGS for p in path.split(".")]) | st.text(),
                below,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_mapping_is_a_configuration_or_a_configuration_error(value: object) -> None:
    mapping = {"server": value, "auth": value, "cors": value}
    outcome = outcome_of(partial(Config.from_mapping, mapping))
    assert isinstance(outcome, Config) or outcome.problems
