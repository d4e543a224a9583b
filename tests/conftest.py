"""What several tests share. torch is imported inside the fixtures: half of the tests never need it."""

import os

import pytest

# Before any of them is imported. One thread: see tests/tiny.py.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="the long trials too: many more kills, inputs and rows")


@pytest.fixture
def long(request) -> bool:
    """Whether the long trials are asked for."""
    return request.config.getoption("--long")


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
