"""What is known to be alike here and at the address."""

from __future__ import annotations

from robbench.store.address.ledger import Ledger, Stamp, stamp_of


def test_two_processes_share_it(tmp_path):
    """One sees what the other adds, of a file the last; a torn line counts as absent."""
    first, second = Ledger(tmp_path / "l"), Ledger(tmp_path / "l")
    first.note("a", Stamp(1, 2), "v1")
    first.note("b", Stamp(1, 2), "w")
    with (tmp_path / "l").open("ab") as file:
        file.write(b'["c", 1, 2')
    second.reload()
    second.note("a", Stamp(3, 4), "v2")
    second.forget("b")
    first.reload()
    for ledger in (first, second, Ledger(tmp_path / "l")):
        ledger.reload()
        assert ledger["a"] == (Stamp(3, 4), "v2")
        assert ledger["b"] == ledger["c"] == (None, None)
        assert ledger.names() == ["a"]


def test_a_stamp_tells_a_replaced_file(tmp_path):
    """By size or time; there is none of what is missing."""
    assert stamp_of(tmp_path / "x") is None
    (tmp_path / "x").write_bytes(b"1")
    first = stamp_of(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"12")
    assert stamp_of(tmp_path / "x") != first
