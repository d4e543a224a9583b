"""What a file of this project imports, read from its text: every statement counts, also inside functions."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"


def project_imports(path: Path) -> set[Path]:
    """Project modules that one file imports itself."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    own = {name.replace(".", "/") for name in names if name.split(".")[0] == "tunediff"}
    modules = {SOURCE / f"{name}.py" for name in own}
    # Importing a.b runs a/__init__.py first; those with a docstring alone do nothing.
    packages = {parent / "__init__.py" for name in own for parent in (SOURCE / name, *(SOURCE / name).parents)}
    return {file for file in modules | packages if file.exists() and _does_something(file)}


def _does_something(path: Path) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


def all_project_imports(path: Path) -> set[Path]:
    """Project modules that a file imports itself or through others."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        new = project_imports(waiting.pop()) - found
        found |= new
        waiting += new
    return found


def templates(modules: set[Path]) -> set[Path]:
    """Files that modules fill in: those of the folder `templates` beside them."""
    return {file for module in modules for file in module.parent.glob("templates/*") if file.is_file()}
