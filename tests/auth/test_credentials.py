"""Where a request carries its token, and when that counts."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionotify.auth import CredentialsMissing, InvalidScheme
from aionotify.auth.credentials import MAX_TOKEN, bearer_token
from tests.auth.helpers import make_request

B64TOKEN = string.ascii_letters + string.digits + "-._~+/"
ALLOWED = ("https://app.example.com",)
COOKIE = ("Cookie", "session=tok.en")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_case_insensitive(scheme: str) -> None:
    assert bearer_token(make_request(("Authorization", f"{scheme} abc"))) == "abc"


@given(st.text(B64TOKEN, min_size=1), st.text("=", max_size=3))
def test_every_b64token_is_returned_as_it_came(token: str, padding: str) -> None:
    request = make_request(("Authorization", f"Bearer {token}{padding}"))
    assert bearer_token(request) == token + padding


def test_a_request_without_a_token_is_told_so() -> None:
    with pytest.raises(CredentialsMissing):
        bearer_token(make_request())


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearerabc",
        "Basic dXNlcjpwYXNz",
        "Bearer a b",
        "Bearer a,b",
        "Bearer a, Bearer b",
        'Bearer "a"',
        "Bearer =",
        "Bearer a=b",
        "Bearer\tabc",
        "Bearer abc\t",
        "Bearer a\x00b",
        "Bearer a\r\nX-User: 1",
        "Bearer a\n",
        "Bearer ü",
        "Bearer \u212a",
        "Bea\u017fer abc",
        "Token abc",
    ],
)
def test_what_is_not_one_bearer_token_is_refused(value: str) -> None:
    with pytest.raises(InvalidScheme):
        bearer_token(make_request(("Authorization", value)))


@pytest.mark.parametrize("second", ["Bearer a", "Bearer b", "Basic x", ""])
def test_two_authorization_headers_are_refused_even_when_they_agree(second: str) -> None:
    """A proxy in front may have looked at the other one."""
    with pytest.raises(InvalidScheme, match="more than one"):
        bearer_token(make_request(("Authorization", "Bearer a"), ("authorization", second)))


def test_a_token_may_have_4096_characters_and_no_more() -> None:
    longest = "a" * MAX_TOKEN
    assert bearer_token(make_request(("Authorization", f"Bearer {longest}"))) == longest
    with pytest.raises(InvalidScheme, match="longer"):
        bearer_token(make_request(("Authorization", f"Bearer {longest}a")))


@given(st.text() | st.text(B64TOKEN + " =,\0\n").map("Bearer {}".format))
def test_any_header_value_gives_a_clean_token_or_a_refusal(value: str) -> None:
    try:
        token = bearer_token(make_request(("Authorization", value)))
    except InvalidScheme:
        return
    assert set(token) <= set(B64TOKEN + "=")
    assert value.lower().startswith("bearer ")


def test_a_cookie_does_not_count_unless_it_is_configured() -> None:
    with pytest.raises(CredentialsMissing):
        bearer_token(make_request(COOKIE))
    assert bearer_token(make_request(COOKIE), "session") == "tok.en"


@pytest.mark.parametrize(
    "cookies", [["t=alice; t=bob"], ["t=alice", "t=bob"], ["t=alice;x=1; t=", "x=1"]]
)
def test_of_two_cookies_that_differ_none_counts(cookies: list[str]) -> None:
    """Whatever is in front may have looked at the other one."""
    request = make_request(*(("Cookie", cookie) for cookie in cookies))
    with pytest.raises(InvalidScheme, match="more than one cookie"):
        bearer_token(request, "t")


def test_a_cookie_that_is_sent_twice_is_one() -> None:
    assert bearer_token(make_request(("Cookie", "t=alice; x=1; t=alice")), "t") == "alice"


def test_the_header_wins_over_the_cookie_even_when_it_is_wrong() -> None:
    header = ("Authorization", "Bearer head")
    assert bearer_token(make_request(COOKIE, header), "session") == "head"
    with pytest.raises(InvalidScheme):
        bearer_token(make_request(COOKIE, ("Authorization", "Basic x")), "session")


@pytest.mark.parametrize("value", ["a%3Ab", "a,b", "a=b", "a" * (MAX_TOKEN + 1)])
def test_a_cookie_that_cannot_be_a_bearer_token_is_refused(value: str) -> None:
    with pytest.raises(InvalidScheme):
        bearer_token(make_request(("Cookie", f"session={value}")), "session")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Origin", "https://push.example.com"), ("Host", "push.example.com")],
        [("Origin", "http://Push.example.com:8001"), ("Host", "push.example.com:8001")],
        [("Origin", "https://app.example.com"), ("Host", "push.example.com")],
        [("Origin", "https://app.example.com"), ("Sec-Fetch-Site", "cross-site")],
        [("Origin", "https://outside"), ("Host", "inside"), ("Sec-Fetch-Site", "same-origin")],
        [("Sec-Fetch-Site", "same-origin")],
        [("Sec-Fetch-Site", "none")],
    ],
)
def test_a_cookie_counts_from_our_own_origin_and_the_allowed_ones(
    headers: list[tuple[str, str]],
) -> None:
    assert bearer_token(make_request(COOKIE, *headers), "session", ALLOWED) == "tok.en"


@pytest.mark.parametrize(
    "headers",
    [
        [("Origin", "https://evil.example"), ("Host", "push.example.com")],
        [("Origin", "null"), ("Host", "push.example.com")],
        [("Origin", ""), ("Host", "push.example.com")],
        [("Origin", "*"), ("Host", "push.example.com")],
        [("Origin", "push.example.com"), ("Host", "push.example.com")],
        [("Origin", "https://push.example.com.evil.example"), ("Host", "push.example.com")],
        [("Origin", "https://app.example.com.evil.example"), ("Host", "push.example.com")],
        [("Origin", "https://app.example.com@evil.example"), ("Host", "push.example.com")],
        [("Origin", "http://app.example.com"), ("Host", "push.example.com")],
        [("Origin", "https://push.example.com:444"), ("Host", "push.example.com")],
        [("Origin", "https://app.example.com"), ("Origin", "https://evil.example")],
        [("Origin", "https://a, https://app.example.com"), ("Host", "push.example.com")],
        [("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "same-site")],
        [
            ("Origin", "http://push.example.com"),
            ("Host", "push.example.com"),
            ("Sec-Fetch-Site", "cross-site"),
        ],
        [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "none")],
    ],
)
def test_a_cookie_that_another_site_made_the_browser_send_does_not_count(
    headers: list[tuple[str, str]],
) -> None:
    with pytest.raises(CredentialsMissing, match="another origin"):
        bearer_token(make_request(COOKIE, *headers), "session", ALLOWED)


def test_a_header_counts_from_any_origin_because_no_browser_adds_it_by_itself() -> None:
    request = make_request(("Authorization", "Bearer a"), ("Origin", "https://evil.example"))
    assert bearer_token(request, "session", ALLOWED) == "a"


@given(
    st.text() | st.text(B64TOKEN + '=;, "').map("session={}".format),
    st.text() | st.sampled_from([*ALLOWED, "https://push"]),
)
def test_any_cookie_and_origin_give_a_clean_token_or_a_refusal(cookie: str, origin: str) -> None:
    request = make_request(("Cookie", cookie), ("Origin", origin), ("Host", "push"))
    try:
        token = bearer_token(request, "session", ALLOWED)
    except (CredentialsMissing, InvalidScheme):
        return
    assert set(token) <= set(B64TOKEN + "=")
    assert origin in ALLOWED or origin.lower().endswith("://push")


def test_an_origin_of_star_in_the_configuration_opens_nothing_for_cookies() -> None:
    request = make_request(COOKIE, ("Origin", "https://evil.example"), ("Host", "push"))
    with pytest.raises(CredentialsMissing):
        bearer_token(request, "session", ("*",))
