"""The options of `robbench attack`."""

from __future__ import annotations

from typing import Annotated

import typer

from robbench.cli import options as o
from robbench.cli.options import option

WHAT = "What to attack, and how"
Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="A trained model by its name (NAME@best, NAME@last, 'NA*') or folder; or a spec: "
        "my_models:make, checkpoint:FILE,arch=SPEC, timm:resnet50, onnx:FILE, ... "
        "(robbench explain models).",
    ),
]
Attacks = Annotated[
    list[str] | None,
    option(
        "-a",
        "--attack",
        panel=WHAT,
        metavar="SPEC",
        help="Attack or cascade, such as apgd:steps=50 or autoattack, or a .toml file with a "
        "list of them; several form one worst case per sample (default: apgd).",
    ),
]
Audit = Annotated[
    str | None,
    option(
        "--audit",
        panel=WHAT,
        metavar="N",
        help="Then give N of the samples that no attack broke, drawn at random, a stronger "
        "attack: what it breaks counts, and bounds what a full run would break.",
    ),
]
AuditAttacks = Annotated[
    list[str] | None,
    option(
        "--audit-attack",
        panel=WHAT,
        metavar="SPEC",
        help="Attack or cascade of the audit; may be repeated (default: autoattack).",
    ),
]
Adaptive = Annotated[
    bool,
    option(
        "--adaptive",
        panel=WHAT,
        help="Audit all samples that no attack broke where gradients look masked.",
    ),
]
Threat = Annotated[
    list[str] | None,
    option(
        "--threat",
        panel=WHAT,
        metavar="NORM:EPS",
        help="Threat model; several, or linf:2/255,8/255, give one run each; "
        "l2:inf seeks the smallest perturbation, corruption:fog@3 corrupts images "
        "(default: the data set's).",
    ),
]
Target = Annotated[
    str | None,
    option(
        "--target",
        panel=WHAT,
        metavar="TARGET",
        help="Only a point predicted as this class is a success: a class, least-likely, random "
        "or column:NAME of the data (default: any mistake).",
    ),
]
Data = Annotated[
    str | None,
    option(
        "--data",
        panel=WHAT,
        metavar="SPEC",
        help="Data set: cifar10, folder:DIR, npz:FILE, csv:FILE,label=COLUMN, ... "
        "(robbench explain data; default: what the model was trained on).",
    ),
]
Split = Annotated[str | None, o.split(WHAT)]
Precision = Annotated[
    str | None,
    option(
        "--precision",
        panel=o.RUN,
        metavar="fp32|bf16|fp64",
        help="Of the search; every success is confirmed in float32.",
    ),
]
Compile = Annotated[
    bool, option("--compile", panel=o.RUN, help="Compile the model that the attacks see.")
]
MaxTime = Annotated[
    str | None,
    option(
        "--max-time",
        panel=o.RUN,
        metavar="TIME",
        help="Stop each run after 90s, 2m or 1h; unfinished samples are marked.",
    ),
]
MaxQueries = Annotated[
    str | None,
    option(
        "--max-queries",
        panel=o.RUN,
        metavar="N",
        help="Stop on each sample after N forwards, the clean one included; backwards and "
        "re-checks of points found come on top. Unfinished samples are marked.",
    ),
]
StorePoints = Annotated[
    bool, option("--store-points", panel=o.RUN, help="Keep the worst inputs, for --replay.")
]
Replay = Annotated[
    list[str] | None,
    option(
        "--replay",
        panel=o.RUN,
        metavar="RUN",
        help="Try the stored points of a run or model first.",
    ),
]

Measure = Annotated[
    bool,
    option(
        "--measure",
        panel=o.RUN,
        help="Keep the worst inputs and measure each run at the end, as robbench measure does.",
    ),
]


Name = Annotated[
    str | None,
    option("--name", panel=o.RUN, metavar="NAME", help="What tables call the model."),
]
Tag = Annotated[
    list[str] | None,
    option(
        "--tag",
        panel=o.RUN,
        metavar="KEY=VALUE|TEXT",
        help="Kept with each run, for compare --where tag=...; may be repeated.",
    ),
]


Shard = Annotated[
    str | None,
    option(
        "--shard",
        panel=o.RUN,
        metavar="i/n|slurm",
        help="Decide only part i of n of the samples, beside processes that decide the others; "
        "whoever decides the last writes the run. slurm: as the job array has it.",
    ),
]
