"""Engines, which answer cases with a model, by name.

engine = open_engine(settings, Path("models/base"))            # the base model
engine = engine.tuned(Path("models/tuned"))                    # the tuned model
"""

from collections.abc import Callable
from pathlib import Path

from tunediff.engines.engine import Answering, Engine
from tunediff.inputs.settings import PredictSettings
from tunediff.runtime.errors import TunediffError


def _local(settings: PredictSettings, base: Path) -> Engine:
    # Imported here, so that another engine needs no torch.
    from tunediff.engines.local.transformers_engine import open_local

    return open_local(settings, base)


def _server(settings: PredictSettings, base: Path) -> Engine:
    from tunediff.engines.served.server_engine import open_server

    return open_server(settings, base)


# By engine.kind: opens an engine for the base model of a folder that the stage base_model wrote.
ENGINES: dict[str, Callable[[PredictSettings, Path], Engine]] = {"local": _local, "server": _server}


def open_engine(settings: PredictSettings, base: Path) -> Engine:
    """Open the engine that `settings.engine` names, with the base model.

    Args:
        settings: settings of the stage predict_base or predict_tuned.
        base: the folder that the stage base_model wrote.

    Raises:
        TunediffError: there is no such engine, or it does not support this model.
    """
    kind = settings.engine.kind
    if kind not in ENGINES:
        raise TunediffError(f"params.yaml: engine.kind: found {kind}, expected one of {', '.join(ENGINES)}")
    return ENGINES[kind](settings, base)


def open_engines(settings: PredictSettings, base: Path, workers: int | None) -> Answering:
    """Open the engine of a prediction stage: one in this process, or one per worker of Ray.

    Args:
        settings: settings of the stage.
        base: the folder that the stage base_model wrote.
        workers: number of workers that Ray distributes the cases to; None: a single engine in this process.

    Raises:
        TunediffError: as `open_engine`; with workers, when the first one is used.
    """
    if workers is None:
        return open_engine(settings, base)
    from tunediff.engines.dealt import DealtEngine

    return DealtEngine(workers, open_engine, settings, base)
