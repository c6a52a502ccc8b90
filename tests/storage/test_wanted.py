"""What a worker asks of the others' trials, on its way through a proxy of any version."""

from storage.wanted import ENDED_ALONE, EVERY_STEP, WantedReports


def test_workers_and_proxies_of_earlier_versions() -> None:
    """They name the reports of running trials alone: a bound, or whether all are wanted. A new worker asks such a proxy
    for all that it may need."""
    assert WantedReports.from_json({"live": True}) == WantedReports.from_json({"live": EVERY_STEP})
    assert WantedReports.from_json({"live": 16}) == WantedReports(running=16)
    assert WantedReports.from_json({"live": False}) == ENDED_ALONE
    for wanted in (ENDED_ALONE, WantedReports(16, 16), WantedReports(EVERY_STEP)):
        request = wanted.to_json()
        assert WantedReports.from_json(request) == wanted
        assert WantedReports.from_json({"live": request["live"]}).running >= wanted.running
