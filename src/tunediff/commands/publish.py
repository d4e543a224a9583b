"""Publish the tuned model on the Hugging Face hub with a model card, and check that it reproduces the predictions.

    tunediff publish --repo-id me/my-model --dry-run        # writes the folder models/publish and checks it; no network
    tunediff publish --repo-id me/my-model --private

An adapter is uploaded alone if its base is on the hub, otherwise with its base. Existing files with the same names are
replaced, others are kept. The token is that of `hf auth login` or HF_TOKEN.
"""

import argparse
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from tunediff.commands.agreement import ask_again, first_named, spread
from tunediff.commands.project import Project, add_set_argument, output_folder, read_project
from tunediff.commands.runs import outdated, read_stages, stage_path
from tunediff.config.tuned import loaded_as
from tunediff.data.cases import read_predictions
from tunediff.report.model_card import NAME
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_text, replacing, shown, write_text
from tunediff.runtime.hub import hub_problem, snapshot
from tunediff.runtime.stage import PARAMS

README = "README.md"
# Number of cases that a published model is checked on.
SAMPLE = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff publish`."""
    parser.add_argument("--repo-id", required=True, metavar="NAMESPACE/NAME", help="name of the model on the hub")
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument("--dry-run", action="store_true", help="write and check the folder without uploading it")
    parser.add_argument("--out", default="models/publish", help="folder to write, in the project (models/publish)")
    add_set_argument(parser)


def main(args: argparse.Namespace) -> None:
    """Run `tunediff publish`.

    Raises:
        TunediffError: the results do not match the current code, data and parameters, the hub refuses, or the model
            does not reproduce the predictions; then nothing is uploaded, or the message tells what was.
    """
    _check_name(args.repo_id)
    out, project = output_folder(args.out, str(_figures())), read_project(args.set)
    _check_results()
    agreement = _write(out, project, args.repo_id)
    files = [path for path in out.rglob("*") if path.is_file()]
    print(f"publish: {out}: {len(files)} files, {sum(path.stat().st_size for path in files) / 2**20:,.1f} MiB")
    print(f"  {agreement}")
    if args.dry_run:
        print("  nothing was uploaded (--dry-run)")
        return
    commit, address = upload(out, args.repo_id, args.private)
    print(f"  uploaded to {address} at commit {commit}")
    with TemporaryDirectory() as cache:
        fetched = snapshot(args.repo_id, commit, "model", cache=Path(cache))
        print(f"  fetched from there: {_checked(fetched, project, f'hub model {args.repo_id} at {commit}')}")


def _check_name(repo_id: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # exported without saying so

    with suppress(HFValidationError):
        validate_repo_id(repo_id)
        if "/" in repo_id:
            return
    raise TunediffError(f"--repo-id: found {shown(repo_id)}, expected NAMESPACE/NAME")


def _check_results() -> None:
    """Check that the results match the current code, data and parameters."""
    stages = outdated(read_stages())
    if stages:
        raise TunediffError(
            f"dvc.lock: the results of {', '.join(sorted(stages))} do not match the current code, data and "
            "parameters; run dvc repro first"
        )


def _figures() -> Path:
    """The path of the comparison's metrics, in the project and in the published folder."""
    return stage_path("diff_cases", "metrics")


def _write(out: Path, project: Project, repo_id: str) -> str:
    """Write and check the folder atomically; return a sentence about the check."""
    from tunediff.models.publish import write_model

    model, labels = project.settings.model, project.settings.headline.labels
    with replacing(out) as folder:
        folder.mkdir()
        write_model(folder, project.base, project.tuned, model, labels, repo_id)
        write_text(folder / README, read_text(stage_path("report", "model-card")).replace(NAME, repo_id))
        shutil.copyfile(PARAMS, folder / PARAMS.name)
        metrics = _figures().parent
        shutil.copytree(metrics, folder / metrics, ignore=shutil.ignore_patterns(".*"))
        return _checked(folder, project, str(out))


def _checked(folder: Path, project: Project, place: str) -> str:
    """Check the model of a folder; return a sentence about the check.

    Raises:
        TunediffError: the folder's model does not reproduce the predictions of the tuned model.
    """
    from tunediff.engines.local.transformers_engine import TransformersEngine
    from tunediff.models.publish import load_published
    from tunediff.models.tuned import read_tuned

    settings, cases, path = project.settings, project.cases(), project.predictions("tuned")
    model = loaded_as(settings.model, read_tuned(project.tuned))
    loaded = load_published(folder, project.base, model, settings.headline.labels)
    engine, held = TransformersEngine(loaded, settings.evaluate.batch_tokens), read_predictions(path)[0]
    check = ask_again(project, engine, spread(cases, SAMPLE), held, "publish")
    if check.differing:
        raise TunediffError(
            f"{place}: {len(check.differing)} of {check.n} test cases are answered differently from {path} "
            f"(log-probabilities differ by up to {check.furthest:.2g} nats): {first_named(check.differing)}"
        )
    return (
        f"{check.n:,} of {len(cases):,} test cases evaluated again, all with the same answers as in {path}, "
        f"log-probabilities within {check.furthest:.1g} nats"
    )


def upload(folder: Path, repo_id: str, private: bool) -> tuple[str, str]:
    """Upload a folder as a commit to `main`, creating the repository if necessary; return commit and address.

    Raises:
        TunediffError: there is no token, the hub refuses, the repository is public although it should be private, or it
            has weights of another model, which might be loaded instead.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.constants import is_offline_mode

    if not is_offline_mode() and get_token() is None:
        raise TunediffError(f"hub model {repo_id}: found no token, expected one with write access; run: hf auth login")
    api, weights = HfApi(), {path.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors")}
    try:
        address = api.create_repo(repo_id, private=private or None, exist_ok=True)
        found = api.model_info(repo_id)
        if private and not found.private:
            raise TunediffError(f"hub model {repo_id}: exists and is public, expected another name (--private)")
        others = {file.rfilename for file in found.siblings or () if file.rfilename.endswith(".safetensors")} - weights
        if others:
            raise TunediffError(
                f"hub model {repo_id}: holds {', '.join(sorted(others))} of another model, expected another name; or "
                "delete them there"
            )
        commit = api.upload_folder(
            repo_id=repo_id, folder_path=folder, commit_message="Model, card, parameters and metrics by tunediff"
        )
    except TunediffError:
        raise
    except Exception as error:  # whatever the hub's HTTP library raises
        raise TunediffError(f"hub model {repo_id}: {hub_problem(error, repo_id)}") from None
    return str(commit.oid), str(address)
