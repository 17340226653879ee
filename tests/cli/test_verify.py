"""`robbench verify` and `robbench bundle`: exit codes, what is printed, and bad input."""

import re
import zipfile

import pytest

from robbench.store.archive import write_archive


@pytest.fixture
def out(store, cli):
    """A folder with a run of `at` that has points."""
    words = "--threat linf:0.15 --limit 20 --attack pgd:steps=3 --store-points --quiet --out"
    assert cli(f"attack at {words}", store).code == 0
    return store


def test_a_run_is_packed_and_verified(out, cli, tmp_path):
    """One line says where and the SHA-256; the table is the result, alone on stdout."""
    done = cli("bundle at -o", tmp_path / "at.zip", "--out", out)
    assert (done.code, done.out.count("\n")) == (0, 1), done.err
    assert done.out.startswith(f"{tmp_path / 'at.zip'}: 6 files, SHA-256 ")
    assert "to verify it takes data digits" in done.err
    told = done.out.split()[-1]
    done = cli("verify", tmp_path / "at.zip", "--out", tmp_path)
    assert (done.code, done.err.count("error")) == (0, 0)
    assert told in "".join(done.out.split())
    *_, last = lines = done.out.splitlines()
    assert len(lines) == 2
    count = int(last.removesuffix(" confirmed"))
    whole = cli("verify --verbose", tmp_path / "at.zip", "--out", tmp_path).out
    assert "<= " in whole
    assert len([line for line in whole.splitlines() if line.endswith(" confirmed")]) == count + 1
    done = cli("bundle at --json -o", tmp_path / "2.zip", "--quiet", "--out", out)
    assert (done.json["schema"], done.json["sha256"], done.err) == ("robbench.bundle/1", told, "")


def test_a_flipped_byte_ends_with_1_and_its_place(out, cli, tmp_path):
    """On another checkout, which has the data only."""
    path = tmp_path / "at.zip"
    assert cli("bundle at -o", path, "--out", out).code == 0
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if "points" in name)
        place = archive.getinfo(name).header_offset + 200
    content[place] ^= 1
    path.write_bytes(content)
    done = cli("verify", path, "--out", tmp_path)
    assert (done.code, name in done.out, "1 refuted" in done.out) == (1, True, True)


def test_without_evidence_the_command_ends_with_4(store, cli):
    """A run without points: the table says which numbers are open."""
    assert cli("attack at --limit 20 --attack fgsm --quiet --out", store).code == 0
    table, last = cli("verify at --out", store).out.rsplit("\n\n", 1)
    assert ("robust accuracy" in table, "clean accuracy" in table) == (True, False)
    assert re.fullmatch(r"\d+ confirmed, 3 unconfirmed\n", last)
    done = cli("verify at --json --out", store)
    verdicts = {row["claim"]: row["verdict"] for row in done.json["claims"]}
    assert (done.code, done.json["exit_code"]) == (4, 4)
    assert verdicts["robust accuracy"] == "unconfirmed"
    assert verdicts["clean accuracy"] == "confirmed"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["verify", "x.zip"], "no zip file"),
        (["verify", "foreign.zip"], "no manifest.json"),
        (["verify", "newer.zip"], "upgrade robbench"),
        (["verify", "bomb.zip"], "compressed"),
        (["verify", "outside.zip"], "no manifest.json"),
        (["verify", "nowhere.zip"], "does not exist"),
        (["verify", "nowhere"], "no results"),
        (["verify"], "Missing argument"),
        (["bundle", "nowhere", "-o", "b.zip"], "no results"),
        (["bundle", "at"], "Missing option"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_2(cli, tmp_path, monkeypatch, snapshot, words, said):
    """What was wrong; nothing is written."""
    monkeypatch.delenv("ROBBENCH_OUT", raising=False)
    (tmp_path / "x.zip").write_text("x")
    write_archive(tmp_path / "foreign.zip", {"a": b"x"})
    write_archive(tmp_path / "outside.zip", {"../a": b"x"})
    newer = b'{"schema": "robbench.bundle/9"}'
    write_archive(tmp_path / "newer.zip", {"manifest.json": newer, "new": b""})
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", bytes(1 << 20))
    before = snapshot(tmp_path)
    done = cli(*words, cwd=tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert said in done.err
    assert snapshot(tmp_path) == before
