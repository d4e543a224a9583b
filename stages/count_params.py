"""Count parameters before and after fine-tuning from the layout alone: logical, trainable, stored, bytes.

    python stages/count_params.py --base models/base --table data/parameters.csv \
        --metrics metrics/count_params.json --cost metrics/cost/count_params.json
"""

from tunediff.config.params import read_params
from tunediff.models.counts import count_recipe
from tunediff.models.parameters import summary, totals
from tunediff.models.sources import CONFIG
from tunediff.runtime.cost import measured
from tunediff.runtime.errors import run
from tunediff.runtime.files import read_json, write_csv, write_json
from tunediff.runtime.stage import PARAMS, arguments


def main() -> None:
    args = arguments(__doc__, reads=("base",), writes=("table", "metrics", "cost"))
    params = read_params(PARAMS)
    published = params.model.published_parameters
    with measured(args.cost):
        rows = count_recipe(read_json(args.base / CONFIG), params.task, params.model, params.adapt)
        write_csv(args.table, [row._asdict() for row in rows])
        write_json(args.metrics, totals(rows, published))
        print("count_params:", *summary(rows, published), sep="\n")


if __name__ == "__main__":
    run(main)
