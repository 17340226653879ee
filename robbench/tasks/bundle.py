"""Pack runs, their points and models into one file that another person can verify."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import robbench
from robbench.core.corruptions import is_corruption
from robbench.core.device import find_device
from robbench.core.errors import UserError
from robbench.core.files import require_output, sha256
from robbench.core.spec import finite
from robbench.store.bundle import is_member, write_bundle
from robbench.store.locations import sibling_table
from robbench.store.run import attacked_model, read_run
from robbench.store.store import Store
from robbench.tasks.measure.rows import require_same
from robbench.tasks.model_folder import weights_name
from robbench.tasks.model_names import find_folder
from robbench.tasks.rebuild import folder_of, rebuild
from robbench.tasks.subject import of_run

KINDS = ("runs", "samples", "points", "checks")
_FACTS = (
    *("run_id", "model", "model_source", "model_arch", "model_hash", "model_outputs", "loss"),
    *("train_seed", "classes", "data", "split", "subset", "data_hash", "threat", "attack"),
    *("attack_params", "seed", "n_samples", "clean_accuracy", "robust_accuracy"),
    *("robust_accuracy_low", "robust_accuracy_high", "ci_level", "ci_method", "distance_p50"),
    *("robbench_version", "torch_version"),
)


class Bundled(NamedTuple):
    """A bundle that was written: its SHA-256, its parts, and what else it takes to verify it."""

    path: Path
    sha256: str
    members: list[str]
    needs: list[str]


class Need(NamedTuple):
    """What a bundle leaves out and its verification takes: in words, and the facts in these."""

    text: str
    facts: tuple[str, ...]

    def is_said_by(self, text: str) -> bool:
        """Whether a text, however it is worded, holds each of the facts as words of its own."""
        return all(re.search(rf"(?<!\w){re.escape(fact)}(?!\w)", text) for fact in self.facts)


def bundle(
    names: Sequence[str],
    file: Path,
    *,
    with_model: bool = True,
    model: str | None = None,
    out: Path,
    device: str = "auto",
    data_dir: Path | None = None,
    download: bool = False,
) -> Bundled:
    """Pack the runs that names mean. model: where that of the runs is, if it was moved.

    Models that are saved folders are packed, unless not `with_model`; of others, and of data, only
    the hash. Raises UserError as `Store.find_local`, where a model to be packed is no longer that
    of its run, and for the place of a model that is not packed.
    """
    if model is not None and not with_model:
        raise UserError(f"--no-model packs no model, so --model {model} is not read: leave one out")
    require_output(file)
    store, where = Store(out), find_device(device)
    members, facts, needs = dict[str, Path](), list[dict[str, Any]](), list[Need]()
    for path in store.find_local(names):
        run = read_run(path)
        info = run.info
        tables = {kind: sibling_table(path, kind) for kind in KINDS}
        parts = {
            f"results/{kind}/{info['run_id']}.parquet": table
            for kind, table in tables.items()
            if table.is_file()
        }
        home = store if model else folder_of(path, run, store)
        weights = model_files(info, model, home) if with_model else {}
        if weights:
            subject = rebuild(
                path,
                run,
                home,
                device=where,
                model=model,
                data_dir=data_dir,
                download=download,
            )
            ids = run.samples["sample_id"].to_pylist()
            require_same(info, ids, of_run(subject, info, ids))
        _add(members, {**parts, **weights})
        facts.append({**facts_of(info), "packed": sorted(weights)})
        needs += needs_of(info, packed=bool(weights), points=tables["points"].is_file())
    said = list(dict.fromkeys(need.text for need in needs))
    about = {"robbench": robbench.__version__, "runs": facts, "needs": said}
    write_bundle(file, members, about)
    return Bundled(file, sha256(file), sorted(members), said)


def facts_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest of a bundle says of a run, from its row of the runs table."""
    return {name: finite(info[name]) for name in _FACTS}


def model_files(info: Mapping[str, Any], model: str | None, store: Store) -> dict[str, Path]:
    """The files of a run's model by their names in the bundle; none of no saved folder.

    info: the row of the run; model: where its model is, if it was moved.
    """
    source = attacked_model(info)
    folder, which = find_folder(model or source, store)
    if folder is None:
        return {}
    named, at, checkpoint = source.rpartition("@")
    label = named if at else source
    files = {
        f"models/{label}/config.json": folder / "config.json",
        f"models/{label}/{weights_name(folder, checkpoint if at else None)}": folder
        / weights_name(folder, which),
    }
    if not all(map(is_member, files)):
        raise UserError(
            f"model {label} has a name that no folder can have; bundle it with --no-model"
        )
    return files


def _add(members: dict[str, Path], parts: Mapping[str, Path]) -> None:
    for name, path in parts.items():
        if name in members and sha256(members[name]) != sha256(path):
            raise UserError(
                f"{members[name]} and {path} would both be {name}: put these runs in two bundles"
            )
        members[name] = path


def needs_of(info: Mapping[str, Any], *, packed: bool, points: bool) -> list[Need]:
    """What it takes to verify a run besides its bundle. info: the row of the run."""
    data, split, subset, samples = (info[name] for name in ("data", "split", "subset", "data_hash"))
    text = f"data {data} {split}{f', {subset}' if subset else ''} (samples {samples})"
    needs = [Need(text, ("data", data, split, *([subset] if subset else []), samples))]
    if not packed:
        model, digest = attacked_model(info), info["model_hash"]
        needs.append(Need(f"model {model} (hash {digest})", ("model", model, digest)))
    if not points and not is_corruption(info["norm"]):  # corrupted inputs are made again
        text = (
            f"points of run {info['run_id']}, which kept none: its robust accuracy cannot be "
            "confirmed (attack with --store-points)"
        )
        needs.append(Need(text, ("points", info["run_id"])))
    return needs
