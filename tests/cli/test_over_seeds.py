"""Training seeds of one recipe, from training to the grouped row."""


def test_two_trainings_of_a_recipe_are_one_row(cli, attacked, tmp_path):
    """A run knows its training: a recipe's seeds are joined, another recipe stays apart."""
    import shutil

    out = shutil.copytree(attacked, tmp_path / "S")
    assert (
        cli(
            "train --data digits --loss cross-entropy --epochs 2 --seed 1 --name ce-s1 --out", out
        ).code
        == 0
    )
    assert (
        cli(
            "attack ce-s1 --attack pgd:steps=10 --attack apgd --threat linf:0.15 --limit 100 --out",
            out,
        ).code
        == 0
    )
    rows = cli("compare ce ce-s1 at --json --out", out).json["rows"]
    found = cli("compare ce ce-s1 at --over-seeds --json --out", out).json["rows"]
    assert [(row["model"], row["n_seeds"]) for row in found] == [
        ("ce (2 seeds)", 2),
        ("at (1 seed)", 1),
    ]
    assert (
        found[0]["robust_accuracy"] == (rows[0]["robust_accuracy"] + rows[1]["robust_accuracy"]) / 2
    )
    shown = cli("compare ce ce-s1 at --over-seeds --out", out)
    assert shown.code == 0
    assert "Student's t" in " ".join(shown.out.split())
    assert max(map(len, shown.out.splitlines())) <= 80
