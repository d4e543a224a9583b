"""Run a stage of dvc.yaml without DVC, and say in a JSON line what it took: steps, seconds, memory, matrix rate.

    python benchmarks/gpu/stage.py phi2-snli-a train --seconds 90 --rate rate.txt

In a folder that holds params.yaml, dvc.yaml and the stages (benchmarks/gpu/measure.py makes one). Script and arguments
are those of dvc.yaml. A training ends after the step in which so many seconds have passed since this process started;
what the stage does behind its last step, it still does. A step's time is from the end of the step before it, the
batches that are made in between counted in. The line comes however the stage ends.
"""

import argparse
import json
import runpy
import shlex
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import yaml

BEGAN = time.perf_counter()
# Steps at the beginning that are left out: kernels are loaded and memory is taken in them.
WARM = 5


def main() -> None:
    """Run the stage and print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="what the line is about")
    parser.add_argument("stage", help="of dvc.yaml")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="when training ends")
    parser.add_argument("--rate", type=Path, help="file with the matrix rate, as facts.py writes it")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an end for lack of time leaves a line too
    rate = float(given.rate.read_text()) if given.rate and given.rate.is_file() else None
    sys.argv = arguments_of(given.stage)
    clock = Clock(given.seconds, rate)
    if given.stage in ("base_model", "features", "train"):
        clock.watch()
    code: Any = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:
        code = error.code or 0
    except BaseException as error:
        code = f"{type(error).__name__}: {error}"[:600]
        raise
    finally:
        line = {"recipe": given.recipe, "stage": given.stage, "ended": code, **clock.found(), **memory()}
        cost = Path(f"metrics/cost/{given.stage}.json")
        if code == 0 and cost.is_file():
            line["cost"] = json.loads(cost.read_text(encoding="utf-8"))
        print(json.dumps(line | {"seconds": round(time.perf_counter() - BEGAN, 1)}), flush=True)
    sys.exit(code)


def arguments_of(stage: str) -> list[str]:
    """The script of a stage and its arguments, as dvc.yaml has them."""
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    command = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]["cmd"]
    for section in ("data", "pretrain"):
        command = command.replace(f"${{{section}.path}}", str(params[section]["path"]))
    words = shlex.split(command)
    found = words[words.index("python") + 1 :]
    if any("${" in word for word in found):
        sys.exit(f"{stage}: {command}: holds a value of params.yaml that is not known here")
    return found


class Clock:
    """Notes the time of each step of a training and the tokens that its model reads, and what features take."""

    def __init__(self, seconds: float, rate: float | None) -> None:
        self.seconds, self.rate = seconds, rate
        self.steps: list[float] = []
        self.tokens: list[Any] = []
        self.about: dict[str, Any] = {}
        self.inside, self.last, self.operations = False, 0.0, 0

    def watch(self) -> None:
        """Be called by every step of `tunediff.training.loop.Loop`, and by the reading of features."""
        import tunediff.training.features as features
        from tunediff.training.loop import Loop

        own, read = Loop._step, features.compute_features

        def step(loop: Any, parts: Any) -> Any:
            if not self.steps:
                self._begin(loop)
            self.inside = True
            self.tokens.append(0)
            found = own(loop, parts)  # it reads the loss, for which it waits for the GPU
            self.inside = False
            now = time.perf_counter()
            self.steps.append(now - self.last)
            self.last = now
            if now - BEGAN > self.seconds:
                loop.steps = loop.step
            return found

        def timed_read(loaded: Any, rows: Any, head: str) -> Any:
            start = time.perf_counter()
            found = read(loaded, rows, head)
            took, tokens = time.perf_counter() - start, sum(map(len, found))
            self.about |= {"rows": len(rows), "kept": len(found), "read_seconds": round(took, 2), "tokens": tokens}
            self.about |= self._share(2 * weights_of(loaded.model) * tokens / took)
            return found

        Loop._step = step  # type: ignore[method-assign]
        features.compute_features = timed_read

    def _begin(self, loop: Any) -> None:
        model, self.last = loop.model, time.perf_counter()
        self.about |= {"steps_asked": loop.steps, "seconds_before_training": round(self.last - BEGAN, 1)}
        self.about["batch"] = loop.train.per_device_train_batch_size * loop.train.gradient_accumulation_steps
        base = getattr(model, model.base_model_prefix, model)
        whole = any(value.requires_grad for value in base.parameters())
        # Forward 2 a weight and token; backward 2 to what the layer was given, and 2 more to its own weights.
        self.operations = 4 if hasattr(model, "peft_config") else 6 if whole else 2
        self.about["weights"] = weights_of(model)
        pad = model.config.pad_token_id

        def count(_: Any, inputs: tuple[Any, ...]) -> None:
            if self.inside:  # added up on the device: nothing waits for it
                self.tokens[-1] = self.tokens[-1] + (inputs[0] != (-1 if pad is None else pad)).sum()

        # What a frozen base said is kept, and it is not run: nothing reads tokens then.
        embeddings = getattr(model, "get_input_embeddings", lambda: None)
        try:
            embeddings().register_forward_pre_hook(count)
        except (AttributeError, NotImplementedError):
            self.about["tokens_per_step"] = None

    def found(self) -> dict[str, Any]:
        """What there is to say."""
        if not self.steps:
            return self.about
        warm = min(WARM, len(self.steps) - 1)
        kept, tokens = self.steps[warm:], [int(one) for one in self.tokens[: len(self.steps)]]
        line = {
            "steps": len(self.steps),
            "first_step_seconds": round(self.steps[0], 3),
            "step_seconds_median": round(statistics.median(kept), 5),
            "samples_per_second": round(self.about["batch"] * len(kept) / sum(kept), 2),
        }
        if sum(tokens):
            line["tokens_per_step"] = round(sum(tokens) / len(tokens), 1)
            line |= self._share(self.operations * self.about["weights"] * sum(tokens[warm:]) / sum(kept))
        return self.about | line

    def _share(self, operations: float) -> dict[str, float]:
        found = {"tflops": round(operations / 1e12, 3)}
        return found | ({"utilisation": round(operations / self.rate, 4)} if self.rate else {})


def weights_of(model: Any) -> int:
    """Weights of all linear layers but the output layer, as benchmarks/work.py counts them."""
    from torch import nn

    output = getattr(model, "lm_head", None)
    layers = [one for one in model.modules() if isinstance(one, nn.Linear) and one is not output]
    return sum(one.in_features * one.out_features for one in layers)


def memory() -> dict[str, float]:
    """The peaks of the GPU's memory in GiB; nothing without one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return {}
    free, whole = torch.cuda.mem_get_info()
    return {
        "peak_allocated_gib": round(torch.cuda.max_memory_allocated() / 2**30, 3),
        "peak_reserved_gib": round(torch.cuda.max_memory_reserved() / 2**30, 3),
        # CUDA's own context and managed memory too.
        "taken_of_the_card_gib": round((whole - free) / 2**30, 3),
    }


if __name__ == "__main__":
    main()
