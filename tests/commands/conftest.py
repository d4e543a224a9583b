import pytest

from tests.project import SMALL, Project


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory):
    """A small project whose base and tuned model have answered the test split; tests leave it as it is."""
    project = Project(tmp_path_factory.mktemp("evaluated"), **SMALL)
    project.run("dvc", "repro", "eval_base", "eval_tuned")
    return project
