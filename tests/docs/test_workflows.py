"""The GitHub Action and the workflow are well-formed; their shell steps run here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from .documents import blocks

ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github" / "actions" / "gate" / "action.yml"
EXAMPLE = ROOT / ".github" / "workflows" / "robustness.yml"


def read(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


@pytest.fixture
def runner(environment: Callable, tmp_path: Path) -> Callable[..., int]:
    """Runs a step's script as GitHub does: bash -e, in the working folder, with variables."""

    def run(script: str, **variables: str) -> int:
        env = environment(
            GITHUB_ACTIONS="true",
            GITHUB_OUTPUT=str(tmp_path / "output"),
            GITHUB_STEP_SUMMARY=str(tmp_path / "summary"),
            PYTHONPATH=str(ROOT),
            **variables,
        )
        env["PATH"] = f"{Path(sys.executable).parent}:{tmp_path / 'bin'}:{env['PATH']}"
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        return subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, timeout=120, check=False
        ).returncode

    return run


@pytest.fixture(scope="module")
def attacked(
    cli: Callable, trained: Path, for_all: Callable, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """An output folder with a run of each model. Not to be written to."""
    out = shutil.copytree(trained, tmp_path_factory.mktemp("attacked") / "S")
    done = cli("attack ce at --attack pgd:steps=5 --threat linf:0.15 --out", out)
    assert done.code == 0, done.err
    with for_all(out):
        yield out


def inputs_of(values: dict[str, str]) -> dict[str, str]:
    """The variables of the action's main step, filled in from its inputs."""
    action = read(ACTION)
    given = {name: str(settings["default"]) for name, settings in action["inputs"].items()} | values
    pattern = re.compile(r"\$\{\{ inputs\.([a-z-]+) \}\}")
    return {
        name: pattern.sub(lambda found: given[found[1]], text)
        for name, text in main_step(action)["env"].items()
    }


def main_step(action: dict[str, Any]) -> dict[str, Any]:
    return next(step for step in action["runs"]["steps"] if step.get("id") == "gate")


def test_the_action_is_a_composite_one() -> None:
    """GitHub's rules: a name, a shell per step, inputs described, used, not put into scripts."""
    action = read(ACTION)
    assert action["runs"]["using"] == "composite"
    assert all("shell" in step for step in action["runs"]["steps"] if "run" in step)
    assert all("description" in settings for settings in action["inputs"].values())
    text = ACTION.read_text(encoding="utf-8")
    used = set(re.findall(r"inputs\.([a-z-]+)", text))
    assert used == set(action["inputs"])
    assert not any("${{" in step["run"] for step in action["runs"]["steps"] if "run" in step)
    assert action["outputs"]["verdict"]["value"] == "${{ steps.gate.outputs.verdict }}"


@pytest.mark.parametrize("path", [EXAMPLE, ROOT / ".github" / "workflows" / "ci.yml"])
def test_workflows_name_what_exists(path: Path) -> None:
    """Each job has a runner and steps; this repository's action exists with these inputs."""
    workflow = read(path)
    assert "permissions" in workflow
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            if step.get("uses", "").startswith("./"):
                action = read(ROOT / step["uses"] / "action.yml")
                assert set(step["with"]) <= set(action["inputs"])


@pytest.mark.parametrize(
    "rates", [["0.003"], pytest.param(["0.003", "0.002"], marks=pytest.mark.slow)]
)
def test_the_example_runs(runner: Callable[..., int], tmp_path: Path, rates: list[str]) -> None:
    """All steps but installs and uploads, in order; what is kept exists afterwards.

    Also on two nights: the second finds the baseline that the first left in the cache.
    """
    baselines = []
    for lr in rates:
        run_the_example(runner, tmp_path, lr)
        baselines.append(
            json.loads((tmp_path / "runs/results/baseline.json").read_text())["run_id"]
        )
    assert len(set(baselines)) == len(rates)


def run_the_example(runner: Callable[..., int], tmp_path: Path, lr: str) -> None:
    steps = read(EXAMPLE)["jobs"]["gate"]["steps"]
    for name in ("output", "summary"):
        (tmp_path / name).unlink(missing_ok=True)
    for step in steps:
        if "run" in step and "pip install" not in step["run"]:
            change = {"ROBBENCH_LR": lr} if step["name"] == "Train the candidate" else {}
            # Of the samples only so many, to be quick.
            assert runner(step["run"], ROBBENCH_LIMIT="100", **change) == 0, step["name"]
        elif step.get("uses", "").startswith("./"):
            code = runner(main_step(read(ACTION))["run"], **inputs_of(step["with"]))
            verdict = ET.parse(tmp_path / "robbench-gate.xml").find(".//property[@name='verdict']")
            assert verdict is not None
            assert (code, verdict.get("value")) in [(0, "pass"), (0, "undecided")]
            assert (tmp_path / "output").read_text() == f"verdict={verdict.get('value')}\n"
            assert step["id"] == "gate"
            assert "### robbench gate" in (tmp_path / "summary").read_text()
    kept = steps[-1]["with"]["path"].split()
    assert all((tmp_path / name).exists() for name in kept)
    assert ET.parse(tmp_path / kept[0]).getroot().tag == "testsuites"


def test_the_actions_exit_code_is_the_gates(
    runner: Callable[..., int], attacked: Path, tmp_path: Path
) -> None:
    """Pass, regression and bad input with output; a command-like text is only a name."""
    script = main_step(read(ACTION))["run"]
    (tmp_path / "canary").touch()
    for values, code, verdict in (
        ({"baseline": "ce", "candidate": "at"}, 0, "pass"),
        (
            {"baseline": "at", "candidate": "ce", "args": "--these-samples --alpha 0.1"},
            1,
            "regression",
        ),
        ({"baseline": "at", "candidate": '"; rm canary; "'}, 2, "error"),
        ({"baseline": "at", "args": "$(rm canary)"}, 2, "error"),
        # Lines of a YAML block are options like others.
        ({"baseline": "ce", "candidate": "at", "args": "--alpha 0.1\n--nonsense\n"}, 2, "error"),
    ):
        (tmp_path / "output").unlink(missing_ok=True)
        assert runner(script, **inputs_of({**values, "out": str(attacked)})) == code
        assert (tmp_path / "output").read_text() == f"verdict={verdict}\n"
    assert (tmp_path / "canary").exists()


def test_a_command_that_cannot_run_is_no_regression(
    runner: Callable[..., int], tmp_path: Path
) -> None:
    """Python ends with 1 where there is no robbench; files of an earlier run give no verdict."""
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text("#!/bin/bash\nexit 1\n")
    python.chmod(0o755)
    earlier = '<property name="verdict" value="pass" />'
    (tmp_path / "robbench-gate.xml").write_text(f"<a>\n  {earlier}\n</a>\n")
    script = f'PATH="{tmp_path / "bin"}:$PATH"\n{main_step(read(ACTION))["run"]}'
    assert runner(script, **inputs_of({"candidate": "at"})) == 1
    assert (tmp_path / "output").read_text() == "verdict=error\n"


@pytest.fixture
def gh(tmp_path: Path) -> Path:
    """GitHub's command line as a script that notes its calls, and fails where told to deny."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    script = tmp_path / "bin" / "gh"
    script.write_text(
        '#!/bin/bash\necho "$*" >> asked\nif [ "$(cat answer)" = deny ]; then exit 1; fi\n'
        'case "$*" in *--jq*) cat answer ;; esac\n'
    )
    script.chmod(0o755)
    (tmp_path / "answer").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        ("", "--method POST repos/me/mine/issues/7/comments"),
        ("41\n", "--method PATCH repos/me/mine/issues/comments/41 "),
        ("41\n42\n", "--method PATCH repos/me/mine/issues/comments/41 "),
        ("deny", "comments --paginate"),
    ],
)
def test_the_comment(runner: Callable[..., int], gh: Path, answer: str, asked: str) -> None:
    """The first run makes a comment, later ones replace it.

    Without the right to, the step still passes.
    """
    step = read(ACTION)["runs"]["steps"][-1]
    (gh / "gate.md").write_text("### robbench gate: pass\n")
    (gh / "answer").write_text(answer)
    given = {"GATE_MARKDOWN": "gate.md", "GATE_PULL_REQUEST": "7", "GITHUB_REPOSITORY": "me/mine"}
    assert runner(step["run"], **given) == 0
    assert asked in (gh / "asked").read_text().splitlines()[-1]
    assert 'select(.user.login == "github-actions[bot]" and' in (gh / "asked").read_text()
    assert (
        gh / "gate.md.comment"
    ).read_text() == "<!-- robbench gate -->\n### robbench gate: pass\n"


def test_no_comment_without_a_verdict(runner: Callable[..., int], gh: Path) -> None:
    """Bad input leaves no Markdown: nothing is asked of GitHub."""
    step = read(ACTION)["runs"]["steps"][-1]
    given = {"GATE_MARKDOWN": "gate.md", "GATE_PULL_REQUEST": "7", "GITHUB_REPOSITORY": "me/mine"}
    assert runner(step["run"], **given) == 0
    assert not (gh / "asked").exists()


# -- the examples of the page on clusters


def _example(language: str) -> str:
    (found,) = (block.text for block in blocks("clusters") if block.language == language)
    return found


@pytest.fixture
def small() -> Callable[[str], str]:
    """An example's script on 12 samples with a weak attack."""
    return lambda script: script.replace("--attack autoattack", "--attack fgsm --limit 12")


def test_the_batch_script_runs_as_tasks_of_an_array(
    runner: Callable, store: Path, small: Callable
) -> None:
    """Each task its part, whatever the array is; the last one writes the run."""
    script = _example("sh")
    assert script.startswith("#!/bin/bash\n#SBATCH ")
    (first, last) = re.findall(r"^#SBATCH --array=(\d+)-(\d+)$", script, re.MULTILINE)[0]
    assert int(last) > int(first)
    for task in (0, 1):
        assert not list((store / "results").glob("runs/*"))
        variables = {"ID": task, "MIN": 0, "MAX": 1, "COUNT": 2}
        array = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in variables.items()}
        assert runner(small(script), ROBBENCH_OUT=str(store), **array) == 0
    assert len(list((store / "results").glob("runs/*"))) == 1
    assert runner(small(script), ROBBENCH_OUT=str(store)) == 2  # outside of an array


@pytest.mark.slow
def test_the_indexed_job_has_a_part_for_each_index(
    runner: Callable, store: Path, small: Callable
) -> None:
    """Well-formed, as many parts as completions, and the script of an index runs."""
    job = yaml.safe_load(_example("yaml"))
    assert (job["kind"], job["spec"]["completionMode"]) == ("Job", "Indexed")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert mounts == {pod["volumes"][0]["name"]: environment["ROBBENCH_OUT"]}
    (script,) = container["args"]
    assert script.endswith(f"--shard $((JOB_COMPLETION_INDEX + 1))/{job['spec']['completions']}")
    run = partial(runner, small(script), ROBBENCH_OUT=str(store))
    assert run(JOB_COMPLETION_INDEX="7") == 0
    assert run(JOB_COMPLETION_INDEX="8") == 2
