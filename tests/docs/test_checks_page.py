"""docs/checks.md says of every check what the code says of it; where this fails it shows the page as it should be."""

from tests.imports import ROOT
from tunediff.config.checks import CHECKS

HEAD = """# Checks

A failed check means that a figure should not be taken at face value. The stage `diff_cases` raises each check once and
writes it to `data/plots/checks.json`; the report and `tunediff diff` print it. To accept a known check, acknowledge it
in `params.yaml` with a reason, which the report prints:

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
