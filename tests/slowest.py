"""The slowest tests of a run as a table in Markdown: seconds with set-up and clean-up, as pytest writes them.

PYTEST_ADDOPTS=--junit-xml=.scratch/times.xml make test; python tests/slowest.py .scratch/times.xml
"""

import sys
from pathlib import Path
from xml.etree import ElementTree

COUNT = 20


def times(file):
    """Seconds of each test, by its file and name."""
    for case in ElementTree.parse(file).iter("testcase"):
        yield float(case.get("time")), f"{case.get('classname').replace('.', '/')}.py", case.get("name")


def table(files):
    """The table of all tests of these files."""
    found = sorted((one for file in files for one in times(file)), reverse=True)
    rows = [f"| {seconds:.1f} | `{path}` | {_cell(name)} |" for seconds, path, name in found[:COUNT]]
    rest = f"All {len(found):,} together: {sum(seconds for seconds, *_ in found):,.0f} s."
    return "\n".join(["| seconds | file | test |", "|---:|---|---|", *rows, "", rest])


def _cell(name):
    """A name without what its parameters are, which may be long."""
    return f"`{name.partition('[')[0]}`" + ("[…]" if "[" in name else "")


if __name__ == "__main__":
    print(table([Path(name) for name in sys.argv[1:]]))
