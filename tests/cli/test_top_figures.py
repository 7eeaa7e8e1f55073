"""What is made of two scrapes: rates, quantiles, and which of them there are."""

import pytest

from aionotify.cli.top_figures import Figures, figures, is_up, parse

START = """
aionotify_build_info{version="1"} 1
aionotify_streams 7
aionotify_events_delivered_total{source="live"} 100
aionotify_events_delivered_total{source="inbox"} 50
aionotify_requests_refused_total{code="a"} 3
aionotify_requests_refused_total{code="b"} 2
aionotify_origins_refused_total 1
aionotify_events_dropped_total{kind="ephemeral",reason="socket_full"} 5
aionotify_events_dropped_total{kind="durable",reason="repeated"} 900
aionotify_catch_ups_total{reason="socket_full"} 1
aionotify_catch_ups_total{reason="lost"} 800
aionotify_streams_closed_total{reason="stalled"} 0
aionotify_streams_closed_total{reason="gone"} 700
aionotify_check_ok{check="redis"} 1
aionotify_check_ok{check="store"} 1
aionotify_redis_probe_seconds 0.002
aionotify_delivery_latency_seconds_bucket{le="0.01"} 1000
aionotify_delivery_latency_seconds_bucket{le="0.1"} 1000
aionotify_delivery_latency_seconds_bucket{le="+Inf"} 1000
"""
LATER = (
    START.replace(" 100\n", " 300\n")
    .replace('{code="b"} 2', '{code="b"} 12')
    .replace('{reason="stalled"} 0', '{reason="stalled"} 4')
    .replace('le="0.1"} 1000', 'le="0.1"} 1100')
    .replace('le="+Inf"} 1000', 'le="+Inf"} 1100')
)


def seen(before: str | None, now: str, seconds: float = 10) -> Figures:
    earlier = None if before is None else parse(before, 100)[""]
    return figures(earlier, parse(now, 100 + seconds)[""])


def test_rates_are_what_was_counted_between_two_looks() -> None:
    shown = seen(START, LATER)
    assert (shown.streams, shown.events, shown.refused, shown.slow) == (7, 20, 1, 0.4)
    assert (shown.redis, shown.failing) == (0.002, [])


def test_a_first_look_has_no_rates() -> None:
    shown = seen(None, START)
    assert (shown.streams, shown.redis) == (7, 0.002)
    assert shown.events is shown.refused is shown.slow is shown.latency is shown.lag is None


def test_latency_is_of_what_was_delivered_between_two_looks() -> None:
    """All hundred between 10 and 100 ms: the 99th of them, if they are evenly spread, at 99.1."""
    assert seen(START, LATER).latency == pytest.approx(0.0991)
    assert seen(START, START).latency is None
    beyond = START.replace('le="+Inf"} 1000', 'le="+Inf"} 2000')
    assert seen(START, beyond).latency == 0.1


def test_a_node_that_was_restarted_has_no_rates_below_zero() -> None:
    shown = seen(LATER, START)
    assert (shown.events, shown.refused, shown.slow) == (0, 0, 0)
    assert shown.latency is None


def test_checks_that_fail_are_named_and_without_redis_there_is_no_probe() -> None:
    failing = START.replace('{check="redis"} 1', '{check="redis"} 0')
    assert seen(None, failing).redis is None
    assert seen(None, failing.replace('"store"} 1', '"store"} 0')).failing == ["redis", "store"]


def test_workers_are_told_apart_in_the_order_of_their_numbers() -> None:
    """One that does not answer is there, and is not up."""
    text = "".join(
        f'aionotify_worker_up{{worker="{n}"}} {int(n != 2)}\n'
        + (f'aionotify_build_info{{version="1",worker="{n}"}} 1\n' if n != 2 else "")
        for n in range(11)
    )
    scrapes = parse(text, 0)
    assert list(scrapes) == [str(n) for n in range(11)]
    assert [worker for worker, scrape in scrapes.items() if not is_up(scrape)] == ["2"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!doctype html>",
        "up 1\n",
        "a{b=} 1",
        "aionotify_streams x",
        START + "aionotify_check_ok 0\n",
        START + 'aionotify_check_ok{check="\x1b[2J"} 0\n',
        START + "aionotify_delivery_latency_seconds_bucket 1\n",
        START + 'aionotify_delivery_latency_seconds_bucket{le="x"} 1\n',
        START + 'aionotify_streams{worker="[/red]"} 1\n',
        START + 'aionotify_streams{worker="\x1b[2J"} 1\n',
    ],
)
def test_what_is_no_node_s_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it answers with"):
        parse(text, 0)
