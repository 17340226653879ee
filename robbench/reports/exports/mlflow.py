"""Runs in an experiment of MLflow, each once however often it is exported."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from robbench.analysis.exported import Record
from robbench.core.errors import RunError, UserError
from robbench.core.escaping import without_password

EXPERIMENT = "robbench"
_TAG = "robbench.run_id"
_DATABASES = ("sqlite", "mysql", "postgresql", "mssql")
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing goes to others than the server named
    # Seconds and tries: MLflow's own wait for minutes. The same command goes on where it stopped.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # a server may ask to wait for hours
}
_MOST_METRICS, _MOST_PARAMS = 900, 90  # of one request
_LONGEST_NAME = 250


class Logged(NamedTuple):
    """The id of the run in MLflow, and whether it was not there before."""

    id: str
    fresh: bool


def log_runs(records: Sequence[Record], uri: str | None) -> list[Logged]:
    """Log runs to the tracking server at `uri`; None means what MLflow's settings say.

    The experiment is that of MLFLOW_EXPERIMENT_NAME, else `robbench`. A run that is there, known by
    the tag `robbench.run_id`, gets what it lacks and what has changed. Raises UserError for an
    address that MLflow does not take, RunError where a server does not answer or refuses.
    """
    with _defaults():
        from mlflow import MlflowClient, get_tracking_uri

        uri = uri or get_tracking_uri()
        _require_address(uri)
        with _in_one_line(uri):
            client = MlflowClient(uri)
            experiment = _experiment(client)
            return [_log(client, experiment, one) for one in records]


@contextlib.contextmanager
def _defaults() -> Iterator[None]:
    missing = {name: value for name, value in _DEFAULTS.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


def _require_address(uri: str) -> None:
    try:
        urlsplit(uri)
    except ValueError as error:
        raise UserError(f"{uri} is no address: {error}") from None
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme in _DATABASES and importlib.util.find_spec("sqlalchemy") is None:
        raise UserError(
            f"a {scheme} database of MLflow needs the whole of it: pip install mlflow; the extra "
            "mlflow of robbench is for a server, --to mlflow:http://HOST:PORT"
        )


@contextlib.contextmanager
def _in_one_line(uri: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        place, reason = without_password(uri), without_password(" ".join(str(error).split()))
        if uri.startswith(("http", "databricks")):
            raise RunError(
                f"MLflow at {place}: {_innermost(reason)[:500]}; check the address and the "
                "credentials, then give the same command again"
            ) from None
        raise UserError(f"MLflow at {place}: {reason}") from None


def _innermost(reason: str) -> str:
    """Why no answer came, out of the errors that requests and urllib3 wrap around it."""
    caused = re.search(r"\(Caused by \w+\(['\"](?:\w+\(.*?\): )?(.*?)['\"]\)\)", reason)
    return caused[1] if caused else reason


def _experiment(client: Any) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage != "active":
        raise UserError(
            f"experiment {name} of MLflow was deleted: restore it, or name another by "
            "MLFLOW_EXPERIMENT_NAME"
        )
    return str(found.experiment_id if found is not None else client.create_experiment(name))


def _log(client: Any, experiment: str, one: Record) -> Logged:
    there = client.search_runs([experiment], f"tags.`{_TAG}` = '{one.run_id}'", max_results=1)
    run = (
        there[0]
        if there
        else client.create_run(
            experiment,
            start_time=_milliseconds(one.started),
            tags={_TAG: one.run_id},
            run_name=one.title,
        )
    )
    id_, data = run.info.run_id, run.data
    tags = {f"robbench.{name}": value for name, value in one.tags.items()}
    if "git_sha" in one.tags:
        tags["mlflow.source.git.commit"] = one.tags["git_sha"]
    _send(
        client,
        id_,
        {name: str(v) for name, v in one.settings.items() if name not in data.params},
        {name: value for name, value in tags.items() if data.tags.get(name) != value},
        _new_metrics(client, id_, one, data.metrics, now=time.time() if there else one.finished),
    )
    if run.info.status != "FINISHED":
        client.set_terminated(id_, "FINISHED", _milliseconds(one.finished))
    return Logged(id_, not there)


def _new_metrics(
    client: Any, id_: str, one: Record, there: Mapping[str, float], now: float
) -> list[Any]:
    """The metrics that the run in MLflow lacks, or has with another value."""
    from mlflow.entities import Metric

    points = [(key, value, 0) for key, value in one.numbers.items() if there.get(key) != value]
    for name, curve in one.curves.items():
        key = _key(f"training/{name}")
        known = client.get_metric_history(id_, key) if key in there else []
        seen = {(metric.step, metric.value) for metric in known}
        points += [(key, value, epoch) for epoch, value in curve if (epoch, value) not in seen]
    return [Metric(key, value, _milliseconds(now), step) for key, value, step in points]


def _key(name: str) -> str:
    """A name as MLflow takes it, when a loss of the user's chose another for what it logs."""
    known = re.sub(r"[^\w.\- :/]", "_", name[:_LONGEST_NAME], flags=re.ASCII)
    return "/".join(part.lstrip(".") or "_" for part in known.split("/"))


def _send(
    client: Any, id_: str, params: Mapping[str, str], tags: Mapping[str, str], metrics: list[Any]
) -> None:
    from mlflow.entities import Param, RunTag

    if tags:
        client.log_batch(id_, tags=[RunTag(name, value) for name, value in tags.items()])
    listed = [Param(name, value) for name, value in params.items()]
    for i in range(0, len(listed), _MOST_PARAMS):
        client.log_batch(id_, params=listed[i : i + _MOST_PARAMS])
    for i in range(0, len(metrics), _MOST_METRICS):
        client.log_batch(id_, metrics=metrics[i : i + _MOST_METRICS])


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
