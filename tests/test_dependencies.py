"""What tests need is installed by `make test`, and in the versions that they ran with."""

import re
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.imports import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def names(requirements):
    """Names as package indexes compare them."""
    return {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in requirements}


USED = ("models", "minilm", "excel", "gguf", "remotes", "test", "dev")
DECLARED = names([*PROJECT["dependencies"], *(line for extra in USED for line in EXTRAS[extra])]) - {"tunediff"}
PINNED = names((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:])


def test_every_declared_package_is_pinned():
    assert set() == DECLARED - PINNED


SKIPPED_WITHOUT = {
    module
    for path in (ROOT / "tests").rglob("test_*.py")
    for module in re.findall(r"importorskip\(\"(\w+)\"", path.read_text(encoding="utf-8"))
}


@pytest.mark.slow
@pytest.mark.parametrize("module", sorted(SKIPPED_WITHOUT))
def test_no_test_is_skipped_for_want_of_a_package_that_nobody_declares(module):
    assert names(packages_distributions()[module]) <= DECLARED
