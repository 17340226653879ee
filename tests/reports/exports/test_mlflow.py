"""Runs as MLflow's own client reads them, from its file store; and servers that do not serve."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

pytest.importorskip("mlflow")
from robbench.analysis.exported import Measure
from robbench.core.errors import RunError, UserError
from robbench.reports.exports.mlflow import log_runs


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    """No telemetry, the file store allowed, one try of two seconds."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)


@pytest.fixture
def uri(tmp_path):
    """The address of an empty file store."""
    return (tmp_path / "mlruns").as_uri()


@pytest.fixture
def client(uri):
    """MLflow's client of it."""
    from mlflow import MlflowClient

    return MlflowClient(uri)


@contextlib.contextmanager
def _serving(handler):
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def history(client, run, name):
    return sorted((one.step, one.value) for one in client.get_metric_history(run, name))


def test_names_that_mlflow_refuses(a_record, uri, client):
    """What a loss logs may have any name; exported twice it is there once."""
    names = ("loss(adv)", "loss-λ", "../up", "a//b", ".hidden", "x" * 300, "p q/r:s-t.u")
    one = a_record(curves={name: [(1, 2.0)] for name in names})
    for _ in range(2):
        (logged,) = log_runs([one], uri)
    found = {name for name in client.get_run(logged.id).data.metrics if name[:9] == "training/"}
    assert found == {
        *("training/loss_adv_", "training/loss-_", "training/_/up", "training/a/_/b"),
        *(f"training/{'x' * 241}", "training/hidden", "training/p q/r:s-t.u"),
    }
    assert history(client, logged.id, "training/loss_adv_") == [(1, 2.0)]


def test_a_run_is_there(a_record, uri, client):
    """Settings, numbers with bounds, curves with steps, tags, times and the name."""
    (logged,) = log_runs([a_record()], uri)
    run = client.get_run(logged.id)
    assert logged.fresh
    assert client.get_experiment(run.info.experiment_id).name == "robbench"
    assert run.data.params == {
        "model": "timm:../x",
        "eps": "0.15",
        "seed": "0",
        "train.lr": "0.1",
        "train.compile": "True",
    }
    assert run.data.metrics == {
        "robust_accuracy": 0.5,
        "robust_accuracy_low": 0.25,
        "robust_accuracy_high": 0.75,
        "certified_accuracy": 0.125,
        "training/train_loss": 1.5,
        "training/robust_accuracy": 0.25,
    }
    assert history(client, logged.id, "training/train_loss") == [(1, 2.0), (2, 1.5)]
    assert run.data.tags["robbench.run_id"] == "aaaa11111111"
    assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"
    assert (run.info.run_name, run.info.status) == (a_record().title, "FINISHED")
    assert (run.info.start_time, run.info.end_time) == (1_700_000_000_000, 1_700_000_003_000)


def test_again_adds_nothing(a_record, uri, client):
    """One run, each number once."""
    (first,) = log_runs([a_record()], uri)
    (again,) = log_runs([a_record()], uri)
    assert again == (first.id, False)
    experiment = client.get_run(first.id).info.experiment_id
    assert len(client.search_runs([experiment])) == 1
    assert history(client, first.id, "training/train_loss") == [(1, 2.0), (2, 1.5)]
    assert history(client, first.id, "robust_accuracy") == [(0, 0.5)]


def test_what_is_new_is_added_and_what_changed_counts(a_record, uri, client):
    """A certificate made later; a smaller number at the same step is the current one."""
    (first,) = log_runs([a_record(measures={"robust_accuracy": Measure(0.5)}, curves={})], uri)
    log_runs([a_record(measures={"robust_accuracy": Measure(0.25), "x": Measure(1.0)})], uri)
    metrics = client.get_run(first.id).data.metrics
    assert (metrics["robust_accuracy"], metrics["x"]) == (0.25, 1.0)
    assert history(client, first.id, "training/train_loss") == [(1, 2.0), (2, 1.5)]


def test_a_killed_export_is_finished(a_record, uri, client, monkeypatch):
    """The run that was begun is taken up again."""
    from mlflow import MlflowClient

    def killed(*_args, **_given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            log_runs([a_record()], uri)
    (logged,) = log_runs([a_record()], uri)
    run = client.get_run(logged.id)
    assert not logged.fresh
    assert (run.info.status, run.data.metrics["robust_accuracy"]) == ("FINISHED", 0.5)


def test_many_settings_and_long_curves(a_record, uri, client):
    """More than one request may hold."""
    settings = {"model": "m"} | {f"s{i}": i for i in range(205)}
    curve = [(epoch, float(epoch)) for epoch in range(1, 1902)]
    (logged,) = log_runs([a_record(settings=settings, curves={"train_loss": curve})], uri)
    assert len(client.get_run(logged.id).data.params) == 206
    assert history(client, logged.id, "training/train_loss") == curve


def test_a_server_that_is_not_there(a_record):
    """A RunError, with no password in it."""
    with pytest.raises(RunError, match="check the address and the credentials") as caught:
        log_runs([a_record()], "http://me:secret@127.0.0.1:9")
    assert "secret" not in str(caught.value)
    assert "Connection refused" in str(caught.value)
    assert "HTTPConnection" not in str(caught.value)
    assert "\n" not in str(caught.value)


class _Busy(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503)
        self.send_header("Retry-After", "3600")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_server_that_asks_for_patience(a_record, monkeypatch):
    """It does not decide how long a command takes."""
    waits = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waits.append)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with _serving(_Busy) as address, pytest.raises(RunError, match="503"):
        log_runs([a_record()], address)
    assert max(waits, default=0) < 60


class _Refusing(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(403)
        self.end_headers()
        self.wfile.write(b"who are you?")

    do_POST = do_GET  # noqa: N815 - the name is given

    def log_message(self, *_):
        pass


def test_a_server_that_refuses(a_record):
    """What it answered is in the line."""
    with _serving(_Refusing) as address, pytest.raises(RunError, match="403"):
        log_runs([a_record()], address)


def test_addresses_that_mlflow_does_not_take(a_record, uri, client, monkeypatch):
    """UserErrors that say what to do."""
    with pytest.raises(UserError, match="MLflow at bogus://x: "):
        log_runs([a_record()], "bogus://x")
    with pytest.raises(UserError, match="no address"):
        log_runs([a_record()], "http://[::1")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install mlflow"):
        log_runs([a_record()], "sqlite:///mlflow.db")
    client.delete_experiment(client.create_experiment("robbench"))
    with pytest.raises(UserError, match="was deleted"):
        log_runs([a_record()], uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    assert log_runs([a_record()], uri)[0].fresh
