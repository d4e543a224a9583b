"""The pipeline as dvc.yaml has it, and the names of its stages in their order."""

import yaml

from tests.imports import ROOT

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = PIPELINE["stages"]
NAMES = [
    *("settings", "prepare", "base_model", "count_params", "predict_base", "eval_base", "features", "train"),
    *("predict_tuned", "eval_tuned", "diff_cases", "report"),
]
