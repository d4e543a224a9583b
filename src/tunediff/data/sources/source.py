"""Read the source that section `data` names, by source split.

rows = read_source(params.data, Path("data/raw"))
rows["test"][11]    # {"premise": "A man is feeding two dogs.", "hypothesis": "A man feeds animals.", "label": 0}

This is a separate module, so that stages that only import `Row` do not depend on the code of the synthetic data sets.
"""

from pathlib import Path

from tunediff.config.data import Origin
from tunediff.data.sources import Row


def read_source(data: Origin, raw: Path) -> dict[str, list[Row]]:
    """Return the rows of each source split that `data.draws` refers to.

    Args:
        data: the source.
        raw: folder of the files; not used for other sources.

    Raises:
        TunediffError: a file or a data set cannot be read.
    """
    names = sorted({draw.source for draw in data.draws.values()})
    if data.files is not None:
        from tunediff.data.sources.table_files import read_rows

        return {name: read_rows(raw / data.files[name], data.encoding, data.delimiter) for name in names}
    if data.hub is not None:
        from tunediff.data.sources.hub_dataset import dataset_rows

        return {name: dataset_rows(data.hub.id, data.hub.config, data.hub.revision, name) for name in names}
    assert data.synthetic is not None  # section data has exactly one source
    from tunediff.data.synthetic import (
        arithmetic,
        captions,
        copying,
        instructions,
        orders,
        questions,
        rankings,
        reviews,
        sums,
    )

    synthetic = data.synthetic
    sets = {"captions": captions, "reviews": reviews, "questions": questions, "sums": sums, "orders": orders}
    sets |= {"rankings": rankings, "arithmetic": arithmetic, "copying": copying, "instructions": instructions}
    splits = sets[synthetic.name].rows(synthetic.train, synthetic.validation, synthetic.test, synthetic.seed)
    return {
        name: [Row(row, f"{synthetic.name}, {name}", number) for number, row in enumerate(splits[name], start=1)]
        for name in names
    }
