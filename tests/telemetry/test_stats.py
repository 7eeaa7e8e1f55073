"""What is counted is counted where it belongs."""

from aionotify.telemetry.stats import Histogram


def test_a_histogram_puts_each_value_in_the_first_bucket_that_has_room_for_it() -> None:
    """A bound belongs to its bucket, as Prometheus' ``le`` says."""
    histogram = Histogram(0.1, 1.0)
    for value in (0.0, 0.1, 0.5, 1.0, 7.0):
        histogram.observe(value)
    assert histogram.buckets == [2, 2, 1]
    assert histogram.sum == 8.6
