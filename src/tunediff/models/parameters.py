"""Sum up parameter counts: base, head, adapter, and possible explanations of a published count.

The rows come from `tunediff.models.counts`, one per tensor. BERT with a span head (system E):

    rows = count_parameters(config, head="span")
    totals(rows)["base_total"]             # 109_482_240
    totals(rows)["removed"]                # 590_592: the pooler, which a span head does not read
    totals(rows)["head_added"]             # 1_538
    totals(rows)["base_with_head_total"]   # 108_893_186

Three numbers that are often confused have separate keys: logical parameters (as in a model card; tied weights count
once), stored elements (`packed`: two 4-bit weights share a byte, so `sum(p.numel())` over a loaded 4-bit model counts
them as one) and bytes.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import prod
from typing import Any, NamedTuple

# With more parts, several combinations may explain a difference by chance.
MOST_PARTS = 3


class ParameterRow(NamedTuple):
    """One tensor of the tuned model, or one of the base that the tuned model no longer has."""

    module: str  # as in the tuned model: "model.layers.0.self_attn.q_proj"
    parameter: str  # weight, bias, lora_A or lora_B
    part: str  # base, head or adapter
    kind: str  # embedding, linear, norm or other
    shape: tuple[int, ...]
    # In memory: a floating type; "nf4", "fp4" or "int8" (packed); "tied" (to a tensor counted above); "removed".
    dtype: str
    base: int  # logical parameters before fine-tuning
    tuned: int  # logical parameters after
    stored: int  # elements in memory after; two NF4 weights are one
    bytes: int  # in memory after, quantization constants included
    trainable: bool | None  # whether fine-tuning trains it; None: not known


class ModuleRow(NamedTuple):
    """A tensor in all layers of a model, such as `layers.*.mlp.fc1.weight`: its shape, and sums over the layers."""

    tensor: str
    shape: tuple[int, ...]
    tensors: int
    part: str
    dtype: str
    base: int
    with_head: int
    tuned: int
    stored: int
    bytes: int
    trainable: bool | None


def read_rows(table: Sequence[Mapping[str, Any]]) -> list[ParameterRow]:
    """Convert the rows of data/parameters.csv, which are text."""
    return [
        ParameterRow(
            *(row["module"], row["parameter"], row["part"], row["kind"]),
            shape=tuple(int(size) for size in re.findall(r"\d+", row["shape"])),
            dtype=row["dtype"],
            base=int(row["base"] or 0),
            tuned=int(row["tuned"] or 0),
            stored=int(row["stored"] or 0),
            bytes=int(row["bytes"] or 0),
            trainable=row["trainable"] == "True" if row["trainable"] else None,
        )
        for row in table
    ]


def by_module(rows: Sequence[ParameterRow]) -> list[ModuleRow]:
    """Sum up the repeated layers of a model: `layers.0.mlp` becomes `layers.*.mlp`."""
    groups: dict[tuple[Any, ...], list[ParameterRow]] = {}
    for row in rows:
        tensor = re.sub(r"\.\d+(?=\.)", ".*", f"{row.module}.{row.parameter}")
        groups.setdefault((tensor, row.shape, row.part, row.dtype, row.trainable), []).append(row)
    return [
        ModuleRow(
            tensor,
            shape,
            len(group),
            part,
            dtype,
            base=sum(row.base for row in group),
            with_head=sum(row.tuned for row in group if part != "adapter"),
            tuned=sum(row.tuned for row in group),
            stored=sum(row.stored for row in group),
            bytes=sum(row.bytes for row in group),
            trainable=trainable,
        )
        for (tensor, shape, part, dtype, trainable), group in groups.items()
    ]


def totals(rows: Sequence[ParameterRow], published: int | None = None) -> dict[str, float]:
    """Return the figures of `metrics/count_params.json`.

    Logical parameters: `base_total` - `removed` + `head_added` = `base_with_head_total`, plus `adapter_added` =
    `tuned_total`. `trainable` is the number of trained parameters, `trainable_percent` their share of `tuned_total`, 0
    to 100. `packed_total` is the number of stored elements of the tuned model, `packed_base_total` that of its base
    part, and `packed_trainable_percent` the share of `trainable` in `packed_total`; these are the figures that tools
    print for a 4-bit model, for comparison only. `bytes` is the memory of the tuned model's weights. If it is not known
    what was trained, the three figures about trained parameters are missing.

    Args:
        rows: a row per tensor; without rows there are no figures.
        published: a published parameter count; adds `published_total` and `published_difference`, which is `published`
            minus `base_total`.
    """
    if not rows:
        return {}
    base = sum(row.base for row in rows)
    tuned = sum(row.tuned for row in rows)
    stored = sum(row.stored for row in rows)
    adapter = sum(row.tuned for row in rows if row.part == "adapter")
    trainable, known = sum(row.tuned for row in rows if row.trainable), all(row.trainable is not None for row in rows)
    found: dict[str, float] = {
        "base_total": base,
        "removed": sum(row.base for row in rows if not row.tuned),
        "head_added": sum(row.tuned for row in rows if row.part == "head"),
        "base_with_head_total": tuned - adapter,
        "adapter_added": adapter,
        "tuned_total": tuned,
        **({"trainable": trainable, "trainable_percent": 100 * trainable / tuned} if known else {}),
        "packed_base_total": sum(row.stored for row in rows if row.part == "base"),
        "packed_total": stored,
        **({"packed_trainable_percent": 100 * trainable / stored} if known else {}),
        "bytes": sum(row.bytes for row in rows),
    }
    if published is not None:
        found |= {"published_total": published, "published_difference": published - base}
    return found


def explanation(rows: Sequence[ParameterRow], difference: int) -> dict[str, int] | None:
    """Find the parts of a model, with signs, that explain the difference between a published count and the base's.

    Returns:
        The parts by name; empty if there is no difference. None if no combination of at most `MOST_PARTS` parts equals
        the difference, or if several smallest combinations do.
    """
    parts = _parts(rows)
    for size in range(MOST_PARTS + 1):
        found = [names for names in combinations(parts, size) if sum(parts[name] for name in names) == difference]
        if found:
            return {name: parts[name] for name in found[0]} if len(found) == 1 else None
    return None


def _parts(rows: Sequence[ParameterRow]) -> dict[str, int]:
    """Parts that published counts often include or omit, in logical parameters; of equal parts only the first."""
    sums = totals(rows)
    sized = {
        "the new head": sums["head_added"],
        "the adapter": sums["adapter_added"],
        "what the new head replaces": -sums["removed"],
        "two 4-bit parameters counted as one": sums["packed_total"] - sums["tuned_total"],
        "the tied output embedding counted twice": sum(prod(row.shape) for row in rows if row.dtype == "tied"),
    }
    for row in rows:
        if row.base:
            sized[_group(row)] = sized.get(_group(row), 0) - row.base
    found: dict[str, int] = {}
    for name, size in sized.items():
        if size and size not in found.values():
            found[name] = int(size)
    return found


def _group(row: ParameterRow) -> str:
    """The group of a tensor of the base that a published count may omit; each tensor is in one group."""
    if "pooler" in row.module:
        return "the pooler"
    if "position" in row.module or row.module.endswith("wpe"):
        return "position embeddings"
    if row.kind == "embedding":
        return "other embeddings"
    if row.kind == "norm":
        return "norms"
    return "biases" if row.parameter == "bias" else "weights of linear layers"


def summary(rows: Sequence[ParameterRow], published: int | None = None) -> Iterator[str]:
    """Format the totals for the terminal, a line each, with their arithmetic."""
    if not rows:
        yield "  not counted: a server does not report the parameters of its models"
        return
    sums = totals(rows, published)
    removed = ", ".join(
        dict.fromkeys(
            f"{row.module}{'' if row.base else ' (tied to the embedding, which stays)'}"
            for row in rows
            if row.dtype == "removed"
        )
    )
    new = ", ".join(dict.fromkeys(row.module for row in rows if row.part == "head"))
    adapted = len({row.module for row in rows if row.part == "adapter"})
    yield f"  base          {sums['base_total']:>15,} logical parameters"
    if new:
        yield f"  - removed     {sums['removed']:>15,}{f' {removed}' if removed else ''}"
        yield f"  + head        {sums['head_added']:>15,} {new}"
        yield f"  = with head   {sums['base_with_head_total']:>15,}"
    if adapted:
        yield f"  + adapter     {sums['adapter_added']:>15,} on {adapted:,} layers"
        yield f"  = tuned       {sums['tuned_total']:>15,}"
    if "trainable" in sums:
        yield f"  trained       {sums['trainable']:>15,} = {sums['trainable_percent']:.4f} % of {sums['tuned_total']:,}"
    else:
        yield f"  trained       {'not known':>15} of {sums['tuned_total']:,}"
    packed = [row for row in rows if row.stored < row.tuned]
    if packed:
        logical, stored = sum(row.tuned for row in packed), sum(row.stored for row in packed)
        share = (
            f"; of stored elements {sums['packed_trainable_percent']:.4f} % are trained" if "trainable" in sums else ""
        )
        yield f"  stored        {sums['packed_total']:>15,} elements: {logical:,} 4-bit parameters in {stored:,}{share}"
    yield f"  memory        {sums['bytes']:>15,} bytes"
    if published is not None:
        yield f"  published     {published:>15,} {_published_comparison(rows, published - int(sums['base_total']))}"


def _published_comparison(rows: Sequence[ParameterRow], difference: int) -> str:
    parts = explanation(rows, difference)
    if not difference:
        return "as counted for the base"
    words = f"{abs(difference):,} {'more' if difference > 0 else 'fewer'} than the base"
    if parts is None:
        return f"{words}; the layout does not explain why"
    signed = (f"{'+' if size > 0 else '-'} {abs(size):,} {name}" for name, size in parts.items())
    return f"{words}: {', '.join(signed)}"
