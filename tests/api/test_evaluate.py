"""robbench.evaluate: the command's verdicts for a model in memory; it changes nothing."""

import threading

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import robbench
from robbench.attacks.pgd import PGD
from robbench.core.errors import UserError

PLAIN = {"threat": "linf:0.1", "attack": ["pgd:steps=5", "apgd:steps=10"]}
VARYING = {"run_id", "started_at", "finished_at", "wall_s", "provenance", "config", "model"}


def state(model):
    """All that an evaluation might change."""
    return (
        [(m, m.training) for m in model.modules()],
        [(p.requires_grad, p.device) for p in model.parameters()],
        [p.clone() for p in model.parameters()],
    )


def test_the_verdicts_are_those_of_the_command(cli, nets, monkeypatch):
    """Run row and sample rows of `robbench attack` on the same model and samples, all fields."""
    monkeypatch.chdir(nets)
    monkeypatch.syspath_prepend(str(nets))
    line = (
        "attack nets:make:weights=weights.pt --data digits -n 60 --threat linf:0.1 --store-points"
    )
    done = cli(f"{line} --attack pgd:steps=5 --attack apgd:steps=10 --out S")
    assert done.code == 0, done.err
    import nets as module

    found = robbench.evaluate(module.make("weights.pt"), "digits", limit=60, name="net", **PLAIN)
    samples = robbench.load_runs(out="S", table="samples")
    assert samples.drop(columns="run_id").equals(found.samples.drop(columns="run_id"))
    (row,) = robbench.load_runs(out="S").to_dict("records")
    different = {key for key in row if row[key] != found.info[key] and row[key] == row[key]}
    assert different <= {*VARYING, "model_arch"}, different
    assert found.info["model_hash"] == row["model_hash"]
    assert not (nets / "runs").exists()


def test_a_source_is_the_model_that_the_command_makes_of_its_spec(cli, nets, monkeypatch):
    """Its random weights are of the seed, and no statistics are those of the samples."""
    monkeypatch.chdir(nets)
    monkeypatch.syspath_prepend(str(nets))
    attack = "transfer:source=(small-cnn:width=4),attack=(pgd:steps=3)"
    line = "attack nets:make:weights=weights.pt --data digits -n 40 --threat linf:0.2 --attack"
    done = cli(line, attack, "--out", "S")
    assert done.code == 0, done.err
    import nets as module

    model = module.make("weights.pt")
    found = robbench.evaluate(model, "digits", limit=40, threat="linf:0.2", attack=attack)
    samples = robbench.load_runs(out="S", table="samples")
    assert samples.drop(columns="run_id").equals(found.samples.drop(columns="run_id"))


def test_tensors_arrays_and_loaders_give_one_answer(trained_net, digits):
    """Whatever holds the samples; and whatever the batch size."""
    x, y = digits[0][:40], digits[1][:40]
    plain = robbench.evaluate(trained_net, x, y, **PLAIN)
    for images, labels in [
        (x.numpy(), y.tolist()),
        (TensorDataset(x, y), None),
        (DataLoader(TensorDataset(x, y), batch_size=7), None),
    ]:
        other = robbench.evaluate(trained_net, images, labels, batch_size=16, **PLAIN)
        assert other.samples.equals(plain.samples)
        assert torch.equal(other.points, plain.points)


def test_the_model_is_left_as_it_was_and_nothing_is_written(
    trained_net, digits, tmp_path, monkeypatch
):
    """Modes, gradients, weights, random numbers and the working folder."""
    monkeypatch.chdir(tmp_path)
    modes, flags, weights = state(trained_net)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    result = robbench.evaluate(trained_net, *digits, threat="linf:0.1", attack="fgsm")
    assert torch.equal(torch.rand(2), expected)
    assert (modes, flags) == state(trained_net)[:2]
    assert all(map(torch.equal, weights, state(trained_net)[2]))
    result.check(limit=20)
    assert (modes, flags) == state(trained_net)[:2]
    assert not list(tmp_path.iterdir())


def test_a_function_around_a_module_is_judged_in_evaluation_mode(trained_net, digits):
    """A lambda that normalises: dropout inside is off, and the module is in the model's state."""
    mean = 0.0
    found = robbench.evaluate(lambda x: trained_net(x - mean), *digits, **PLAIN)
    plain = robbench.evaluate(trained_net, *digits, **PLAIN)
    assert (found.samples["robust"] == plain.samples["robust"]).all()
    assert found.info["model"] == "model"
    assert plain.info["model"] == "Net"
    assert trained_net.training


def test_an_attack_object_is_its_spec(trained_net, digits):
    """An object, its text, and a list with both forms."""
    x, y = digits[0][:20], digits[1][:20]
    text = robbench.evaluate(trained_net, x, y, "linf:0.1", "pgd:steps=5")
    found = robbench.evaluate(trained_net, x, y, "linf:0.1", PGD(steps=5))
    assert found.info["attack"] == text.info["attack"] == "pgd:steps=5"
    assert found.samples.equals(text.samples)
    both = robbench.evaluate(trained_net, x, y, "linf:0.1", [PGD(steps=5), "fgsm"])
    assert both.info["attack"] == "pgd:steps=5 + fgsm"


def test_without_a_budget_there_is_no_robust_accuracy(trained_net, digits):
    """The smallest perturbation is sought."""
    x, y = digits[0][:10], digits[1][:10]
    found = robbench.evaluate(trained_net, x, y, "l2:inf", "ddn:steps=20")
    assert found.robust_accuracy is None
    assert found.robust_accuracy_interval is None
    assert found.info["distance_p50"] > 0
    assert "robust accuracy" in repr(found)


def test_limits_stop_and_mark_what_is_unfinished(trained_net, digits):
    """Queries of a sample; seconds are taken too."""
    found = robbench.evaluate(trained_net, *digits, "linf:0.02", "apgd", max_queries=5)
    assert found.info["n_unfinished"] > 0
    assert "unfinished" in repr(found)
    robbench.evaluate(trained_net, *digits, "linf:0.02", "fgsm", max_time=100)


def test_it_runs_outside_of_the_main_thread(trained_net, digits, tmp_path):
    """No signal handler is set there, also where the run is written."""
    found = []

    def work():
        x, y = digits[0][:10], digits[1][:10]
        found.append(robbench.evaluate(trained_net, x, y, "linf:0.1", "fgsm", out=tmp_path))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(found[0]) == 10


def test_progress_is_called(trained_net, digits):
    """With the share done, up to 1."""
    seen = []
    robbench.evaluate(
        trained_net, *digits, "linf:0.1", "fgsm", progress=lambda share, text: seen.append(share)
    )
    assert seen == sorted(seen)
    assert seen[-1] == 1


X, Y = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((X * 255, Y), "should be in [0,1]"),
        ((X, Y + 20), "label 20 of row 0 is out of range: the data has 10 classes"),
        ((X[:, :, :4], Y), "cannot process images of shape (1, 4, 8)"),
        ((X, Y, "linf:0.1,0.2"), "evaluate takes one"),
        ((X, Y, 0.1), "write NORM:EPS"),
        ((X, Y, "linf:0.1", "pdg"), "did you mean pdpgd, pgd"),
        ((X, Y, "linf:0.1", 3), "3 is no attack: give a spec, or an object"),
        ((X, Y, "linf:0.1", [3]), "3 is no attack: give a spec, or an object"),
        (("digits", Y), "leave out labels"),
        (("no-such-data",), "unknown data set"),
    ],
)
def test_bad_input_is_one_line(trained_net, arguments, text):
    """UserError: what was wrong and what to do."""
    with pytest.raises(UserError) as caught:
        robbench.evaluate(trained_net, *arguments)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_none_is_refused(digits):
    """And one with probabilities for outputs, and a name that cannot be a file's."""
    with pytest.raises(UserError, match="no module and no function but str"):
        robbench.evaluate("net", *digits)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.Softmax(1))
    with pytest.raises(UserError, match="return logits"):
        robbench.evaluate(net, *digits)
    with pytest.raises(UserError, match="use letters"):
        robbench.evaluate(net, *digits, name="a/b")


def test_uint8_images_and_class_names(trained_net):
    """Bytes from 0 to 255; names given or numbers."""
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 8, 8), dtype=np.uint8)
    labels = np.arange(12) % 10
    found = robbench.evaluate(
        trained_net, images, labels, "linf:8/255", "fgsm", classes=list("abcdefghij")
    )
    assert len(found) == 12


@pytest.mark.parametrize("download", [False, True])
def test_a_data_set_is_fetched_only_where_it_is_asked_for(
    trained_net, monkeypatch, tmp_path, download
):
    """As by the command: without `download` the error says so in Python's words."""
    asked = []

    def fetch(*args, download, **kwargs):
        asked.append(download)
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.MNIST", fetch)
    with pytest.raises(robbench.RunError if download else UserError) as raised:
        robbench.evaluate(trained_net, "mnist", data_dir=tmp_path, download=download)
    assert asked == ([True] if download else [])
    assert ("add download=True" in str(raised.value)) is not download


def test_an_audit_in_memory_is_that_of_the_store(trained_net, digits, tmp_path):
    """The same samples, numbers and worst points; a weaker one is refused."""
    x, y = digits[0][:40], digits[1][:40]
    audit = {"audit": 8, "audit_attack": ["apgd:steps=4", "square:steps=30"]}
    seen = []
    memory, stored = (
        robbench.evaluate(trained_net, x, y, "linf:0.05", "fgsm", **audit, **more)
        for more in ({"progress": lambda share, text: seen.append(share)}, {"out": tmp_path})
    )
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert memory.samples.drop(columns="run_id").equals(stored.samples.drop(columns="run_id"))
    assert torch.equal(memory.points, stored.points)
    assert memory.info["n_audited"] == stored.info["n_audited"] == 8
    assert memory.info["robust_accuracy_audited"] <= memory.robust_accuracy
    memory.save(tmp_path / "saved")
    saved = robbench.load_runs(out=tmp_path / "saved")
    assert saved["n_audited"].tolist() == [8]
    with pytest.raises(UserError, match="stronger audit_attack"):
        robbench.evaluate(trained_net, x, y, "linf:0.05", "apgd", audit=8, audit_attack="fgsm")


def test_a_corruption_takes_no_attack(trained_net, digits):
    """One severity, judged at the corrupted images; checks are of attacks."""
    images, labels = digits[0][:40], digits[1][:40]
    found = robbench.evaluate(trained_net, images, labels, threat="corruption:contrast@5")
    rows = found.samples
    assert (rows["robust"] == (rows["adv_pred"] == rows["label"])).all()
    assert found.info["attack"] == "none"
    for words, said in (
        ({"threat": "corruption:contrast"}, "is 5 threat models: evaluate takes one"),
        ({"threat": "corruption:contrast@5", "attack": "pgd"}, "leave out attack"),
        ({"threat": "corruption:contrast@5", "attack": "autoattack-lite"}, "leave out attack"),
    ):
        with pytest.raises(UserError, match=said):
            robbench.evaluate(trained_net, images, labels, **words)
    with pytest.raises(UserError, match="nothing to check"):
        found.check()
