"""The options that commands share: declared once, so that they mean the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RUN, PLACE, SHOW = "Run", "Where", "Output"

Out = Annotated[Path, typer.Option("-o", "--out", envvar="ROBBENCH_OUT", help="Output folder.", rich_help_panel=PLACE)]
Config = Annotated[
    Path | None, typer.Option("-c", "--config", help="TOML file with any of these settings.", rich_help_panel=RUN)
]
Set = Annotated[
    list[str] | None, typer.Option("-S", "--set", metavar="KEY=VALUE", help="Any setting by name, also those without a flag.", rich_help_panel=RUN)
]  # fmt: skip
Device = Annotated[
    str, typer.Option("--device", envvar="ROBBENCH_DEVICE", help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=RUN)
]
Seed = Annotated[int | None, typer.Option("--seed", help="All random numbers follow from it.  [default: 0]", rich_help_panel=RUN)]
Limit = Annotated[
    int | None, typer.Option("-n", "--limit", metavar="N", help="Only the first N samples.", rich_help_panel=RUN)
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", envvar="ROBBENCH_DATA_DIR", help="Where data sets lie.", rich_help_panel=PLACE)
]
Download = Annotated[bool, typer.Option("--download", help="Allow a missing data set to be downloaded.", rich_help_panel=PLACE)]
Force = Annotated[bool, typer.Option("--force", help="Do it again and replace what is there.", rich_help_panel=RUN)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.", rich_help_panel=RUN)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.", rich_help_panel=SHOW)]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress, no messages.", rich_help_panel=SHOW)]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="More messages.", rich_help_panel=SHOW)]
