"""What the bar of a download says."""

from captionseg.datasets.progress import Meter, Progress


def test_megabytes_and_shares_of_reasons() -> None:
    meter = Meter(start=-1e9)
    meter.add(Progress(3, 2_000_000, {"success": 2, "timed_out": 1}))
    meter.add(Progress(5, 0, {"success": 3, "not_found": 2}))
    text = str(meter)
    assert text.endswith(" MB/s, success 62.5%, not_found 25.0%, timed_out 12.5%")
    assert str(Meter()) == "0.0 MB/s"
