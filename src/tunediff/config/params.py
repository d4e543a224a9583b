"""All sections of params.yaml."""

from pydantic import Field

from tunediff.config.adapt import Adapt
from tunediff.config.also import AlsoSet, SetName
from tunediff.config.checks import Checks
from tunediff.config.cost import Cost
from tunediff.config.data import Data
from tunediff.config.diff import Diff
from tunediff.config.engine import EngineSection
from tunediff.config.evaluate import Evaluate
from tunediff.config.model import Model
from tunediff.config.pretrain import Pretrain
from tunediff.config.prompt import Prompt
from tunediff.config.report import Report
from tunediff.config.section import Section
from tunediff.config.task import TaskSection
from tunediff.config.train import Train
from tunediff.config.tuned import Tuned


class Params(Section):
    """All sections of params.yaml; a section whose keys all have defaults may be left out."""

    task: TaskSection
    data: Data
    also: dict[SetName, AlsoSet] = Field(default={}, description="further test sets, by name")
    model: Model
    pretrain: Pretrain = Pretrain()
    prompt: Prompt = Prompt()
    engine: EngineSection = EngineSection()
    evaluate: Evaluate
    adapt: Adapt | None = Field(default=None, description="none: the tuned model was not trained here")
    tuned: Tuned = Tuned()
    train: Train | None = Field(default=None, description="none: the tuned model was not trained here")
    diff: Diff = Diff()
    checks: Checks = Checks()
    report: Report = Report()
    cost: Cost = Cost()
