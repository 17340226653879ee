"""What a reviewer needs: digests, the code of each part, every command in its order."""

from __future__ import annotations

from robbench.analysis.commands import Command
from robbench.reports.html.data import ReportData, Training
from robbench.reports.html.page import Commands, Notes, Table
from robbench.reports.html.sections.provenance import provenance, reproduce


def test_code_and_digests_are_there_with_how_to_verify_them(add_run):
    """A module of one's own by its hash; lines that sha256sum reads, folded."""
    run = add_run("a" * 12)[1]
    code = {"loss": "my_loss 0123456789abcdef", "model": "robbench 1"}
    training = Training([], None, code=code)
    digests = {"results/runs/a.parquet": "00ff"}
    material = ReportData([run], {"ce": training}, digests=digests)
    _, table, how_code, lines, how_tables = provenance(material).blocks
    assert isinstance(table, Table)
    assert [head.text for head in table.heads] == ["model", "loss", "model"]
    assert [cell.text for cell in table.rows[0]] == ["ce", *code.values()]
    assert isinstance(lines, Commands)
    assert (lines.folded, lines.lines) == (True, ["00ff  results/runs/a.parquet"])
    assert isinstance(how_code, Notes)
    assert "sha256sum --check" in how_tables.lines[0]
    assert len(provenance(ReportData([run])).blocks) == 1


def test_the_model_that_training_began_with_is_trained_first(add_run):
    """Each command once, starts before what began with them."""
    run = add_run("a" * 12)[1]
    first, second = Command("robbench train --name a"), Command("robbench train --from a")
    trainings = {"ce": Training([], second, [first]), "a": Training([], first)}
    blocks = reproduce(ReportData([run], trainings)).blocks
    (train,) = [one for one in blocks if isinstance(one, Commands) and one.title == "Train"]
    assert train.lines == [first.line, second.line]


def test_a_run_that_no_command_gives_is_named(add_run):
    """Its command is not made up."""
    kept, lost = add_run("a" * 12)[1], add_run("b" * 12, data="memory", provenance="{}")[1]
    blocks = reproduce(ReportData([kept, lost])).blocks
    (attacks,) = [one for one in blocks if isinstance(one, Commands) and one.title == "Attack"]
    (note,) = [one for one in blocks if isinstance(one, Notes)]
    assert len(attacks.lines) == 1
    assert note.lines[0].startswith(f"No command gives run {'b' * 12}: ")
    assert not any(
        isinstance(one, Commands) and one.title == "Attack"
        for one in reproduce(ReportData([lost])).blocks
    )
