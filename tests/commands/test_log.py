"""The last run in MLflow. What needs MLflow itself runs where the extra `mlflow` was installed."""

import sys
from importlib.util import find_spec

import pytest

from tunediff.commands import main
from tunediff.commands.log import logged_metrics, logged_parameters


@pytest.fixture(scope="module")
def project(small_run, tmp_path_factory):
    return small_run.copy(tmp_path_factory.mktemp("project"))


def test_parameters_are_flat_and_metrics_are_numbers_behind_their_file(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    parameters, metrics = logged_parameters(), logged_metrics()
    assert parameters["train.learning_rate"] == str(project.params()["train"]["learning_rate"])
    assert all(isinstance(value, str) for value in parameters.values())
    assert metrics["accuracy_delta"] == metrics["diff_cases.accuracy_delta"]
    assert {"cost.train.seconds", "eval_tuned.nll", "n"} <= set(metrics)
    assert not [name for name in metrics if name.startswith("environment")]
    assert all(isinstance(value, float) for value in metrics.values())


def test_without_mlflow_a_line_names_the_extra(project, monkeypatch, capsys):
    monkeypatch.chdir(project.folder)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setattr(sys, "argv", ["tunediff", "log", "--mlflow"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "tunediff: log: this needs mlflow, which is not installed: pip install '.[mlflow]' in the clone of tunediff\n"
    )


def test_a_run_is_logged_to_a_store_on_disk_with_its_files(project, monkeypatch, tmp_path):
    if find_spec("mlflow") is None:
        pytest.skip("MLflow is not installed (pip install '.[mlflow]' in the clone of tunediff): no run was logged")
    import mlflow

    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = (tmp_path / "store").as_uri()
    monkeypatch.setattr(sys, "argv", ["tunediff", "log", "--mlflow", store, "--name", "one"])
    main.main()
    client = mlflow.MlflowClient(store)
    [run] = client.search_runs([client.get_experiment_by_name("tunediff").experiment_id])
    assert (run.info.run_name, run.info.status) == ("one", "FINISHED")
    assert run.data.metrics == pytest.approx(logged_metrics())
    assert run.data.params == logged_parameters()
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"report.html", "report.md", "model_card.md", "cases.jsonl"}
