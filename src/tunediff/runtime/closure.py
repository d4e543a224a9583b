"""The code that a stage runs, found from its import statements, and a hash of each package of it.

    code_files(Path("stages/train.py"))      # {stages/train.py, src/tunediff/training/loop.py, ...}
    code_of(Path("stages/train.py"))         # {"models": "5f1c0e9a...", "stages": "c09b1f...", ...}

Every import counts, also inside functions. `config` is left out: what a stage takes of params.yaml stands as values in
its settings, which the stage `settings` makes anew whenever config changes.
"""

import ast
import hashlib
from collections import defaultdict
from functools import cache
from pathlib import Path

from tunediff.runtime.hashing import content_hash

PACKAGE = Path(__file__).parents[1]
LEFT_OUT = "config"


def code_of(script: Path) -> dict[str, str]:
    """The hash of what a stage runs of each package, by name; `stages` is its script, `config` is left out."""
    packages: dict[str, dict[str, str]] = defaultdict(dict)
    for file in code_files(script):
        place = Path("stages", file.name) if file == script else file.relative_to(PACKAGE)
        packages[place.parts[0]][str(place)] = hashlib.sha256(file.read_bytes()).hexdigest()
    return {name: content_hash(packages[name]) for name in sorted(packages) if name != LEFT_OUT}


def code_files(script: Path) -> set[Path]:
    """The script, the modules that it imports itself or through others, and the templates beside them."""
    found, waiting = {script}, [script]
    while waiting:
        new = project_imports(waiting.pop()) - found
        found |= new
        waiting += new
    return found | {file for module in found for file in module.parent.glob("templates/*") if file.is_file()}


@cache
def project_imports(path: Path) -> set[Path]:
    """The modules of this package that a file imports itself."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    parts = [name.split(".")[1:] for name in names if name.split(".")[0] == PACKAGE.name]
    modules = {PACKAGE.joinpath(*part).with_suffix(".py") for part in parts if part}
    # Importing a.b runs a/__init__.py first; those with a docstring alone do nothing.
    packages = {PACKAGE.joinpath(*part[:end], "__init__.py") for part in parts for end in range(len(part) + 1)}
    return {file for file in modules | packages if file.exists() and _does_something(file)}


@cache
def _does_something(path: Path) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)
