"""Sentences about the two models as inspected after loading, independent of params.yaml.

loaded_models(results)
# ["The base model as loaded: 14 of 14 linear layers in NF4, all other weights float32; its output layer is the
#   checkpoint's.", "The tuned model as loaded: ...; an adapter is active on 14 layers."]
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tunediff.report.notation import capitalised, counted, whole
from tunediff.report.results import Results
from tunediff.runtime.files import visible

# The model of each prediction stage.
WHO = {"predict_base": "base", "predict_tuned": "tuned"}
# Types of layers packed by bitsandbytes, as in the table of parameters.
PACKED = ("nf4", "fp4", "int8")
HEADS = {
    "new": "its head is new",
    "checkpoint": "its output layer is the checkpoint's",
    "trained": "its head is trained",
}


def loaded_models(results: Results) -> list[str]:
    """Return a sentence for each inspected model, and one for each disagreement with the parameter counts."""
    sentences = []
    for stage, who in WHO.items():
        if found := results.loaded.get(stage):
            name = getattr(results.models, who)
            parts = _served(found) if "served" in found else _parts(found)
            sentences.append(f"The {name} as {'served' if 'served' in found else 'loaded'}: {'; '.join(parts)}.")
            sentences += [f"{capitalised(visible(str(caution)))}." for caution in _cautions(found)]
            sentences += _miscounted(found, stage, results.count_params)
    counts = sum(row["dtype"] in PACKED for row in results.parameters)
    inspected = results.loaded.get("predict_tuned") or results.loaded.get("predict_base", {})
    packed = sum(_kinds(inspected).values())
    if results.parameters and "quantized_layers" in inspected and packed != counts:
        sentences.append(
            f"The counts, derived from the layout alone, assume {counted(counts, 'layer')} to be packed, but "
            f"{whole(packed)} {'was' if packed == 1 else 'were'}: their memory figures do not apply."
        )
    return sentences


def _miscounted(found: Mapping[str, Any], stage: str, counts: Mapping[str, float]) -> Iterator[str]:
    """A disagreement between the parameters of a model and the counts derived from its layout."""
    if "parameters" not in found or not counts or found.get("adapted_layers"):
        return
    base = "base_with_head_total" if found.get("head") == "new" else "base_total"
    expected = int(counts["tuned_total" if stage == "predict_tuned" else base])
    if (held := int(found["parameters"])) != expected:
        yield f"It has {whole(held)} parameters; the counts, derived from the layout alone, give {whole(expected)}."


def _kinds(found: Mapping[str, Any]) -> dict[str, int]:
    """The number of packed layers by format."""
    kinds = found.get("quantized_layers")
    if not isinstance(kinds, dict):
        return {}
    return {visible(str(name)).upper(): int(n) for name, n in kinds.items()}


def _cautions(found: Mapping[str, Any]) -> list[Any]:
    cautions = found.get("cautions")
    return cautions if isinstance(cautions, list) else []


def _served(found: Mapping[str, Any]) -> Iterator[str]:
    """Results of the checks of a server before the first case."""
    yield f"{visible(str(found['served']))} at {visible(str(found.get('url')))}"
    if "scoring" in found:
        yield f"choices are scored {visible(str(found['scoring']))}"
    measured = {
        "repeat_nats": "requested again",
        "aligned_nats": "read back after generation",
        "cut_nats": "cut in two",
    }
    off = [f"{words} {found[key]:.2g}" for key, words in measured.items() if isinstance(found.get(key), int | float)]
    if off:
        yield f"log-probabilities of the same tokens differ by at most ({', '.join(off)}) nats"


def _parts(found: Mapping[str, Any]) -> Iterator[str]:
    linear, packed = int(found.get("linear_layers", 0)), _kinds(found)
    kinds = [visible(str(name)) for name in found.get("dtypes", {})]
    packed_layers = " and ".join(
        f"{whole(n)} of {counted(linear, 'linear layer')} in {name}" for name, n in packed.items()
    )
    yield (
        f"{packed_layers}, all other weights {' and '.join(kinds)}"
        if packed
        else f"no layer is packed, all weights {' and '.join(kinds)}"
    )
    if found.get("head") in HEADS:
        yield HEADS[found["head"]]
    if labels := found.get("labels"):
        yield f"its outputs are {', '.join(visible(str(label)) for label in labels)}, in this order"
    if adapted := int(found.get("adapted_layers", 0)):
        idle = int(found.get("idle_layers", 0))
        learned = f", of which {whole(idle)} learned nothing" if idle else ""
        yield f"an adapter is active on {counted(adapted, 'layer')}{learned}"
