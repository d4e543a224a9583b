"""What asks the models: engines by name, the same for training's own base and for models from elsewhere.

engine = open_engine(settings, Path("models/base"))            # the base model
engine = engine.tuned(Path("models/tuned"))                    # what fine-tuning made of it
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


# By engine.kind: opens the base model of a folder that the stage base_model wrote.
ENGINES: dict[str, Callable[[PredictSettings, Path], Engine]] = {"local": _local, "server": _server}


def open_engine(settings: PredictSettings, base: Path) -> Engine:
    """The engine that `settings.engine` names, ready to answer with the base model.

    Args:
        settings: of the stage predict_base or predict_tuned.
        base: the folder that the stage base_model wrote.

    Raises:
        TunediffError: no such engine, or it cannot answer with this model.
    """
    kind = settings.engine.kind
    if kind not in ENGINES:
        raise TunediffError(f"params.yaml: engine.kind: found {kind}, expected one of {', '.join(ENGINES)}")
    return ENGINES[kind](settings, base)


def open_engines(settings: PredictSettings, base: Path, workers: int | None) -> Answering:
    """The same for a stage that predicts: the engine of this process, or as many as Ray has workers.

    Args:
        settings: of the stage.
        base: the folder that the stage base_model wrote.
        workers: how many engines Ray deals the cases out to; None: this process has the only one.

    Raises:
        TunediffError: as `open_engine`; of workers, when the first one is asked.
    """
    if workers is None:
        return open_engine(settings, base)
    from tunediff.engines.dealt import DealtEngine

    return DealtEngine(workers, open_engine, settings, base)
