"""A network prepared for sampling: batch normalization folded into the layers before it, weights computed, channels
last.

In evaluation mode a batch normalization multiplies and shifts each channel by constants. Behind a convolution these
become part of its weight and bias (Jacob et al. 2018, arXiv:1712.05877, section 3.2), and a pass over
memory disappears. A weight that is computed at each use (spectral normalization) is computed once. Samples change by
rounding only.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS: dict[type[nn.Module], tuple[type[nn.Module], ...]] = {
    nn.BatchNorm1d: (nn.Conv1d, nn.ConvTranspose1d),
    nn.BatchNorm2d: (nn.Conv2d, nn.ConvTranspose2d),
    nn.BatchNorm3d: (nn.Conv3d, nn.ConvTranspose3d),
}
_PLANAR = (nn.Conv2d, nn.ConvTranspose2d)


def prepared(architecture: Any) -> Any:
    """Return a copy of `architecture` for sampling, or itself where there is nothing to gain.

    The architecture must be in evaluation mode and its weights must not change afterwards. The copy shares all tensors
    with it but those of the layers that absorb a normalization, weights with a parametrization of PyTorch's own, and
    parameters of four axes. Folded are the pairs that follow each other in an `nn.Sequential`, of PyTorch's own
    classes, used once, without hooks and other parametrizations.
    """
    if not any(isinstance(layer, (*_PLANAR, *_NORMS)) for layer in architecture.modules()) and not any(
        parameter.ndim == 4 for parameter in architecture.parameters()
    ):
        return architecture
    shared = {id(tensor): tensor for tensor in (*architecture.parameters(), *architecture.buffers())}
    try:
        found = copy.deepcopy(architecture, memo=shared)
    except Exception:  # noqa: BLE001  (an architecture may hold anything: an open file, a handle of a library)
        return architecture
    for layer in found.modules():
        _compute_weights(layer)
    uses: dict[int, int] = {}
    for layer in found.modules():
        for child in layer.children():
            uses[id(child)] = uses.get(id(child), 0) + 1
    for layer in found.modules():
        if type(layer) is nn.Sequential:
            _fold(layer, uses)
    for layer in found.modules():
        for name, parameter in layer.named_parameters(recurse=False):
            if parameter.ndim == 4:
                setattr(layer, name, _parameter(parameter.to(memory_format=torch.channels_last)))
    return found


def _compute_weights(layer: nn.Module) -> None:
    """Replace weights that parametrizations of PyTorch compute, by their values in evaluation mode."""
    if not parametrize.is_parametrized(layer) or layer.training:
        return
    lists: Any = layer.parametrizations
    if any(type(step).__module__ != parametrizations.__name__ for steps in lists.values() for step in steps):
        return
    values = {name: getattr(layer, name) for name in lists}
    # PyTorch's own removal would change the class, which the copy shares with the original
    layer.__class__ = parametrize.type_before_parametrizations(layer)
    del layer._modules["parametrizations"]
    for name, value in values.items():
        layer.register_parameter(name, _parameter(value))


def _fold(sequence: nn.Sequential, uses: dict[int, int]) -> None:
    for (_, before), (name, norm) in pairwise(list(sequence.named_children())):
        known = type(before) in _NORMS.get(type(norm), ()) and _plain(before) and _plain(norm)
        once = uses[id(before)] == uses[id(norm)] == 1
        if known and once and not norm.training and norm.running_mean is not None:
            before.weight, before.bias = _folded(before, norm)
            setattr(sequence, name, nn.Identity())


def _folded(before: Any, norm: Any) -> tuple[nn.Parameter, nn.Parameter]:
    """The weight and the bias of a convolution that does what both layers do; computed in float64."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() if before.bias is None else before.bias.double() - norm.running_mean.double()
    bias = shift * scale if norm.bias is None else shift * scale + norm.bias.double()
    weight, places = before.weight.double(), (1,) * len(before.kernel_size)
    if type(before) in _TRANSPOSED:  # (in, out / groups, …): the output channels of a group follow those of the last
        grouped = weight.view(before.groups, -1, *weight.shape[1:])
        weight = (grouped * scale.view(before.groups, 1, -1, *places)).view_as(weight)
    else:
        weight = weight * scale.view(-1, 1, *places)
    return _parameter(weight.to(before.weight.dtype)), _parameter(bias.to(before.weight.dtype))


def _plain(layer: nn.Module) -> bool:
    """Whether a layer does what its class does and nothing besides."""
    weights = [value for value in layer._parameters.values() if value is not None]
    hooks = layer._forward_hooks or layer._forward_pre_hooks
    return not hooks and all(type(weight) is nn.Parameter for weight in weights)


def _parameter(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad=False)
