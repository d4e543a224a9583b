"""Where rows come from and how the splits are drawn from them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from tunediff.config.section import COMMIT, LabelName, Number, Section, Seed, SourceValue, Whole, Word


class Draw(Section):
    """How one split is drawn from the rows of a source split."""

    source: Word = Field(description="the source split that the rows come from")
    select: Literal["all", "stride", "random", "stratified"] = Field(
        default="all",
        description="every row; every k-th row; rows drawn at random; rows drawn at random within each label",
    )
    every: Whole | None = Field(default=None, ge=1, description="stride: take rows 0, every, 2 * every, ...")
    fraction: Number | None = Field(default=None, gt=0, le=1, description="random, stratified: share of the rows")
    seed: Seed = Field(default=0, description="random, stratified: seed of the draw")
    limit: Whole | None = Field(default=None, ge=1, description="maximum number of rows")

    def _contradictions(self) -> Iterator[str]:
        if (self.every is None) == (self.select == "stride"):
            yield f"`every` goes with `select: stride`; found every: {self.every}, select: {self.select}"
        if self.fraction is not None and self.select not in ("random", "stratified"):
            yield f"`fraction` goes with `select: random` or `stratified`; found select: {self.select}"
        if self.select in ("random", "stratified") and self.fraction is None and self.limit is None:
            yield f"`select: {self.select}` needs `fraction` or `limit`; found neither"


class Synthetic(Section):
    """Generated cases, drawn from a seed."""

    name: Literal[
        "captions", "reviews", "questions", "sums", "orders", "rankings", "arithmetic", "copying", "instructions"
    ] = Field(
        description="pairs of captions (nli), film reviews (classification), who comes first (multiple_choice), "
        "reports and questions (question_answering), sums in words (generation), orders to be written as JSON "
        "(generation), and for retention (generation): arithmetic, texts to copy, instructions to follow"
    )
    seed: Seed = Field(description="seed of the generated cases")
    train: Whole = Field(ge=1, description="rows to write for the source split `train`")
    validation: Whole = Field(ge=1, description="rows to write for the source split `validation`")
    test: Whole = Field(ge=1, description="rows to write for the source split `test`")


class HubData(Section):
    """A data set on the Hugging Face hub."""

    id: Word = Field(description="repository id, such as stanfordnlp/snli")
    config: str | None = Field(default=None, description="name of the data set's configuration")
    revision: str = Field(pattern=COMMIT, description="commit of the repository, 40 hexadecimal digits")


class Origin(Section):
    """Where the rows of a test set come from, and what their columns mean."""

    source: Literal["synthetic", "files", "hub"] = Field(
        default="files", description="a synthetic data set, files on disk, or the hub"
    )
    synthetic: Synthetic | None = Field(default=None, description="source synthetic: which one")
    files: dict[str, str] | None = Field(
        default=None,
        description="source files: file per source split (.jsonl .csv .tsv, these also as .gz; .xlsx .parquet, SQuAD's "
        ".json)",
    )
    hub: HubData | None = Field(default=None, description="source hub: which data set")
    columns: dict[str, str] = Field(
        description="column of the source for each input field and for `label` (question_answering, generation: "
        "`answers`); multiple_choice: also for `options`, a list, or for each of task.labels"
    )
    labels: dict[SourceValue, LabelName] | None = Field(
        default=None,
        description="label for each value of the label column that is not the name of a label",
    )
    unlabelled: list[SourceValue | None] = Field(
        default=[],
        description="values of the label column that mean no gold label; such rows are dropped and counted",
    )
    empty: Literal["refuse", "drop", "keep"] = Field(
        default="refuse",
        description="a row with an empty input stops the run, is dropped and counted, or is kept if another input has "
        "text",
    )
    encoding: Word = Field(default="utf-8", description="source files: encoding of .csv, .tsv and .jsonl files")
    delimiter: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="source files: field separator of .csv files; none: a comma or, if the first line has none, the "
        "semicolon, tab or | in it",
    )
    test: Draw = Field(description="the rows that both models are evaluated on")

    @property
    def draws(self) -> dict[str, Draw]:
        """How each split is drawn, by name; earlier splits take precedence over later ones."""
        return {"test": self.test}

    @property
    def drops_shared(self) -> bool:
        """Whether all rows that share a source input go into one split."""
        return True

    def _contradictions(self) -> Iterator[str]:
        sources = list(self._source_contradictions())
        # The names of the splits are only known if the source is valid.
        yield from sources or self._draw_contradictions()
        both = {str(value) for value in self.labels or {}} & {str(value) for value in self.unlabelled}
        if both:
            yield f"data.unlabelled: found {sorted(both)}, which data.labels gives a label"

    def _source_contradictions(self) -> Iterator[str]:
        try:
            "a".encode(self.encoding)
        except (LookupError, ValueError):
            yield f"data.encoding: found '{self.encoding}', expected one that Python knows, such as utf-8 or cp1252"
        for kind in ("synthetic", "files", "hub"):
            if (getattr(self, kind) is None) == (self.source == kind):
                state = "missing" if self.source == kind else "given"
                yield f"data.source is {self.source}, but data.{kind} is {state}"
        for name, file in (self.files or {}).items():
            if leads_out(file):
                yield f"data.files.{name}: found '{file}', expected a file inside data.path"

    def _draw_contradictions(self) -> Iterator[str]:
        splits = {"train", "validation", "test"} if self.synthetic else set(self.files or {})
        shares: dict[str, float] = {}
        for name, draw in self.draws.items():
            if self.hub is None and draw.source not in splits:
                yield f"data.{name}.source: found '{draw.source}', expected one of {sorted(splits)}"
            shares[draw.source] = shares.get(draw.source, 0) + (draw.fraction or 0)
        for source, share in shares.items():
            if share > 1 + 1e-9:
                yield f"data: the fractions drawn from '{source}' add up to {share:g}, expected at most 1"


class Data(Origin):
    """Where rows come from and how the three splits are drawn from them."""

    path: Word = Field(
        default="data/raw", description="folder of the files; it is hashed, so a changed file is noticed"
    )
    train: Draw | None = Field(
        default=None, description="the rows that the model learns from; none: unknown, for a model trained elsewhere"
    )
    validation: Draw | None = Field(
        default=None,
        description="the rows that may choose the epoch; none: unknown, as for train",
    )
    group: Word | None = Field(
        default=None,
        description="column whose rows stay together: a random or stratified draw takes whole groups, and no group "
        "is in two splits",
    )
    slices: list[Word] = Field(
        default=[],
        description="columns of the source whose values are slices of the test set, such as [channel, language]; "
        "a column with more than 10 distinct numbers is sliced by quartile; a case with an empty cell is in no slice",
    )
    shared_sources: Literal["drop", "keep"] = Field(
        default="drop",
        description="rows of train and validation whose source input also occurs in a later split",
    )

    def _contradictions(self) -> Iterator[str]:
        yield from super()._contradictions()
        if len(set(self.slices)) < len(self.slices):
            yield f"data.slices: found {self.slices}, expected distinct names"

    @property
    def draws(self) -> dict[str, Draw]:
        """How each split is drawn, by name; earlier splits take precedence over later ones."""
        draws = {"test": self.test, "validation": self.validation, "train": self.train}
        return {name: draw for name, draw in draws.items() if draw is not None}

    @property
    def drops_shared(self) -> bool:
        """Whether all rows that share a source input go into one split."""
        return self.shared_sources == "drop"


def leads_out(path: str) -> bool:
    """Whether a path is absolute or leads out of its folder."""
    return Path(path).is_absolute() or ".." in Path(path).parts
