"""Count parameters before and after fine-tuning from the layout alone: logical, trainable, stored, bytes.

    python stages/count_params.py --settings data/settings/count_params.json --base models/base \
        --table data/parameters.csv --metrics metrics/count_params.json --cost metrics/cost/count_params.json
"""

from tunediff.config.settings import CountSettings, read_settings
from tunediff.models.parameters import ParameterRow, summary, totals
from tunediff.models.sources import CONFIG
from tunediff.models.tuned_counts import count_tuned
from tunediff.runtime.cost import measured
from tunediff.runtime.errors import run
from tunediff.runtime.files import read_json, write_csv, write_json
from tunediff.runtime.stage import arguments


def main() -> None:
    args = arguments(__doc__, reads=("settings", "base"), writes=("table", "metrics", "cost"))
    settings = read_settings(args.settings, CountSettings)
    published = settings.model.published_parameters
    with measured(args.cost):
        config = read_json(args.base / CONFIG)
        rows = count_tuned(config, settings.labels, settings.model, settings.adapt, settings.tuned)
        write_csv(args.table, [row._asdict() for row in rows], ParameterRow._fields)
        write_json(args.metrics, totals(rows, published))
        print("count_params:", *summary(rows, published), sep="\n")


if __name__ == "__main__":
    run(main)
