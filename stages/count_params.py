"""Count parameters before and after fine-tuning from the layout alone: logical, trainable, stored, bytes.

    python stages/count_params.py --base models/base --table data/parameters.csv \
        --metrics metrics/count_params.json --cost metrics/cost/count_params.json
"""

from tunediff.cost import measured
from tunediff.errors import run
from tunediff.files import read_json, write_csv, write_json
from tunediff.models.count import count_parameters, totals
from tunediff.models.load import CONFIG
from tunediff.params import read_params
from tunediff.stage import PARAMS, arguments


def main() -> None:
    args = arguments(__doc__, reads=("base",), writes=("table", "metrics", "cost"))
    params = read_params(PARAMS)
    model, adapt = params.model, params.adapt
    with measured(args.cost):
        rows = count_parameters(
            read_json(args.base / CONFIG),
            head=model.head,
            labels=len(params.task.labels),
            quantization=model.quantization,
            dtype="float32" if model.dtype == "auto" else model.dtype,
            method=adapt.method,
            r=adapt.r,
            target_modules=adapt.target_modules,
        )
        metrics = totals(rows)
        write_csv(args.table, [row._asdict() for row in rows])
        write_json(args.metrics, metrics)
        memory = sum(row.bytes for row in rows)
        print(f"count_params: base {metrics['base_total']:,}, tuned {metrics['tuned_total']:,} logical parameters")
        print(
            f"  trained {metrics['trainable']:,} = {metrics['trainable_percent']:.4f} % of {metrics['tuned_total']:,}; "
            f"of {metrics['packed_total']:,} stored elements (two 4-bit weights in one) "
            f"{metrics['packed_trainable_percent']:.4f} %; {memory:,} bytes in memory"
        )


if __name__ == "__main__":
    run(main)
