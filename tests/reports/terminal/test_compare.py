"""What a person sees: it fits, it says the truth, and it loses nothing."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console, RenderableType

from robbench.reports import footnotes, texts
from robbench.reports.terminal.compare import comparison_table


def _row(**changes: Any) -> dict[str, Any]:
    row = {
        "model": "ce",
        "loss": "ce",
        "data": "digits",
        "split": "test",
        "threat": "linf:0.15",
        "target": None,
        "attack": "pgd:steps=10",
    }
    row |= {
        "run_id": "0123456789ab",
        "n_samples": 597,
        "n_adversarial": 350,
        "n_unconfirmed": 0,
        "n_error": 0,
        "wall_s": 2.5,
    }
    row |= {"max_time_s": None, "max_queries": None, "best": False, "differs": [], "n_seeds": None}
    row |= {"precision": "fp32", "seed": 0, "checks": None}
    row |= {"n_unfinished": 0, "robust_accuracy_floor": 0.4137, "distance_p50": None, "flags": []}
    row |= {
        "clean_accuracy": 0.9548,
        "clean_accuracy_low": 0.935,
        "clean_accuracy_high": 0.968,
        "adversarial_ratio": 0.5863,
    }
    row |= {
        "robust_accuracy": 0.4137,
        "robust_accuracy_low": 0.3749,
        "robust_accuracy_high": 0.4537,
    }
    row |= {
        "clean_margin_p50": 5.125,
        "adv_margin_p50": -1.5,
        "n_forward": 59700,
        "n_backward": 5970,
    }
    unpaired = dict.fromkeys(
        ("baseline", "n_common", "robust_difference", "won", "lost", "mcnemar_p", "p_holm")
    )
    return row | unpaired | {"note": "baseline", "settings": None} | changes


def _paired(**changes: Any) -> dict[str, Any]:
    pair = {
        "baseline": "0123456789ab",
        "n_common": 597,
        "robust_difference": 0.1234,
        "p_holm": 0.0123,
        "note": None,
    }
    return _row(**{"model": "sovr", "run_id": "ba9876543210", **pair, **changes})


def _shown(renderable: RenderableType, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_row_says_everything_in_80_columns() -> None:
    """One line per run: rates with one decimal, interval, margins, difference, p, queries."""
    lines = _shown(comparison_table([_row(), _paired()])).splitlines()
    assert max(map(len, lines)) <= 80
    first, second = (
        next(line.split() for line in lines if line.startswith(name)) for name in ("ce ", "sovr ")
    )
    assert first == [
        "ce",
        "95.5%",
        "41.4%",
        "37.5-45.4",
        "58.6%",
        "5.12",
        "->",
        "-1.50",
        "-",
        "100+10",
    ]
    assert second == [
        "sovr",
        "95.5%",
        "41.4%",
        "37.5-45.4",
        "58.6%",
        "5.12",
        "->",
        "-1.50",
        "+12.3",
        "p=0.012",
        "100+10",
    ]
    assert lines[0].strip() == "digits test, linf:0.15, pgd:steps=10, 597 samples"


def test_the_footnote_defines_the_words() -> None:
    """Adversarial ratio and test are explained under the tables, once."""
    text = " ".join(_shown(comparison_table([_row(), _row(data="mnist")])).split())
    assert text.count(" ".join(footnotes.FOOTNOTE.split())) == 1
    assert "misclassified without any attack count" in text
    assert "McNemar" in text


def test_the_footnote_of_a_corruption_speaks_of_no_attack() -> None:
    """A sample that is wrong when clean may be right when corrupted."""
    fog = {"norm": "corruption:fog", "eps": 3.0, "threat": "corruption:fog@3"}
    (alone,) = footnotes.footnotes([_row(**fog)])
    (mixed,) = footnotes.footnotes([_row(**fog), _row()])
    assert alone.startswith(footnotes.CORRUPTION)
    assert "attack" not in alone
    assert "McNemar" in alone
    assert footnotes.CORRUPTION in mixed
    assert "without any attack count" in mixed


def test_the_widest_numbers_still_fit() -> None:
    """No number is ever cut, nor the model's name, however long both are."""
    wide = _paired(
        model="a-model-with-a-name-of-forty-characters-x",
        clean_accuracy=1.0,
        robust_accuracy=1.0,
        robust_accuracy_low=0.9936,
        robust_accuracy_high=1.0,
        adversarial_ratio=1.0,
        clean_margin_p50=12345.6,
        adv_margin_p50=-1.2e6,
        robust_difference=-1.0,
        p_holm=1e-99,
        n_forward=597 * 9998,
        n_backward=597 * 12345,
    )
    text = _shown(comparison_table([wide]))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    joined = "".join(line.partition(" ")[0] for line in text.splitlines()[4:])
    assert "a-model-with-a-name-of-forty-characters-x" in joined
    for piece in ("100.0%", "99.4-100.0", "12346 -> -1e+06", "-100.0 p<0.001", "9998+12k"):
        assert piece in text


def test_different_facts_make_titled_tables() -> None:
    """Data, split, threat and attack are titles, in order; their rows stay together."""
    rows = [
        _row(model="a"),
        _row(model="b", threat="l2:0.5"),
        _row(model="c"),
        _row(model="d", attack="fgsm", n_samples=100),
    ]
    text = _shown(comparison_table(rows))
    order = [
        "linf:0.15, pgd",
        "\na ",
        "\nc ",
        "l2:0.5, pgd",
        "\nb ",
        "linf:0.15, fgsm, 100 samples",
        "\nd ",
    ]
    positions = [text.index(piece) for piece in order]
    assert positions == sorted(positions)


def test_notes_are_shown_and_runs_of_one_model_told_apart() -> None:
    """Two runs of one model carry their run ids; notes on a pair are below the table."""
    text = _shown(
        comparison_table(
            [_row(), _paired(model="ce", n_samples=100, note="paired on the 100 samples in common")]
        )
    )
    assert "100-597 samples" in text
    assert "ce 0123" in text
    assert "ce ba98: paired on the 100 samples in common" in text
    assert "baseline" not in text


def test_settings_tell_rows_apart():
    """Behind the name, also where two runs are of one model."""
    text = _shown(comparison_table([_row(settings="fp32"), _row(run_id="b" * 12, settings="bf16")]))
    assert "(fp32)" in " ".join(text.split())
    assert "(bf16)" in " ".join(text.split())


def test_markup_in_names_is_text() -> None:
    """Names are never taken for rich markup or emoji."""
    text = _shown(comparison_table([_row(model="[red]x", attack="pgd:steps=1:smile:[b]")]))
    assert "[red]x" in text
    assert ":smile:[b]" in text


def test_no_colour_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR is honoured even by a terminal."""
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="truecolor")
    console.print(comparison_table([_row(n_error=1)]))
    assert isinstance(console.file, io.StringIO)
    assert "\x1b[3" not in console.file.getvalue()


def test_plain_output_is_ascii() -> None:
    """What we write ourselves can be shown by any terminal."""
    assert texts.margins(_row()).isascii()
    assert footnotes.FOOTNOTE.isascii()


def test_doubtful_samples_are_told_of() -> None:
    """Unconfirmed successes and non-finite answers are noted under the table, if any."""
    assert "re-check" not in _shown(comparison_table([_row()]))
    text = " ".join(_shown(comparison_table([_row(n_unconfirmed=2, n_error=3)])).split())
    assert "2 claimed successes did not survive the re-check" in text
    assert "3 samples gave logits or gradients" in text


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0, "p<0.001"),
        (0.00099, "p<0.001"),
        (0.001, "p=0.001"),
        (0.0499, "p=0.050"),
        (0.5, "p=0.50"),
        (1.0, "p=1.00"),
    ],
)
def test_p_values(p: float, text: str) -> None:
    """Small p values are bounded, others have the digits that matter."""
    assert texts.p_value(p) == text


def test_a_margin_that_is_not_a_number() -> None:
    """NaN is shown as nothing."""
    assert texts.margins(_row(adv_margin_p50=float("nan"))) == "5.12 -> -"


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("colours", [True, False])
def test_long_names_at_any_width(
    width: int, colours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal, with colours or NO_COLOR: lines fit, names and numbers are whole."""
    if not colours:
        monkeypatch.setenv("NO_COLOR", "1")
    name = "resnet-18-adversarially-trained-with-awp-seed-3"
    rows = [_row(model=name), _paired(best=True, n_error=1)]
    console = Console(
        file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor"
    )
    console.print(comparison_table(rows))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert ("\x1b[33m" in shown) == colours
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.strip().startswith(name) for line in lines)
    text = " ".join(" ".join(lines).split())
    assert text.count("41.4% 37.5-45.4") == 2
    assert "+12.3 p=0.012" in text
