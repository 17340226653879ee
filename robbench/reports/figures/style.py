"""How figures for print look: sizes, fonts, colours, dashes.

Colours: Okabe and Ito, "Color universal design", 2008. Dashes and symbols repeat what they say, so
that a figure can be read in grey.
"""

from __future__ import annotations

from typing import Any

COLUMN = 3.25
"""Width in inches of one column of a conference paper."""

COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#808080",
)
DASHES = (
    "-",
    (0, (4, 1.4)),
    (0, (1, 1.2)),
    (0, (4, 1.2, 1, 1.2)),
    (0, (7, 1.6)),
    (0, (2.2, 1.2)),
    (0, (4, 1.2, 1, 1.2, 1, 1.2)),
    (0, (1, 2.4)),
)
SYMBOLS = ("o", "s", "D", "^", "v", "P", "X", "p")

RC: dict[str, Any] = {
    # Both come with Matplotlib; the second has the signs that the first lacks.
    "font.family": ["STIXGeneral", "DejaVu Sans"],
    "mathtext.fontset": "stix",
    "font.size": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#404040",
    "axes.labelpad": 2.5,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "xtick.color": "#404040",
    "ytick.color": "#404040",
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.width": 0.4,
    "xtick.minor.size": 1.5,
    "ytick.minor.width": 0.4,
    "ytick.minor.size": 1.5,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.2,
    "legend.frameon": False,
    "legend.handlelength": 2.7,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.25,
    "legend.borderpad": 0,
    "legend.borderaxespad": 0.2,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.w_pad": 0.02,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
    "ps.fonttype": 42,
    "pgf.rcfonts": False,  # those of the paper
    "svg.fonttype": "path",
    "svg.hashsalt": "robbench",  # the same data, the same file
    "path.simplify": False,
}
