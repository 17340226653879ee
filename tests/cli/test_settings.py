"""Where a setting comes from: flag > --set > ROBBENCH_* > config file > default."""

from __future__ import annotations

import itertools

import pytest

FILE, ENV, SET, FLAG = "file", "environment", "--set", "flag"
VALUES = {FILE: 11, ENV: 12, SET: 13, FLAG: 14}


def settled(cli, tmp_path, sources, key="epochs"):
    """The value that wins in a dry run when a key is given in these places."""
    words, env = [], {}
    if FILE in sources:
        (tmp_path / "config.toml").write_text(f"[train]\n{key} = {VALUES[FILE]}\n")
        words += ["--config", tmp_path / "config.toml"]
    if ENV in sources:
        env[f"ROBBENCH_{key.upper()}"] = str(VALUES[ENV])
    if SET in sources:
        words += ["--set", f"{key}={VALUES[SET]}"]
    if FLAG in sources:
        words += [f"--{key}", VALUES[FLAG]]
    done = cli("train", "--dry-run", *words, env=env)
    assert done.code == 0, done.err
    return done.json["config"][key]


@pytest.mark.parametrize(
    "sources", [c for n in range(5) for c in itertools.combinations(VALUES, n)], ids="+".join
)
def test_precedence(cli, tmp_path, sources):
    """Of all the places where a setting is given the strongest wins, in every combination."""
    assert settled(cli, tmp_path, sources) == (VALUES[sources[-1]] if sources else 20)


def test_a_commands_table_wins_over_plain_keys(cli, tmp_path):
    """In a TOML file plain keys are for every command; a command's own table wins."""
    file = tmp_path / "c.toml"
    file.write_text(
        'seed = 1\nlimit = 200\n[train]\nlimit = 100\nloss = "trades"\n[attack]\nlimit = 50\n'
        'attack = ["fgsm", "pgd:steps=2"]\n'
    )
    config = cli("train", "--dry-run", "-c", file).json["config"]
    assert (config["seed"], config["limit"], config["loss"]) == (1, 100, "trades:beta=6.0")
    (run,) = cli("attack", "mlp", "--dry-run", "-c", file).json["runs"]
    assert (run["samples"], run["attack"]) == (50, "fgsm + pgd:steps=2")


def test_one_attack_needs_no_list(cli, tmp_path):
    """In --set, environment and file one attack or threat may be written without a list."""
    file = tmp_path / "c.toml"
    file.write_text('[attack]\nattack = "fgsm"\nthreat = "linf:0.1"\n')
    for words, env in (
        (["-c", file], {}),
        (["-S", "attack=fgsm", "-S", "threat=linf:0.1"], {}),
        ([], {"ROBBENCH_ATTACK": "fgsm", "ROBBENCH_THREAT": "linf:0.1"}),
    ):
        (run,) = cli("attack", "mlp", "--dry-run", "--limit", 5, *words, env=env).json["runs"]
        assert (run["attack"], run["threat"]) == ("fgsm", "linf:0.1")


ATTACKING = {  # key: (what the sources say, what a dry run shows)
    "max_time": (["20s", "30s", "1.5m", "40s"], [20.0, 30.0, 90.0, 40.0], None),
    "max_queries": (["20", "30", "35", "40"], [20, 30, 35, 40], None),
    "precision": (["bf16", "fp32", "bf16", "fp32"], ["bf16", "fp32", "bf16", "fp32"], "fp32"),
    "seed": (["1", "2", "3", "4"], [1, 2, 3, 4], 0),
}


@pytest.mark.parametrize("strongest", range(5))
@pytest.mark.parametrize("key", ATTACKING)
def test_precedence_of_an_attacks_settings(cli, tmp_path, key, strongest):
    """Limits and precision are settings: file, environment, --set, flag, in rising order."""
    given, shown, default = ATTACKING[key]
    file, words, env = tmp_path / "c.toml", [], {}
    file.write_text(f'[attack]\n{key} = "{given[0]}"\n')
    words += ["-c", file] if strongest > 0 else []
    env |= {f"ROBBENCH_{key.upper()}": given[1]} if strongest > 1 else {}
    words += ["-S", f"{key}={given[2]}"] if strongest > 2 else []
    words += [f"--{key.replace('_', '-')}", given[3]] if strongest > 3 else []
    (run,) = cli("attack mlp --attack fgsm --limit 5 --dry-run", *words, env=env).json["runs"]
    assert run[key] == (shown[strongest - 1] if strongest else default)


def test_no_limit_over_a_limit(cli, tmp_path):
    """`none` takes away what a weaker source has set."""
    words = "attack mlp --attack fgsm --limit 5 --dry-run"
    env = {"ROBBENCH_MAX_QUERIES": "20", "ROBBENCH_MAX_TIME": "20s"}
    for more in (
        ["--max-queries", "none", "--max-time", "none"],
        ["-S", "max_queries=none", "-S", "max_time=none"],
    ):
        (run,) = cli(words, *more, env=env).json["runs"]
        assert run["max_queries"] is run["max_time"] is None


def test_switches_from_everywhere(cli, tmp_path):
    """--compile and --store-points work in file, environment and --set, also as false."""
    words, file = "attack mlp --attack fgsm --limit 5 --dry-run", tmp_path / "c.toml"
    file.write_text("[attack]\ncompile = true\nstore_points = true\n")

    def shown(*more, env=None):
        (run,) = cli(words, *more, env=env).json["runs"]
        return run["compile"], run["store_points"]

    assert shown() == (False, False)
    assert shown("--compile", "--store-points") == (True, True)
    assert shown("-c", file) == shown("-S", "compile=true", "-S", "store-points=1") == (True, True)
    assert shown(env={"ROBBENCH_COMPILE": "1", "ROBBENCH_STORE_POINTS": "true"}) == (True, True)
    assert shown("-c", file, "-S", "compile=false") == (False, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--max-time soon", "max_time"),
        ("--max-queries 5q", "max_queries"),
        ("--precision fp16", "bf16"),
        ("-S max_time=3x", "max_time"),
        ("-S compile=maybe", "compile"),
        ("-S max_tme=3s", "max_time"),
        ("--precision ''", "precision"),
    ],
)
def test_bad_settings_of_an_attack(cli, tmp_path, words, message):
    """A word that cannot be meant is exit 2 with the setting's name, wherever it comes from."""
    import shlex

    done = cli("attack mlp --attack fgsm --limit 5 --dry-run", *shlex.split(words))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert message in done.err


def test_runs_to_replay_as_settings(cli, store):
    """One run needs no list in --set, environment and file; several are a list."""
    first = cli("attack ce --attack fgsm --limit 5 --store-points --json --out", store).json[
        "rows"
    ][0]["run_id"]
    second = cli("attack at --attack fgsm --limit 5 --store-points --json --out", store).json[
        "rows"
    ][0]["run_id"]
    file = store / "c.toml"
    words = ["attack", "ce", "--attack", "fgsm", "--limit", 5, "--dry-run", "--out", store]
    for content, more, env, expected in (
        ("", ["--replay", first, "--replay", "at"], {}, [first, second]),
        ("", ["-S", f"replay={first}"], {}, [first]),
        ("", [], {"ROBBENCH_REPLAY": "at"}, [second]),
        (f'replay = "{first}"', [], {}, [first]),
        (f'replay = ["ce", "{second}"]', [], {}, [first, second]),
        ("", [], {}, []),
    ):
        file.write_text(f"[attack]\n{content}\n")
        (run,) = cli(*words, "-c", file, *more, env=env).json["runs"]
        assert run["replay"] == expected


def test_set_reaches_settings_without_a_flag(cli):
    """Every key of the configuration can be set, with hyphens or underscores, and its type."""
    words = (
        "-S weight-decay=1/2000 -S schedule=cosine -S augment=crop -S select=best -S "
        "inner_mode=train"
    )
    config = cli(f"train --dry-run {words}").json["config"]
    assert config["weight_decay"] == pytest.approx(0.0005)
    assert [config[key] for key in ("schedule", "augment", "select", "inner_mode")] == [
        "cosine",
        "crop",
        "best",
        "train",
    ]


def test_a_fraction_as_learning_rate(cli):
    """--lr takes a fraction."""
    assert cli("train", "--dry-run", "--lr", "1/8").json["config"]["lr"] == 0.125


def test_the_output_folder_from_the_environment(cli, tmp_path):
    """ROBBENCH_OUT is the output folder unless --out is given."""
    env = {"ROBBENCH_OUT": str(tmp_path / "env")}
    assert cli("train", "--dry-run", env=env).json["folder"].startswith(str(tmp_path / "env"))
    assert (
        cli("train", "--dry-run", "--out", tmp_path / "flag", env=env)
        .json["folder"]
        .startswith(str(tmp_path / "flag"))
    )


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "meta", "cuda:x"])
def test_devices_that_are_not_there(cli, device):
    """A device that is not there is exit 2, never another device."""
    done = cli("train", "--dry-run", "--device", device)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
