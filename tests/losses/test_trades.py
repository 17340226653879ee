"""Cross-entropy and TRADES on test vectors that were computed by other means, in double
precision.
"""

from __future__ import annotations

import pytest
import torch

from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.trades import TRADES, kl


def test_trades_of_the_vectors(fake_step, z, a):
    """TRADES with beta 6 is CE(z) + 6 KL(p(z) || p(a)) = 3.004031 at y = 0, and climbs that KL,
    once.
    """
    step = fake_step(z, [0], a)
    assert TRADES(beta=6.0)(step).tolist() == pytest.approx([3.004031], abs=1e-5)
    assert step.asked == ["kl-from-clean"]


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
def test_trades_is_linear_in_beta(fake_step, z, a, beta):
    """The divergence counts beta times, and beta = 0 leaves the clean cross-entropy."""
    assert TRADES(beta=beta)(fake_step(z, [0], a)).item() == pytest.approx(
        0.342350 + beta * 0.443614, abs=1e-5
    )


def test_kl_has_its_arguments_in_the_papers_order(z, a):
    """KL(p(z) || p(a)) is 0.443614, which the other order is not, and it is zero between equals."""
    assert kl(z, a).item() == pytest.approx(0.443614, abs=1e-5)
    p, q = z.softmax(1), a.softmax(1)
    assert kl(a, z).item() == pytest.approx(float((q * (q / p).log()).sum()), abs=1e-9)
    assert abs(kl(a, z).item() - 0.443614) > 1e-3
    assert kl(z, z).item() == pytest.approx(0, abs=1e-12)


def test_trades_sends_gradients_through_both_distributions(fake_step, z, a):
    """The gradient reaches clean and adversarial logits, and equals finite differences."""
    z, a = z.requires_grad_(), a.requires_grad_()
    assert torch.autograd.gradcheck(lambda z, a: TRADES(beta=6.0)(fake_step(z, [0], a)), (z, a))
    grads = torch.autograd.grad(TRADES(beta=6.0)(fake_step(z, [0], a)).sum(), (z, a))
    assert all(grad.abs().max() > 0.01 for grad in grads)


def test_trades_survives_saturated_logits(fake_step):
    """Probabilities that are zero in float32 give a finite loss and a finite gradient."""
    z = torch.tensor([[200.0, 0.0, -200.0]], requires_grad=True)
    loss = TRADES()(fake_step(z, [0], -z))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(z.grad).all()


def test_a_batch_is_its_samples(fake_step, z, a):
    """Losses give one value per sample, that of the sample alone."""
    clean, adversarial = torch.cat([z, a]), torch.cat([a, z])
    for loss in (CrossEntropy(), TRADES()):
        both = loss(fake_step(clean, [0, 2], adversarial))
        assert both.shape == (2,)
        for i, y in enumerate([0, 2]):
            assert both[i].item() == pytest.approx(
                loss(fake_step(clean[i : i + 1], [y], adversarial[i : i + 1])).item(), abs=1e-12
            )


@pytest.mark.parametrize(
    "spec",
    [
        "trades:beta=-1",
        "trades:beta=x",
        "trades:betta=6",
        "cross-entropy:x=1",
        "differential:form=cubic",
    ],
)
def test_bad_options_are_one_clear_line(spec):
    """An option out of range, of the wrong type or unknown is a UserError that names it."""
    with pytest.raises(UserError) as error:
        LOSSES.build(spec)
    option = spec.partition(":")[2].partition("=")[0]
    assert option in str(error.value)
    assert "\n" not in str(error.value)
