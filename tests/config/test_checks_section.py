import pytest
from pydantic import ValidationError

from tunediff.config.checks import CHECKS, Checks


def test_a_known_code_with_a_reason_is_accepted():
    assert Checks(acknowledge=dict.fromkeys(CHECKS, "known")).acknowledge["TD203"] == "known"


@pytest.mark.parametrize(
    ("acknowledge", "message"),
    [
        ({"td203": "known"}, "found the unknown code 'td203'; did you mean TD203?"),
        ({"XX": "known"}, "found the unknown code 'XX'; expected one of TD101"),
        ({"TD203": " "}, "checks.acknowledge.TD203: found an empty reason"),
    ],
)
def test_an_unknown_code_and_an_empty_reason_are_refused(acknowledge, message):
    with pytest.raises(ValidationError, match=message.replace("?", r"\?")):
        Checks(acknowledge=acknowledge)
