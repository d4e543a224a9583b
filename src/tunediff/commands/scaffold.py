"""The pipeline of a project outside of this repository: dvc.yaml and the stage scripts of the installed tunediff.

    write_pipeline(Path("tickets"))      # dvc.yaml, stages/, graders/, .dvcignore, .dvc/plots, requirements.txt
    refresh()                            # in the project, after another version was installed

Its stages depend on the line of requirements.txt with the version, whereas those of a clone depend on the code; and its
data are in data/raw, whereas those of a clone may be anywhere.
"""

import shutil
from pathlib import Path

from tunediff.config.grade import GRADERS
from tunediff.runtime.files import read_text, replacing, write_text
from tunediff.runtime.hashing import files_hash
from tunediff.runtime.release import CARRIED, PACKAGE, REQUIREMENTS, named_in, requirement

# Files of a pipeline in addition to the package: in a clone next to src, in an installed package inside of it.
PIPELINE = ("dvc.yaml", "stages", GRADERS, ".dvcignore", ".dvc/plots")
RAW = Path("data/raw")
# Text of this repository's dvc.yaml, and its replacement in projects.
IN_PROJECTS = {
    "PYTHONPATH=src python": "python",
    "src/tunediff": str(REQUIREMENTS),
    '"${data.path}"': str(RAW),
    '"${pretrain.path}"': str(RAW),
    "${data.path}": str(RAW),
    "${pretrain.path}": str(RAW),
}


def write_pipeline(project: Path) -> list[str]:
    """Write the pipeline of the installed tunediff to a project; return the names of existing files that differed.

    Graders belong to the user and are not changed.
    """
    around = PACKAGE / CARRIED if (PACKAGE / CARRIED).is_dir() else PACKAGE.parents[1]
    changed = []
    for name in PIPELINE:
        source, target = around / name, project / name
        before = files_hash([target]) if target.exists() else None
        if name == "dvc.yaml":
            write_text(target, dvc_yaml(read_text(source)))
        elif name != GRADERS or before is None:
            copy(source, target)
        changed += [name] if before not in (None, files_hash([target])) else []
    _name_version(project / REQUIREMENTS)
    return changed


def dvc_yaml(text: str) -> str:
    """Return the dvc.yaml of a project, derived from that of this repository."""
    for ours, theirs in IN_PROJECTS.items():
        text = text.replace(ours, theirs)
    return text


def refresh() -> None:
    """Update the pipeline of the project in the current folder to the installed version, if it is of another one."""
    pipeline = Path("dvc.yaml")
    if not REQUIREMENTS.is_file() or not pipeline.is_file() or str(REQUIREMENTS) not in read_text(pipeline):
        return
    before = named_in(REQUIREMENTS)
    if before == requirement():
        return
    changed = write_pipeline(Path())
    print(f"{REQUIREMENTS}: {requirement()}, instead of {before}")
    if changed:
        print(f"  {', '.join(changed)}: replaced by those of this version", flush=True)


def _name_version(path: Path) -> None:
    """Write this version to a requirements file, keeping its other lines."""
    lines = read_text(path).splitlines() if path.is_file() else []
    before = named_in(path) if lines else None
    kept = [requirement() if before is not None and line.strip() == before else line for line in lines]
    text = "\n".join(kept if before is not None else [requirement(), *kept]) + "\n"
    if not path.is_file() or read_text(path) != text:
        write_text(path, text)


def copy(source: Path, target: Path) -> None:
    """Copy a file, or a folder without compiled Python files."""
    with replacing(target) as fresh:
        if source.is_dir():
            shutil.copytree(source, fresh, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copyfile(source, fresh)
