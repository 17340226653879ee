"""Verify and bundle from Python: as the commands."""

import pytest

import robbench
from robbench.core.files import sha256

pytestmark = pytest.mark.usefixtures("silent")


def test_a_bundle_is_made_and_verified(trained_here, tmp_path, cli):
    """Claim by claim what the command says, and its exit code."""
    robbench.attack("m", "pgd:steps=3", "linf:0.12", limit=30, store_points=True, out=trained_here)
    made = robbench.bundle("m", tmp_path / "m.zip", out=trained_here)
    assert made.sha256 == sha256(tmp_path / "m.zip")
    found = robbench.verify(made.path, out=tmp_path)
    assert found.attrs["exit_code"] == 0
    assert set(found["verdict"]) == {"confirmed"}
    done = cli("verify", made.path, "--json", "--out", tmp_path)
    assert (done.code, done.json["exit_code"]) == (0, 0)
    assert [row["claim"] for row in done.json["claims"]] == found["claim"].tolist()
    bare = robbench.bundle("m", str(tmp_path / "n.zip"), with_model=False, out=trained_here)
    assert robbench.verify(str(bare.path), out=tmp_path).attrs["exit_code"] == 4
    model = str(trained_here / "models" / "m")
    assert robbench.verify(str(bare.path), model=model, out=tmp_path).attrs["exit_code"] == 0


def test_what_cannot_be_verified(trained_here, tmp_path):
    """The error of the command, in the words of Python."""
    (tmp_path / "x.zip").write_text("x")
    with pytest.raises(robbench.UserError, match="no zip file"):
        robbench.verify(str(tmp_path / "x.zip"), out=trained_here)
    with pytest.raises(robbench.UserError, match="unknown model, run or path"):
        robbench.verify("nowhere", out=trained_here)
