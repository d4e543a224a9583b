"""The parameter counts of parameters: what a head and an adapter add to a base, what they take away, and what a count
counts.

Arithmetic on the rows that `tunediff.models.counts` writes, one a tensor. BERT with a span head (system E):

    rows = count_parameters(config, head="span")
    totals(rows)["base_total"]             # 109_482_240
    totals(rows)["removed"]                # 590_592: the pooler, which a span head does not read
    totals(rows)["head_added"]             # 1_538
    totals(rows)["base_with_head_total"]   # 108_893_186

Three numbers are often mixed up, so each has a key of its own: logical parameters (what a model card counts; tied
weights count once), stored elements (`packed`: two 4-bit weights share a byte, so `sum(p.numel())` over a loaded 4-bit
model counts them as one) and bytes.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import prod
from typing import Any, NamedTuple

# A difference that takes more parts than these to explain can be put together in several ways by chance.
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
    bytes: int  # in memory after, quantisation constants included
    trainable: bool | None  # whether fine-tuning trains it; None: not known


class ModuleRow(NamedTuple):
    """The same tensor of all layers of a model: `layers.*.mlp.fc1.weight`, its shape, and sums over the layers."""

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
    """The rows of data/parameters.csv, whose shapes and truth values are text."""
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
    """The table with the repeated layers of a model added up: `layers.0.mlp` is `layers.*.mlp`."""
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
    """Add up the table to what stands in `metrics/count_params.json`.

    Logical parameters: `base_total` - `removed` + `head_added` = `base_with_head_total`, and that + `adapter_added` =
    `tuned_total`. `trainable` are those that training moves, `trainable_percent` their share of `tuned_total`, 0 to
    100. `packed_total` are the elements stored of the tuned model, `packed_base_total` those of its base part, and
    `packed_trainable_percent` is the share of `trainable` in `packed_total`: figures that tools print for a 4-bit
    model, there to be compared with, not quoted. `bytes` is the memory of the tuned model's weights. Where it is not
    known what was trained, the three that tell of it are left out.

    Args:
        rows: a row a tensor; of no row there are no figures.
        published: a parameter count as published; gives `published_total` and `published_difference`, published less
            `base_total`.
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
    """The parts of the parameter counts that add up to `difference` (a published count less the base's), each with its
    sign.

    Returns:
        An empty dictionary where there is no difference. None where no `MOST_PARTS` parts make it, or where several
        choices of equally few parts do: then nothing in the layout tells what the published figure counts.
    """
    parts = _parts(rows)
    for size in range(MOST_PARTS + 1):
        found = [names for names in combinations(parts, size) if sum(parts[name] for name in names) == difference]
        if found:
            return {name: parts[name] for name in found[0]} if len(found) == 1 else None
    return None


def _parts(rows: Sequence[ParameterRow]) -> dict[str, int]:
    """What counts often take in or leave out, in logical parameters; of parts of one size the first alone."""
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
            sized[_left_out(row)] = sized.get(_left_out(row), 0) - row.base
    found: dict[str, int] = {}
    for name, size in sized.items():
        if size and size not in found.values():
            found[name] = int(size)
    return found


def _left_out(row: ParameterRow) -> str:
    """The group of a tensor of the base that a count may leave out; each tensor is in one group."""
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
    """The totals as people read them, a line each, with their arithmetic."""
    if not rows:
        yield "  not counted: a server does not report the parameters of its models"
        return
    sums = totals(rows, published)
    gone = ", ".join(
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
        yield f"  - removed     {sums['removed']:>15,}{f' {gone}' if gone else ''}"
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
        yield f"  published     {published:>15,} {_compared(rows, published - int(sums['base_total']))}"


def _compared(rows: Sequence[ParameterRow], difference: int) -> str:
    parts = explanation(rows, difference)
    if not difference:
        return "as counted for the base"
    words = f"{abs(difference):,} {'more' if difference > 0 else 'fewer'} than the base"
    if parts is None:
        return f"{words}; the layout does not explain why"
    signed = (f"{'+' if size > 0 else '-'} {abs(size):,} {name}" for name, size in parts.items())
    return f"{words}: {', '.join(signed)}"
