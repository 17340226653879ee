"""How outputs are read decides the verdicts: against masks by hand, closed forms, plain loops."""

import pytest
import torch
from torch import nn

import robbench
from robbench import OutputOptions, UserError

EPS = 0.08
PLAIN = {"threat": f"linf:{EPS}", "attack": "pgd:steps=20,objective=margin"}
COLUMNS = ["sample_id", "clean_correct", "adversarial", "clean_pred", "adv_pred"]


def linear(outputs, seed=0, features=16):
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(features, outputs))
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(outputs, features, generator=generator))
        model[1].bias.copy_(torch.randn(outputs, generator=generator) / 4)
    return model.requires_grad_(False)


def inside(n=60, seed=1):
    """Inputs so far from the box's faces that no perturbation is cut off."""
    generator = torch.Generator().manual_seed(seed)
    return 0.2 + 0.6 * torch.rand(n, 1, 4, 4, generator=generator)


class After(nn.Module):
    """Something done to a model's outputs."""

    def __init__(self, model, after):
        super().__init__()
        self.model, self.after = model, after

    def forward(self, x):
        return self.after(self.model(x))


def smallest_margins(model, x, y):
    """[n] of a linear model over the ball: min over k of z_y - z_k - eps ||w_y - w_k||_1."""
    z, w = model(x), model[1].weight
    apart = (w[y][:, None] - w[None]).abs().sum(2)
    return (z.gather(1, y[:, None]) - z - EPS * apart).scatter(1, y[:, None], torch.inf).amin(1)


def test_a_thousand_outputs_are_the_mask_by_hand():
    """Ten classes named by number, by name, or cut out by hand: the same verdicts and margins."""
    model, x = linear(1000), inside()
    chosen = torch.arange(10) * 97 + 5
    names = [f"class {n}" for n in range(10)]
    labels = [f"other {n}" for n in range(1000)]
    for name, output in zip(names, chosen.tolist(), strict=True):
        labels[output] = name.upper().replace(" ", "_")
    y = model(x)[:, chosen].argmax(1)
    by_hand = After(model, lambda z: z[:, chosen])
    plain = robbench.evaluate(by_hand, x, y, classes=names, **PLAIN)
    assert 0.1 < plain.robust_accuracy < 0.9
    for outputs in (tuple(chosen.tolist()), OutputOptions(classes=tuple(labels))):
        found = robbench.evaluate(model, x, y, classes=names, outputs=outputs, **PLAIN)
        assert found.samples.equals(plain.samples.assign(run_id=found.info["run_id"]))
        assert "10" in found.info["model_outputs"]
        assert "of 1000" in found.info["model_outputs"]
    with pytest.raises(UserError, match="which outputs they are"):
        robbench.evaluate(model, x, y, classes=names, **PLAIN)


def test_outside_wrong_is_the_margin_against_all_outputs():
    """Verdicts of the closed form over all 30 outputs; without the others, over the ten classes."""
    model, x = linear(30), inside()
    y = model(x)[:, :10].argmax(1)
    robust = {}
    for outside, kept in (("wrong", 30), ("ignore", 10)):
        options = OutputOptions(outputs="0-9", outside=outside)
        found = robbench.evaluate(model, x, y, outputs=options, **PLAIN)
        few = nn.Sequential(nn.Flatten(), nn.Linear(16, kept)).requires_grad_(False)
        few[1].weight.copy_(model[1].weight[:kept])
        few[1].bias.copy_(model[1].bias[:kept])
        smallest = smallest_margins(few, x, y)
        robust[outside] = torch.tensor(found.samples["robust"].to_numpy())
        assert bool((~robust[outside] | (smallest > -1e-3))[smallest.abs() > 1e-3].all())
        assert torch.equal(robust[outside][smallest > 1e-3], (smallest > 1e-3)[smallest > 1e-3])
        assert float((robust[outside] == (smallest > 0)).float().mean()) >= 0.95
        clean = few(x).argmax(1)
        assert found.samples["clean_pred"].tolist() == clean.tolist()
    assert not bool((robust["wrong"] & ~robust["ignore"]).any())
    assert robust["wrong"].sum() < robust["ignore"].sum()


def test_predictions_outside_are_told_from_the_classes():
    """The classes keep their places, also where they are not the first outputs."""
    model, x = linear(12), inside()
    options = OutputOptions(outputs="7,2,4", outside="wrong")
    order = [7, 2, 4, *(n for n in range(12) if n not in (7, 2, 4))]
    y = model(x)[:, [7, 2, 4]].argmax(1)
    found = robbench.evaluate(model, x, y, outputs=options, **PLAIN)
    assert found.samples["clean_pred"].tolist() == model(x)[:, order].argmax(1).tolist()
    assert found.samples["clean_correct"].tolist() == (model(x)[:, order].argmax(1) == y).tolist()
    assert found.info["model_outputs"] == "outputs 7,2,4 of 12, outside=wrong"


def test_targets_and_checks_know_how_many_classes_there_are():
    """A targeted attack may go outside, so it is not cut to the data's classes."""
    model, x = linear(12), inside(32)
    y = model(x)[:, :3].argmax(1)
    targeted = "apgd:steps=5,objective=dlr-targeted,targets=9"
    asked = {"threat": PLAIN["threat"], "attack": targeted}
    options = OutputOptions(outputs="0-2", outside="wrong")
    found = robbench.evaluate(model, x, y, outputs=options, **asked)
    assert "few-classes" not in found.flags
    assert "few-classes" in robbench.evaluate(model, x, y, outputs="0-2", **asked).flags
    checks = found.check().set_index("check")
    assert checks.loc["few-classes", "verdict"] == "pass"
    assert "fail" not in set(checks["verdict"][checks["severity"] == "error"])


def rejecting(model, at):
    """The last of its outputs says no where the two largest logits are closer than `at`."""
    return After(
        model, lambda z: torch.cat([z, z.topk(2, 1).values.sum(1, keepdim=True) / 2 + at / 2], 1)
    )


def test_rejections_are_those_of_a_plain_loop():
    """One step of FGSM by hand: broken, rejected or neither; and the rates are their shares."""
    x, at = inside(200), 0.8
    model = rejecting(linear(5), at)
    y = model(x)[:, :5].argmax(1)
    found = robbench.evaluate(
        model, x, y, outputs=OutputOptions(reject="last"), threat="linf:0.05", attack="fgsm"
    )
    leaf = x.clone().requires_grad_()
    nn.functional.cross_entropy(model(leaf)[:, :5], y, reduction="sum").backward()
    worst = (x + 0.05 * leaf.grad.sign()).clamp(0, 1)
    clean, attacked = model(x).argmax(1), model(worst).argmax(1)
    assert 10 < int((clean == 5).sum()) < 150
    for i, row in enumerate(found.samples.to_dict("records")):
        assert row["clean_rejected"] == bool(clean[i] == 5)
        assert row["clean_correct"] == bool(clean[i] == y[i])
        if clean[i] == y[i]:
            assert row["adversarial"] == bool((attacked[i] != y[i]) & (attacked[i] != 5))
            assert row["adv_rejected"] == bool(attacked[i] == 5)
        else:
            assert row["adversarial"]
            assert not row["adv_rejected"]
    held = (clean == y) & (attacked == 5)
    assert found.info["clean_rejection_rate"] == pytest.approx(float((clean == 5).float().mean()))
    assert found.info["adv_rejection_rate"] == pytest.approx(float(held.float().mean()))
    assert 0 < found.info["adv_rejection_rate"] < found.robust_accuracy
    assert found.info["n_error"] == 0
    assert "rejected" in repr(found)


def test_each_budget_has_its_own_rejections():
    """What is rejected at a larger budget only does not count at a smaller one."""
    x = inside(100)
    model = rejecting(linear(5), 0.5)
    y = model(x)[:, :5].argmax(1)
    options = OutputOptions(reject="last")
    rates = [
        robbench.evaluate(model, x, y, outputs=options, threat=f"linf:{eps}", attack="fgsm").info[
            "adv_rejection_rate"
        ]
        for eps in (0.01, 0.1)
    ]
    assert rates[0] < rates[1]


def test_models_that_never_reject_have_no_rates():
    model, x = linear(5), inside(20)
    found = robbench.evaluate(model, x, model(x).argmax(1), threat="linf:0.05", attack="fgsm")
    assert found.info["clean_rejection_rate"] is None
    assert found.samples["adv_rejected"].isna().all()
    assert "rejected" not in repr(found)


@pytest.mark.parametrize(
    ("outputs", "after"),
    [
        ("probs", lambda z: z.softmax(1)),
        ("log-probs", lambda z: z.log_softmax(1)),
        ("sigmoid", torch.sigmoid),
    ],
)
def test_probabilities_are_attacked_as_their_logits(outputs, after):
    """The verdicts of the logits, margins within rounding, no advice on what was said already."""
    model, x = linear(5), inside(100)
    y = model(x).argmax(1)
    plain = robbench.evaluate(model, x, y, **PLAIN)
    found = robbench.evaluate(After(model, after), x, y, outputs=outputs, **PLAIN)
    assert found.samples[COLUMNS].equals(plain.samples[COLUMNS])
    for name in ("clean_margin", "adv_margin"):
        torch.testing.assert_close(
            torch.tensor(found.samples[name]), torch.tensor(plain.samples[name]), atol=1e-3, rtol=0
        )
    assert [*found.flags] == ["interface"]
    assert outputs in found.flags["interface"]
    assert found.info["model_outputs"] == outputs
    with pytest.raises(UserError, match=f"outputs={outputs}$"):
        robbench.evaluate(After(model, after), x, y, **PLAIN)


@pytest.mark.parametrize("outputs", ["probs", "sigmoid"])
def test_one_sigmoid_for_two_classes(outputs):
    """Class 1 where the probability is above one half; its logit is what is attacked."""
    model, x = linear(1), inside(100)
    y = (model(x)[:, 0] > 0).long()
    both = After(model, lambda z: torch.cat([-z / 2, z / 2], 1))
    plain = robbench.evaluate(both, x, y, classes=2, **PLAIN)
    found = robbench.evaluate(After(model, torch.sigmoid), x, y, outputs=outputs, **PLAIN)
    assert found.samples[COLUMNS].equals(plain.samples[COLUMNS])
    assert 0 < found.robust_accuracy < 1
    with pytest.raises(UserError, match="outputs=probs"):
        robbench.evaluate(After(model, torch.sigmoid), x, y, **PLAIN)
    with pytest.raises(UserError, match="one output for two classes"):
        robbench.evaluate(model, x, y, classes=2, outputs=OutputOptions(reject="last"), **PLAIN)


def test_classes_that_are_ruled_out():
    """Logits of -inf say that a class cannot be: the verdicts of a model without it."""
    model, x = linear(6), inside()
    ruled = After(model, lambda z: z.masked_fill(torch.arange(6) == 5, -torch.inf))
    y = model(x)[:, :5].argmax(1)
    found = robbench.evaluate(ruled, x, y, classes=6, **PLAIN)
    plain = robbench.evaluate(model, x, y, outputs="0-4", **PLAIN)
    assert found.samples[COLUMNS].equals(plain.samples[COLUMNS])


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ("0-3", "5 different ones"),
        ((0, 1, 2, 3, 9), "no output 9"),
        ("probs", "between 0 and 1"),
        ("percent", "numbers from 0"),
        ("probs,sigmoid", "should name one of"),
        (OutputOptions(outside="maybe"), "outside"),
        (OutputOptions(classes="names.txt"), "no such file"),
        (OutputOptions(classes=("a", "b")), "names 2 outputs, the model has 5"),
    ],
)
def test_options_that_do_not_fit(outputs, text):
    model, x = linear(5), inside(8)
    with pytest.raises(UserError, match=text):
        robbench.evaluate(model, x, model(x).argmax(1), classes=5, outputs=outputs, **PLAIN)
