"""`robbench doctor`: what is installed, what does not fit, and how to fix it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import typer

import robbench
from robbench.cli import options as o
from robbench.cli.reporter import print_json, print_result, reported
from robbench.core.reproducible import CBWR, strict_branch

PACKAGES = (
    *("torch", "torchvision", "pyautoattack", "numpy", "pandas", "pyarrow", "scikit-learn"),
    *("typer", "rich", "pydantic", "safetensors", "pillow", "platformdirs", "fsspec"),
)
EXTRAS = {
    "timm": ("timm",),
    "hf": ("transformers",),
    "robustbench": ("robustbench",),
    "onnx": ("onnxruntime", "onnx", "onnx2pytorch"),
    "sql": ("duckdb",),
    "figures": ("matplotlib",),
    "ray": ("ray",),
    "s3": ("s3fs",),
    "mlflow": ("mlflow-skinny",),
    "tensorboard": ("tensorboard",),
}
"""The extras of pyproject.toml and their packages: nobody needs all of them."""
_ANOTHER = {
    "data": "give another --data-dir or ROBBENCH_DATA_DIR",
    "cache": "set XDG_CACHE_HOME to another",
    "output": "give another --out or ROBBENCH_OUT",
}
REINSTALL = "pip install --force-reinstall torch torchvision"


@reported
def doctor(
    data_dir: o.DataDir = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Check the installation: versions, devices, plug-ins, folders. Exit 1 = problem found.

    Also whether torch and torchvision fit. --quiet prints only problems, --verbose also each
    package's folder.

    Example: robbench doctor
    """
    problems: list[str] = []
    facts: dict[str, Any] = {
        "robbench": robbench.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    facts["packages"] = {name: _version(name, problems) for name in PACKAGES}
    facts["extras"] = {extra: _installed(names) for extra, names in EXTRAS.items()}
    facts["devices"] = _devices(problems)
    facts["kernels"] = {"mkl_cbwr": os.environ.get(CBWR), "advised": strict_branch()}
    _check_torchvision(problems)
    facts["plugins"] = _plugins(problems)
    facts["paths"] = _paths(data_dir)
    problems += [text for name, path in facts["paths"].items() if (text := _unusable(name, path))]
    if as_json:
        print_json("robbench.doctor/1", **facts, problems=problems)
    elif quiet:
        for problem in problems:
            print_result(f"PROBLEM   {problem}")
    else:
        _print(facts, problems)
        for name in PACKAGES if verbose else ():
            if facts["packages"][name]:
                print_result(f"{name:16} {importlib.metadata.distribution(name).locate_file('')}")
    if problems:
        raise typer.Exit(1)


def _version(name: str, problems: list[str]) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        problems.append(f"{name} is not installed: pip install {name}")
        return None


def _installed(names: tuple[str, ...]) -> dict[str, str | None]:
    """The version of each package of an extra, None where it is not installed."""
    found: dict[str, str | None] = dict.fromkeys(names)
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _extras(facts: dict[str, dict[str, str | None]]) -> str:
    """`timm 1.0.9, sql 2.0.0; to be had: pip install 'robbench[hf]'`."""
    there = [
        ", ".join(f"{name} {version}" for name, version in found.items())
        for found in facts.values()
        if all(found.values())
    ]
    lacking = [extra for extra, found in facts.items() if not all(found.values())]
    more = f"more with pip install 'robbench[{','.join(lacking)}]'" if lacking else ""
    return "; ".join(filter(None, [", ".join(there), more]))


def _devices(problems: list[str]) -> list[str]:
    try:
        import torch
    except Exception as error:
        problems.append(
            f"torch cannot be imported ({type(error).__name__}: {error}): pip install "
            "--force-reinstall torch torchvision"
        )
        return []
    found = [f"cpu ({torch.get_num_threads()} threads)"]
    found += [
        f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())
    ]
    return found + (["mps"] if torch.backends.mps.is_available() else [])


def _kernels(mkl_cbwr: str | None, advised: str | None) -> str:
    if mkl_cbwr or not advised:
        return f"{CBWR}={mkl_cbwr}" if mkl_cbwr else f"{CBWR} has no setting for this processor"
    return (
        f"{CBWR} is not set, so verdicts may depend on the batch size: set {CBWR}={advised} "
        "before torch is imported"
    )


def _check_torchvision(problems: list[str]) -> None:
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            problems.append(f"torchvision cannot be imported: no module '{error.name}'")
    except Exception as error:
        # A torchvision built for another torch fails on its first operator; data sets of its own
        # need it, digits do not.
        problems.append(
            f"torchvision does not fit this torch ({type(error).__name__}: "
            f"{str(error).splitlines()[0]}): "
            f"install a matching pair: {REINSTALL}"
        )


def _plugins(problems: list[str]) -> dict[str, list[str]]:
    from robbench.catalogue.builtins import REGISTRIES
    from robbench.core.errors import RobbenchError

    found = {}
    for kind, registry in REGISTRIES.items():
        try:
            found[kind] = [
                f"{name} ({entry.package})"
                for name, entry in registry.entries.items()
                if entry.package != "robbench"
            ]
            problems += [f"plug-in {kind} {name}: {reason}" for name, reason in registry.broken()]
        except RobbenchError as error:
            problems.append(str(error))
    return found


def _paths(data_dir: Any) -> dict[str, str]:
    import platformdirs

    from robbench.data.data_folder import data_folder

    return {
        "data": str(data_folder(data_dir)),
        "cache": platformdirs.user_cache_dir("robbench"),
        "output": os.environ.get("ROBBENCH_OUT", "runs"),
    }


def _unusable(name: str, path: str) -> str | None:
    """Why a folder cannot be used or made: a file stands there, or nobody may write there."""
    if "://" in path:
        return None
    there = next(place for place in (Path(path), *Path(path).absolute().parents) if place.exists())
    if not there.is_dir():
        return f"{name} folder {path}: {there} is a file; {_ANOTHER[name]}"
    if name != "data" and not os.access(there, os.W_OK):
        return f"{name} folder {path}: {there} may not be written to; {_ANOTHER[name]}"
    return None


def _print(facts: dict[str, Any], problems: list[str]) -> None:
    print_result(f"robbench {facts['robbench']}, Python {facts['python']}, {facts['platform']}")
    print_result(
        "packages  "
        + ", ".join(f"{name} {version or 'MISSING'}" for name, version in facts["packages"].items())
    )
    print_result("extras    " + _extras(facts["extras"]))
    print_result("devices   " + (", ".join(facts["devices"]) or "none"))
    print_result("kernels   " + _kernels(**facts["kernels"]))
    plugins = [name for names in facts["plugins"].values() for name in names]
    print_result("plug-ins  " + (", ".join(plugins) or "none installed"))
    for name, path in facts["paths"].items():
        print_result(f"{name:9} {path}")
    for problem in problems:
        print_result(f"PROBLEM   {problem}")
    print_result("healthy" if not problems else f"{len(problems)} problem(s)")
