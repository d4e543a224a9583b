"""Print the slowest tests of a run as a table in Markdown: seconds with set-up and clean-up, as pytest writes them.

make test-all; python tests/slowest.py .scratch/test.xml .scratch/test-all.xml
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
    rest = f"All {len(found):,} tests together: {sum(seconds for seconds, *_ in found):,.0f} s."
    return "\n".join(["| seconds | file | test |", "|---:|---|---|", *rows, "", rest])


def _cell(name):
    """A name without its parameters, which may be long, and without the group that pytest-xdist appends."""
    return f"`{name.partition('[')[0].partition('@')[0]}`" + ("[…]" if "[" in name else "")


if __name__ == "__main__":
    print(table([Path(name) for name in sys.argv[1:]]))
