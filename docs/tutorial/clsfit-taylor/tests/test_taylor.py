import torch
from clsfit_taylor.loss import Taylor

from clsfit.testing import check_loss


def test_it_keeps_the_contract() -> None:
    check_loss(Taylor, order=2)


def test_many_terms_are_cross_entropy() -> None:
    logits, targets = torch.tensor([[2.0, 1.0, 0.0], [0.5, 0.0, 1.0]]), torch.tensor([0, 2])
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(Taylor(order=100)(logits, targets), expected)
