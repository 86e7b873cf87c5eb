"""Settings of HTTP."""

import pytest

import captionseg
from captionseg.records import UserError
from captionseg.sources.fetching.params import HttpParams
from captionseg.typed import build


@pytest.mark.parametrize(
    ("field", "value"), [("allow", ("127.0.0.1/99",)), ("allow", ("home",)), ("contact", "a\nb")]
)
def test_params_that_mean_nothing(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        HttpParams(**{field: value})


def test_who_asks() -> None:
    agent = f"captionseg/{captionseg.__version__}"
    assert HttpParams().user_agent == agent
    assert HttpParams(contact="me@example.org").user_agent == f"{agent} (+me@example.org)"


def test_faults_have_their_path() -> None:
    with pytest.raises(UserError, match=r"^http: 'home' does not appear to be"):
        build(HttpParams, {"allow": ["home"]}, "http")
    with pytest.raises(UserError, match=r"^http\.retries: -1 is out of range"):
        build(HttpParams, {"retries": -1}, "http")
    assert build(HttpParams, {"opt_out": []}, "http").opt_out == ()
