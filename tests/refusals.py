"""What is refused, in one line."""

import pytest

from tunediff.runtime.errors import TunediffError


def line_of(function):
    with pytest.raises(TunediffError) as caught:
        function()
    [line] = caught.value.args
    assert "\n" not in line
    return line
