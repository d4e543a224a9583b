"""Merge the adapter into the base model's weights, and count the cases that each step flips.

    tunediff merge --out models/merged

The steps: base -> base in 4 bits -> tuned (the adapter on it) -> merged (the adapter in the unquantized weights). Each
model answers a test set as in the pipeline; the merged model is loaded from the written folder. The folder has
safetensors, configuration and tokenizer, so that transformers can load it, and merge.json with the figures. Run it
after the pipeline, if the tuned model is an adapter.

A merged model is also written if its answers differ from those of the tuned model; differences are reported. With
--max-flips N it is a gate for CI: exit code 3 if more than N cases flip between right and not right from the tuned
model to the merged one.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunediff.commands.chain import printed_lines
from tunediff.commands.gate import GATE_CLOSED
from tunediff.commands.project import (
    Project,
    add_set_argument,
    both_answer,
    confidence_of_run,
    output_folder,
    read_project,
)
from tunediff.compare.board import Answered
from tunediff.compare.chain import changed_cases, make_chain
from tunediff.config.tuned import loaded_as, unpacked
from tunediff.data.cases import Case
from tunediff.report.chain_page import chain_json
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import replacing, write_json

if TYPE_CHECKING:
    import pandas as pd

FIGURES = "merge.json"
NAMED = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff merge`."""
    parser.add_argument("--out", default="models/merged", help="folder to write to (models/merged)")
    parser.add_argument(
        "--max-flips", type=int, metavar="N", help="exit with code 3 if the merged model flips more cases than this"
    )
    add_set_argument(parser)


def main(args: argparse.Namespace) -> None:
    """Run `tunediff merge`.

    Raises:
        TunediffError: an argument or a file is invalid, there is no model yet, or it has no adapter to merge; then
            nothing is written.
    """
    if args.max_flips is not None and args.max_flips < 0:
        raise TunediffError(f"--max-flips: found {args.max_flips}, expected a number of cases of at least 0")
    out = output_folder(args.out, FIGURES)
    project = read_project(args.set)
    method = _adapter_method(project.tuned)
    if project.settings.model.quantization == "stored":
        raise TunediffError(
            "params.yaml: model.quantization: found stored, expected a base whose files hold plain weights, which an "
            "adapter can be merged into"
        )
    confidence = confidence_of_run()
    cases = project.cases()
    with replacing(out) as folder:
        frames = _answers(project, cases, folder)
        chain = make_chain(
            [Answered(name, frame, project.task.words.measure) for name, frame in frames.items()], confidence
        )
        changed = changed_cases(chain, ("tuned", "merged"))
        figures = {"method": method, "set": project.set_name, **chain_json(chain)}
        write_json(folder / FIGURES, {**figures, "changed_cases": changed})
    print(f"merge: {' -> '.join(chain.names)}, on {len(cases):,} test cases")
    print("\n".join(printed_lines(chain)))
    print(f"  written to {out}, the figures to {out / FIGURES}")
    last = next(step for step in chain.steps if step["after"] == "merged")
    sys.stdout.flush()
    if changed:
        print("\n".join(warning(last, changed)), file=sys.stderr)
    else:
        print(f"The merged model gives the same answers as the tuned model on all {len(cases):,} cases.")
    if args.max_flips is not None and last["flips"] > args.max_flips:
        print(f"tunediff: flips: found {last['flips']:,}, more than the {args.max_flips:,} allowed", file=sys.stderr)
        sys.exit(GATE_CLOSED)


def _adapter_method(tuned: Path) -> str | None:
    """The method that the adapter of a tuned model was trained with, if known.

    Raises:
        TunediffError: the tuned model is not an adapter.
    """
    from tunediff.models.tuned import read_tuned

    manifest = read_tuned(tuned)
    method, form = manifest.get("method"), manifest["form"]
    if form != "adapter":
        by = f" (adapt.method {method})" if method is not None else ""
        raise TunediffError(f"{tuned}: form: found {form}{by}, which has nothing to merge; expected an adapter")
    return method


def _answers(project: Project, cases: Sequence[Case], folder: Path) -> dict[str, "pd.DataFrame"]:
    """The predictions of each model of the chain, by name; writes the merged model to `folder`."""
    from dataclasses import replace

    from tunediff.engines.local.transformers_engine import TransformersEngine, open_local
    from tunediff.models.merge import load_whole, merge_adapter, save_merged
    from tunediff.models.tuned import load_tuned, read_tuned

    settings, labels = project.settings, project.settings.headline.labels
    model, held = unpacked(settings.model), settings.model.quantization
    quantized = held != "none"
    frames = {}
    engine = open_local(settings.model_copy(update={"model": model}), project.base)
    if quantized:
        frames["base"] = project.ask(engine, cases, "base")
    merged = merge_adapter(load_tuned(engine.loaded, project.tuned, packed=False).model)
    save_merged(replace(engine.loaded, model=merged), folder)
    del engine, merged  # before the next copy of the weights is loaded
    loaded = load_whole(folder, unpacked(loaded_as(model, read_tuned(project.tuned))), labels)
    answers = project.ask(TransformersEngine(loaded, settings.evaluate.batch_tokens), cases, "merged")
    del loaded
    frames[f"{held.upper()} base" if quantized else "base"], frames["tuned"] = both_answer(project, cases)
    return frames | {"merged": answers}


def warning(step: Mapping[str, Any], changed: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a warning if the answers of the merged model differ from those of the tuned model."""
    yield (
        f"tunediff: THE MERGED MODEL DIFFERS FROM THE TUNED MODEL: it answers {step['changed']:,} of {step['n']:,} "
        f"cases differently ({step['repaired']:,} repaired, {step['broken']:,} broken). Results measured on the "
        "tuned model do not apply to it."
    )
    for case in changed[:NAMED]:
        yield (
            f"  {case['case_id']} ({case['label']}): tuned {case['tuned_prediction']}, "
            f"merged {case['merged_prediction']}"
        )
    if len(changed) > NAMED:
        yield f"  and {len(changed) - NAMED:,} more in {FIGURES}"
