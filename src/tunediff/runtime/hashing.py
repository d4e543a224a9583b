"""Content hashes of JSON values and of files.

content_hash({"premise": "A dog."})      # 16 hexadecimal digits
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path


def content_hash(value: object) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a JSON value; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def files_hash(paths: Iterable[Path]) -> str:
    """Return the SHA-256 over the names and contents of files and folders, without .pyc files."""
    digest = hashlib.sha256()
    for path in paths:
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and file.suffix != ".pyc":
                digest.update(f"{path.name}/{file.relative_to(path)}\0".encode())
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
