"""Parameter counts of a tuned model from any source.

    rows = count_tuned(read_json(Path("models/base/config.json")), labels, params.model, params.adapt, params.tuned)

A model that is trained here is counted from its layout (`tunediff.models.counts`), an external adapter from the header
of its file. Which weights of an external whole model were trained is not known.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from tunediff.config.adapt import Adapt
from tunediff.config.engine import SERVED
from tunediff.config.model import Model
from tunediff.config.tuned import Tuned, loaded_as
from tunediff.models.adapt import ADAPTER, tensor_shapes
from tunediff.models.counts import TRAINED_DTYPE, count_recipe, itemsize, untrained_rows
from tunediff.models.parameters import ParameterRow
from tunediff.models.sources import read_layout
from tunediff.models.tuned import BASE_PREFIX, find_tuned


def count_tuned(
    config: Mapping[str, Any], labels: Sequence[str], model: Model, adapt: Adapt | None, tuned: Tuned
) -> list[ParameterRow]:
    """Count the parameters of a base and of the tuned model, tensor by tensor.

    Args:
        config: the layout of the base.
        labels: label names.
        model: the section model.
        adapt: the section adapt; None: the model is not trained here.
        tuned: the section tuned.

    Returns:
        As for `tunediff.models.counts.count_parameters`; empty if base or tuned model is on a server. The tensors in
        the file of an external adapter count as trained; for an external whole model, `trainable` is None.

    Raises:
        TunediffError: as `count_recipe` and `find_tuned`.
    """
    if SERVED in (model.source, tuned.source):
        return []
    if adapt is not None:
        return count_recipe(config, labels, model, adapt)
    model = loaded_as(model, tuned.model_dump())
    folder, form = find_tuned(tuned)
    base = untrained_rows(config, labels, model)
    if form == "adapter":
        return with_adapter(base, tensor_shapes(folder / ADAPTER))
    held = {(row.module, row.parameter): row for row in base}
    rows = []
    for row in untrained_rows(read_layout(folder), labels, model):
        before = held.pop((row.module, row.parameter), None)
        rows.append(row._replace(base=before.base if before else 0, trainable=None))
    removed = [row for row in held.values() if row.base]
    return rows + [row._replace(dtype="removed", tuned=0, stored=0, bytes=0, trainable=None) for row in removed]


def with_adapter(base: Sequence[ParameterRow], shapes: Mapping[str, tuple[int, ...]]) -> list[ParameterRow]:
    """Return the tensors of a base with an adapter.

    Args:
        base: a row per tensor.
        shapes: shapes of the tensors in the adapter's file by name; a tensor that the base has too replaces it.
    """
    rows = {(row.module, row.parameter): row for row in base}
    for name, shape in shapes.items():
        module, _, parameter = name.removeprefix(BASE_PREFIX).removesuffix(".weight").rpartition(".")
        whole = tuple(name.removeprefix(BASE_PREFIX).rpartition(".")[::2])
        if module.endswith("base_layer") or whole[0].endswith("base_layer"):
            continue  # weights of the base that were saved with the adapter
        size = prod(shape)
        if whole in rows:
            # A tied layer that is trained has its own weights.
            part = "adapter" if rows[whole].dtype == "tied" else rows[whole].part
            n_bytes = size * itemsize(TRAINED_DTYPE)
            rows[whole] = rows[whole]._replace(
                part=part, dtype=TRAINED_DTYPE, tuned=size, stored=size, bytes=n_bytes, trainable=True
            )
        else:
            rows[module, parameter] = ParameterRow(
                *(module, parameter, "adapter", "linear", shape, TRAINED_DTYPE),
                *(0, size, size, size * itemsize(TRAINED_DTYPE), True),
            )
    return list(rows.values())
