"""Linear layers, and the matrix product of the head: torch's, by oneDNN where it is the faster on the CPU."""

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

# The tanh approximation of GELU is x sigmoid(a x + b x^3) with these, since 1 + tanh(u) is 2 sigmoid(2 u).
_GELU_1 = math.sqrt(8 / math.pi)
_GELU_3 = 0.044715 * _GELU_1


def _fast(x: Tensor) -> bool:
    """Whether oneDNN computes: float32 on the CPU, of more than a sampling step's one position, and not compiled."""
    plain = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
    return plain and x.is_cpu and x.shape[-2] > 1 and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias. On AMD with AVX-512 torch's oneDNN takes half the time of MKL, which torch itself calls."""
    if not _fast(x):
        return F.linear(x, weight, bias)
    # The operator is the one that torch's compiler calls; it knows no gradients.
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


class _LinearFunction(torch.autograd.Function):
    """A linear layer of x or of gelu(x). Of the two it keeps x alone, and makes gelu(x) again to go backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, gelu: bool) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.gelu = gelu
        return product((x * x).mul_(_GELU_3).add_(_GELU_1).mul_(x).sigmoid_().mul_(x) if gelu else x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        grad = grad_outputs[0].flatten(0, -2)
        grad_x = product(grad, weight.T).view_as(x)
        if ctx.gelu:
            slope = x * x
            gate = (slope * _GELU_3).add_(_GELU_1).mul_(x).sigmoid_()
            slope.mul_(3 * _GELU_3).add_(_GELU_1).mul_(x).mul_(gate)
            grad_x *= slope.addcmul_(slope, gate, value=-1).add_(gate)
            x = gate.mul_(x)
        return grad_x, product(grad.T, x.flatten(0, -2).T), grad.sum(0), None


class Linear(nn.Linear):
    """torch's, and with `gelu` of the GELU of its input: the tanh approximation, as in OpenAI's code of GPT-1 and 2."""

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:
        if not _fast(x):
            return super().forward(F.gelu(x, approximate="tanh") if gelu else x)
        out: Tensor = _LinearFunction.apply(x, self.weight, self.bias, gelu)
        return out
