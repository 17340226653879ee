"""Names from files import nothing; those typed in the command do, --trust-code allows all."""

from __future__ import annotations

import json

import pytest


def refused(done, folder, words=("private code", "hostile:", "--trust-code")):
    """Exit 2 with one line that has the words, and nothing of the module was run."""
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert all(word in done.err for word in words), done.err
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("command", ["measure", "check"])
@pytest.mark.parametrize("column", ["model", "data"])
def test_a_result_file(cli, hostile, attacked, row_of, rewrite, command, column):
    """The model and the data of a result file are names from a file, which the error names."""
    folder, path = hostile(), row_of(attacked)
    rewrite(path, **{column: "hostile:make" if column == "model" else "hostile:Data"})
    refused(
        cli(command, path, cwd=folder),
        folder,
        ("private code", "hostile:", "--trust-code", path.name),
    )


def test_the_attacks_of_a_result_file(cli, hostile, attacked, row_of, rewrite):
    """Checks look at the attacks that a run's file, and its rows of samples, name."""
    folder, path = hostile(), row_of(attacked)
    rewrite(path, attack_params='["hostile:Attack"]')
    rewrite(attacked / "results" / "samples" / path.name, broken_by="hostile:Attack")
    refused(cli("check", path, "--out", attacked, cwd=folder), folder)


@pytest.mark.parametrize("command", ["measure", "check"])
@pytest.mark.parametrize(
    "spec",
    ["os:system:command=(touch ran)", "builtins:exec:object=1", "sys:exit", "subprocess:run"],
)
def test_python_itself_in_a_result_file(cli, hostile, attacked, row_of, rewrite, command, spec):
    """Even with --trust-code nothing of Python's library is called."""
    folder, path = hostile(), row_of(attacked)
    rewrite(path, model=spec)
    refused(cli(command, path, cwd=folder), folder, ("private code", "--trust-code"))
    refused(cli(command, path, "--trust-code", cwd=folder), folder, ("a module of Python itself",))


@pytest.mark.parametrize("spec", ["hostile:Attack", "transfer:source=(hostile:make),attack=fgsm"])
def test_the_baseline_of_a_gate(cli, hostile, attacked, row_of, rewrite, spec):
    """A baseline's attacks and a transfer's source too: a pull request may bring the file."""
    folder, path = hostile(), row_of(attacked)
    rewrite(path, attack_params=json.dumps([spec]), attack=spec)
    done = cli("gate --model mlp:width=4 --baseline", path, "--out", folder / "S", cwd=folder)
    refused(done, folder, ("private code", "hostile:", "--trust-code", path.name))


def test_a_model_folder(cli, hostile, tmp_path):
    """config.json of a trained model, also of one's own; --trust-code or typed names suffice."""
    folder = hostile()
    trained = cli(
        "train --model hostile:make --epochs 1 --limit 40 --name mine --quiet --out S", cwd=folder
    )
    assert trained.code == 0, trained.err
    (folder / "ran").unlink()
    forget()
    attack = "attack mine --attack fgsm --limit 4 --quiet --json --out S"
    refused(
        cli(attack, cwd=folder),
        folder,
        ("S/models/mine/config.json", "hostile:make", "--trust-code"),
    )
    refused(cli(attack, "--dry-run", cwd=folder), folder, ("hostile:make", "dry run"))
    refused(
        cli(attack, "--trust-code", "--dry-run", cwd=folder), folder, ("hostile:make", "dry run")
    )
    done = cli(attack, "--trust-code", cwd=folder)
    assert done.code == 0, done.err
    assert (folder / "ran").exists()


def forget():
    import sys

    sys.modules.pop("hostile", None)


@pytest.mark.parametrize("dry", ["--dry-run", "--quiet"])
@pytest.mark.parametrize(
    ("command", "content", "named"),
    [
        ("train --config c.toml --epochs 1 --limit 20", 'loss = "hostile:Loss"', "c.toml"),
        ("train --config c.toml --epochs 1 --limit 20", 'inner = "hostile:Attack"', "c.toml"),
        ("train --config c.toml --epochs 1 --limit 20", 'model = "hostile:make"', "c.toml"),
        ("train --config c.toml --epochs 1 --limit 20", 'data = "hostile:Data[first=3]"', "c.toml"),
        ("train --config c.toml --epochs 1 --limit 20", 'generated = "hostile:Data"', "c.toml"),
        (
            "attack mlp --config c.toml --limit 4",
            '[attack]\nattack = ["fgsm", "eot:attack=(hostile:Attack)"]',
            "c.toml",
        ),
        (
            "attack mlp --limit 4 --attack c.toml",
            'attacks = ["transfer:source=(hostile:make)"]',
            "c.toml",
        ),
    ],
)
def test_settings_and_cascades(cli, hostile, command, content, named, dry):
    """TOML files: settings of both commands, a cascade; nested names; a dry run too."""
    folder = hostile()
    (folder / "c.toml").write_text(content)
    words = ("hostile:", named, "dry run" if dry == "--dry-run" else "--trust-code")
    refused(cli(command, dry, "--out", folder / "S", cwd=folder), folder, words)


def test_the_environment(cli, hostile):
    """ROBBENCH_* settings are not typed; what is typed over them is."""
    folder = hostile()
    env = {"ROBBENCH_LOSS": "hostile:Loss"}
    line = "train --epochs 1 --limit 40 --model mlp:width=4 --quiet --out S"
    refused(cli(line, env=env, cwd=folder), folder, ("ROBBENCH_LOSS", "hostile:Loss"))
    done = cli(line, "--loss", "hostile:Loss", env=env, cwd=folder)
    assert done.code == 0, done.err
    (folder / "c.toml").write_text('loss = "hostile:Loss"')
    done = cli(line, "--config", "c.toml", "--trust-code", "--name", "other", cwd=folder)
    assert done.code == 0, done.err


def test_typed_names_are_imported_where_files_name_them_too(
    cli, hostile, attacked, row_of, rewrite
):
    """`measure FILE --model hostile:make` names the code to run; a mismatch shows later."""
    folder, path = hostile(), row_of(attacked)
    done = cli("measure", path, "--model", "hostile:make", cwd=folder)
    assert (done.code, (folder / "ran").exists()) == (2, True)
    assert "is not what was attacked" in done.err


def test_the_data_of_a_page(cli, hostile, attacked, row_of, rewrite, tmp_path):
    """Report and view are written without the pictures whose data are private code."""
    folder = hostile()
    done = cli(
        "attack mlp:width=8 --attack pgd:steps=9 --threat linf:1 --limit 40 --store-points --quiet "
        "--out S",
        cwd=folder,
    )
    assert done.code == 0, done.err
    rewrite(row_of(folder / "S"), data="hostile:Data")
    done = cli("report --out S --html", tmp_path / "r.html", cwd=folder)
    assert done.code == 0, done.err
    assert not (folder / "ran").exists()
    assert "names private code, hostile:Data" in (tmp_path / "r.html").read_text()
    done = cli("view --out S -o", tmp_path / "v.html", cwd=folder)
    assert done.code == 0, done.err
    assert not (folder / "ran").exists()
    assert "names private code, hostile:Data" in (tmp_path / "v.html").read_text()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("os:system:command=(touch ran)", "a module of Python itself"),
        ("sys:exit", "a module of Python itself"),
        ("pathlib:Path.touch", "a module of Python itself"),
        ("reexports:system", "object of builtin_function_or_method"),
        ("reexports:run", "is defined in subprocess"),
        ("reexports:Popen", "the class Popen"),
        ("reexports:partial", "object of builtin_function_or_method"),
        ("reexports:partial_run", "is defined in subprocess"),
        ("reexports:partial_load", "may run what they load"),
        ("torch:load:f=ran,weights_only=false", "may run what they load"),
        ("torch.hub:load:repo_or_dir=a,model=b", "may run what they load"),
        ("numpy:load:file=ran,allow_pickle=true", "may run what they load"),
        ("reexports:load:f=ran,weights_only=false", "is defined in torch.serialization"),
    ],
)
def test_what_is_no_factory(cli, private, spec, words):
    """What was typed is refused by its kind, before it is called."""
    folder = private(
        "reexports",
        "import functools, os\nfrom os import system\nfrom subprocess import Popen, run\n"
        "from torch import load\n"
        "partial = functools.partial(os.system, 'touch ran')\n"
        "partial_run = functools.partial(run, ['touch', 'ran'])\n"
        "partial_load = functools.partial(load, 'ran', weights_only=False)\n",
    )
    refused(
        cli("attack", spec, "--limit", "4", "--out", folder / "S", cwd=folder), folder, (words,)
    )


def test_factories_of_other_modules(cli, private):
    """A folder's modules may pass on each other's names; an installed function is its own."""
    folder = private(
        "inner_nets",
        "from torch import nn\ndef make(n=1):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n",
    )
    source = (
        "import functools\nfrom inner_nets import make\nfrom torchvision.models import resnet18\n"
    )
    private(
        "outer_nets",
        source
        + "def size(n, width):\n    return make(width)\nwide = functools.partial(size, width=9)\n",
    )
    for spec in ("outer_nets:make", "inner_nets:make", "outer_nets:wide:n=1"):
        done = cli(f"attack {spec} --attack fgsm --limit 4 --quiet --dry-run --out S", cwd=folder)
        assert done.code == 0, done.err
    done = cli("attack outer_nets:resnet18 --limit 4 --out S", cwd=folder)
    refused(done, folder, ("write torchvision.models.resnet:resnet18",))


@pytest.mark.parametrize("named", ["file", "settings", "cascade", "nested"])
def test_typed_data_are_no_typed_code(cli, hostile, attacked, row_of, rewrite, named):
    """`folder:photos` is data where typed; a file with it as model or attack is refused."""
    folder, path = hostile("folder"), row_of(attacked)
    rewrite(path, model="folder:photos")
    content = {
        "settings": '[attack]\nattack = "folder:photos"',
        "cascade": 'attacks = ["folder:photos"]',
    }
    (folder / "c.toml").write_text(
        content.get(named, 'attacks = ["transfer:source=(folder:photos)"]')
    )
    words = {
        "file": f"check {path} --source folder:photos",
        "settings": "attack mlp --data folder:photos --config c.toml",
    }
    done = cli(
        words.get(named, "attack mlp --data folder:photos --attack c.toml"),
        "--out",
        folder / "S",
        cwd=folder,
    )
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert "folder:photos" in done.err
    assert not (folder / "ran").exists()


@pytest.mark.slow
def test_what_torch_may_import_is_not_looked_for_in_the_current_folder(spawn, tmp_path):
    """Only private code is: torch imports optional packages and back-ends of metadata."""
    for name in ("opt_einsum", "triton", "evil_backend"):
        (tmp_path / f"{name}.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    metadata = tmp_path / "evil-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[torch.backends]\nevil = evil_backend:load\n")
    # As the console script: `python -c` would put the folder on the path by itself.
    code = "import sys; sys.path.remove(''); sys.argv = ['robbench', 'explain', 'trades']\n"
    done = spawn(code=f"{code}from robbench.cli.app import main\nmain()", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert not (tmp_path / "ran").exists()


def test_attacks_that_take_long_to_read(cli, hostile, attacked, row_of, rewrite):
    """A spec of half a megabyte is refused at once."""
    folder, path = hostile(), row_of(attacked)
    rewrite(path, attack_params=json.dumps(["pgd:x=" * 60_000]))
    refused(cli("check", path, "--out", attacked, cwd=folder), folder, ("360000 characters",))
