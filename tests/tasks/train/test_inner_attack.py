"""Which attacks can be inner attacks."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        ("apgd-t", 2),
        ("apgd:objective=dlr-targeted", 2),
        ("eot:attack=(apgd:objective=dlr-targeted,steps=2),draws=2", 2),
        ("fgsm", 0),
        ("fgsm-rs", 0),
        ("n-fgsm", 0),
        ("apgd:steps=2", 0),
        ("pgd:steps=2,objective=kl-from-clean", 0),
    ],
)
def test_any_row_attack_can_be_inner(cli, tmp_path, inner, code):
    """Every attack of ours works as the inner attack, but targeted ones, which are refused in one
    line; it never crashes.
    """
    done = cli(
        "train --model mlp --limit 60 --epochs 1 --quiet --name m",
        "--inner",
        inner,
        "--out",
        tmp_path,
    )
    assert done.code == code, done.err
    assert (tmp_path / "models" / "m" / "model.safetensors").exists() == (code == 0)
    assert ("targeted" in done.err, done.err.count("\n")) == (code == 2, code // 2)


@pytest.mark.parametrize("loss", ["mma", "trades"])
def test_n_fgsm_is_for_losses_that_climb_cross_entropy(cli, tmp_path, loss):
    """A loss that divides by the attack's budget, or climbs a divergence that is flat at the clean
    input, refuses it in one line.
    """
    done = cli(f"train --model mlp --limit 60 --loss {loss} --inner n-fgsm --out", tmp_path)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "objective" in done.err


@pytest.mark.parametrize(
    ("loss", "inner", "words"),
    [
        ("dyart", "pgd:steps=2", "goes to the nearest boundary; use fab"),
        ("dyart", "ddn", "goes to the nearest boundary; use fab"),
        ("dyart", "fab:restarts=2", "leave out restarts"),
        ("dyart", "fab-t", "use fab without targets"),
        ("dyart", "fab:candidates=3", "leave out candidates"),
        ("dyart", "none", "needs an inner attack"),
        ("cross-entropy", "fab", "it looks for the smallest perturbation"),
    ],
)
def test_the_nearest_boundary_is_for_losses_that_go_there(cli, tmp_path, loss, inner, words):
    """Such a loss takes FAB alone, and no other loss takes it; nothing is written."""
    done = cli("train --data digits --loss", loss, "--inner", inner, "--out", tmp_path / "S")
    assert done.code == 2
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "S").exists()


@pytest.mark.parametrize(
    ("loss", "inner", "words"),
    [
        ("trades", "pgd:objective=margin", "climbs kl-from-clean; leave out objective"),
        ("mma", "pgd:objective=margin", "climbs soft-margin; leave out objective"),
        ("rpat:base=trades", "pgd:init=clean", "no gradient at the clean input"),
        ("rpat:base=trades", "square:steps=3", "objective"),
        ("trades", "pgd:steps=1,objective=kl-from-clean", ""),
        ("i-sce:sampling=attack", None, ""),
    ],
)
def test_a_loss_that_decides_what_the_attack_climbs(cli, tmp_path, loss, inner, words):
    """Another objective is refused, as nothing would read it; a finished model is left alone."""
    train = "train --model mlp --limit 60 --epochs 1 --quiet --name m --out"
    assert cli(train, tmp_path).code == 0
    before = (tmp_path / "models" / "m" / "model.safetensors").read_bytes()
    given = [] if inner is None else ["--inner", inner]
    done = cli(train, tmp_path, "--force", "--loss", loss, *given)
    assert (done.code, words in done.err) == (2 if words else 0, True), done.err
    same = (tmp_path / "models" / "m" / "model.safetensors").read_bytes() == before
    assert same == bool(words)
