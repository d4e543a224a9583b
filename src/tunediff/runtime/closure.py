"""Find the code that a stage runs from its import statements, and hash it per package.

    code_files(Path("stages/train.py"))      # {stages/train.py, src/tunediff/training/loop.py, ...}
    code_of(Path("stages/train.py"))         # {"models": "5f1c0e9a...", "stages": "c09b1f...", ...}

Imports inside functions count too. `config` is excluded: a stage reads params.yaml only through its settings file,
which the stage `settings` writes again whenever config changes.
"""

import ast
import hashlib
from collections import defaultdict
from functools import cache
from pathlib import Path

from tunediff.runtime.hashing import content_hash

PACKAGE = Path(__file__).parents[1]
EXCLUDED = "config"


def code_of(script: Path) -> dict[str, str]:
    """Return a hash per package of the files that a stage runs; `stages` is its script, `config` is excluded."""
    packages: dict[str, dict[str, str]] = defaultdict(dict)
    for file in code_files(script):
        path = Path("stages", file.name) if file == script else file.relative_to(PACKAGE)
        packages[path.parts[0]][str(path)] = hashlib.sha256(file.read_bytes()).hexdigest()
    return {name: content_hash(packages[name]) for name in sorted(packages) if name != EXCLUDED}


def code_files(script: Path) -> set[Path]:
    """Return the script, the modules that it imports directly or indirectly, and the templates next to them."""
    found, waiting = {script}, [script]
    while waiting:
        new = project_imports(waiting.pop()) - found
        found |= new
        waiting += new
    return found | {file for module in found for file in module.parent.glob("templates/*") if file.is_file()}


@cache
def project_imports(path: Path) -> set[Path]:
    """Return the modules of this package that a file imports directly."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    parts = [name.split(".")[1:] for name in names if name.split(".")[0] == PACKAGE.name]
    modules = {PACKAGE.joinpath(*part).with_suffix(".py") for part in parts if part}
    # Importing a.b runs a/__init__.py first.
    packages = {PACKAGE.joinpath(*part[:end], "__init__.py") for part in parts for end in range(len(part) + 1)}
    return {file for file in modules | packages if file.exists() and _has_code(file)}


@cache
def _has_code(path: Path) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)
