"""docs/checks.md says of every check what the code says of it; where this fails it shows the page as it should be."""

from tests.imports import ROOT
from tunediff.config.checks import CHECKS

HEAD = """# Checks

A result that fails a check is a figure that should not be believed as it stands. The stage `diff_cases` raises every
check once and writes `data/plots/checks.json`; the report and `tunediff diff` print it. A check that is known and
accepted is acknowledged in `params.yaml`, with the reason, which the report prints:

```yaml
checks:
  acknowledge:
    TD203: the same captions for both models
```

A code never changes its meaning.
"""


def page():
    parts = [f"## {code}: {check.name}\n\n{check.meaning}\n\n**What to do:** {check.action}\n"
             for code, check in CHECKS.items()]  # fmt: skip
    return "\n".join([HEAD, *parts])


def test_the_page_is_that_of_the_code():
    assert (ROOT / "docs" / "checks.md").read_text(encoding="utf-8") == page()
