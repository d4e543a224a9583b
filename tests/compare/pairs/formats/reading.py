"""Write a file as another tool would, and read it."""

import json

import pandas as pd

from tunediff.compare.pairs.prediction_files import read_predictions
from tunediff.compare.pairs.predictions import Fields


def read(folder, name, content, fields=None, **options):
    """The predictions of a file of JSON (.json), JSON lines (.jsonl), rows (.parquet) or bytes."""
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    elif name.endswith(".parquet"):
        pd.DataFrame(content).to_parquet(path)
    else:
        path.write_text(json.dumps(content), encoding="utf-8")
    (found,) = read_predictions(path, fields or Fields(), **options)
    return found


def told(found, *columns):
    """Some columns of predictions, row by row, None where a cell is empty."""
    frame = found.frame[list(columns)].astype(object)
    return frame.where(frame.notna(), None).to_numpy().tolist()
