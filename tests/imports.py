"""Where this project's files lie."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
