"""Serialization of states (nested dicts, lists and tuples of tensors and plain values) without pickle.

`split` separates a state into a structure (JSON) and its tensors (safetensors); `join` restores it bit for bit,
including integer keys, tuples, infinities and memory layouts. Input is untrusted: it is parsed, never executed, and
sizes are checked before memory is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from gan.storage.regular import Broken

MAX_DEPTH = 64
"""Deepest nesting of a state."""
_TAG = "$"


def split(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """The structure and the tensors of a state. The tensors are dense copies on the CPU.

    Raises `TypeError` with the path of anything that is not a tensor, dict, list, tuple or plain value.
    """
    tensors: dict[str, Tensor] = {}
    structure = _split(state, (), tensors)
    if _on_gpu(state):
        torch.cuda.synchronize()  # once for all copies
    return structure, tensors


def _on_gpu(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_on_gpu, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_on_gpu, value))
    return isinstance(value, Tensor) and value.is_cuda


def _split(value: Any, path: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    where = ".".join(path) or "the state"
    if len(path) > MAX_DEPTH:
        raise TypeError(f"{where} is nested deeper than {MAX_DEPTH}")
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {_TAG: "float", "value": repr(float(value))}
    if isinstance(value, Tensor):
        return _split_tensor(value, where, tensors)
    if isinstance(value, Mapping):
        plain = all(isinstance(key, str) for key in value) and _TAG not in value
        pairs = [(key, _split(item, (*path, str(key)), tensors)) for key, item in value.items()]
        if plain:
            return dict(pairs)
        if not all(isinstance(key, (str, int)) and not isinstance(key, bool) for key, _ in pairs):
            raise TypeError(f"{where} has a key that is neither a string nor an integer")
        return {_TAG: "dict", "items": [list(pair) for pair in pairs]}
    if isinstance(value, (list, tuple)):
        items = [_split(item, (*path, str(index)), tensors) for index, item in enumerate(value)]
        return items if isinstance(value, list) else {_TAG: "tuple", "items": items}
    raise TypeError(f"{where} is a {type(value).__name__}; a state holds tensors and plain values")


def _split_tensor(value: Tensor, where: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    if value.layout != torch.strided or value.is_quantized or value.device.type == "meta":
        raise TypeError(f"{where} is a sparse, quantised or meta tensor; a state holds dense ones")
    name = where
    while name in tensors:  # 1 and "1" may both be keys
        name += "'"
    order = _order(value)
    tag: dict[str, Any] = {_TAG: "tensor", "name": name}
    dense = value.detach()
    if order is not None:
        tag["order"] = order
        dense = dense.permute(order)
    # from a GPU into pinned memory, all copies one behind the other without a wait for each
    copy = torch.empty(dense.shape, dtype=dense.dtype, pin_memory=dense.is_cuda)
    tensors[name] = copy.copy_(dense, non_blocking=dense.is_cuda)
    return tag


def _order(value: Tensor) -> list[int] | None:
    """The permutation that makes a dense tensor contiguous (from channels_last, for example), None if it already is.

    The strides of axes of length 1 are restored as well, because kernels read them.
    """
    strides, shape = value.stride(), value.shape
    if value.numel() == 0 or strides == torch.empty(shape, device="meta").stride():
        return None
    order = sorted(range(value.dim()), key=lambda axis: (-strides[axis], -shape[axis]))
    restored = torch.empty([shape[axis] for axis in order], device="meta").permute(_inverse(order))
    return order if restored.stride() == strides else None


def _inverse(order: list[int]) -> list[int]:
    return [order.index(axis) for axis in range(len(order))]


def join(structure: Any, tensors: Mapping[str, Tensor], where: str) -> Any:
    """The state that `split` separated. Raises `Broken`."""
    left = dict(tensors)
    try:
        state = _join(structure, left)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Broken(f"{where} does not describe a state ({error})") from error
    if left:
        raise Broken(f"{where} does not mention the tensor '{min(left)}'")
    return state


def _join(value: Any, left: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_join(item, left) for item in value]
    if not isinstance(value, dict):
        return value
    tag = value.get(_TAG)
    if tag is None:
        return {key: _join(item, left) for key, item in value.items()}
    if tag == "float" and value["value"] in ("nan", "inf", "-inf"):
        return float(value["value"])
    if tag == "tuple":
        return tuple(_join(item, left) for item in value["items"])
    if tag == "dict":
        pairs = [(key, _join(item, left)) for key, item in value["items"]]
        if not all(isinstance(key, (str, int)) for key, _ in pairs) or len(dict(pairs)) != len(pairs):
            raise ValueError("a key is invalid or repeated")
        return dict(pairs)
    if tag == "tensor":
        tensor = left.pop(value["name"])
        order = value.get("order")
        if order is None:
            return tensor
        if sorted(order) != list(range(tensor.dim())):
            raise ValueError("an order of axes is not a permutation")
        return tensor.permute(_inverse(order))
    raise ValueError(f"unknown tag {tag!r}")


def read_tensors(content: bytes, where: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, each with its own memory. Raises `Broken`."""
    try:
        return {name: tensor.clone() for name, tensor in safetensors.torch.load(content).items()}
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the reader is not an Exception
        raise Broken(f"{where} is not a safetensors file ({error})") from error


def unlike(owner: Any, state: dict[str, Any]) -> str:
    """How a loaded state differs from what its owner expects in names, shapes, dtypes or kinds; ``""`` if it fits.

    Parts that the owner has not filled yet (an empty dict or list, None) accept anything, and names in its attribute
    `later` may be absent. The per-parameter states of an optimizer are compared with its parameters.
    """
    if isinstance(owner, torch.optim.Optimizer):
        return _unlike_optimizer(owner, state)
    absent = set(getattr(owner, "later", ())) - state.keys()
    expected = {name: value for name, value in owner.state_dict().items() if name not in absent}
    return next(_unlike(expected, state, "", strict=isinstance(owner, nn.Module)), "")


def _unlike(expected: Any, found: Any, path: str, *, strict: bool) -> Iterator[str]:
    shown = path.rstrip(".") or "the state"
    if isinstance(expected, Mapping):
        if not isinstance(found, dict):
            yield f"{shown} is not a mapping"
        elif strict or (expected and found):
            for key in expected.keys() - found.keys():
                yield f"it lacks '{path}{key}'"
            for key in found.keys() - expected.keys():
                yield f"nothing takes '{path}{key}'"
            for key in expected.keys() & found.keys():
                yield from _unlike(expected[key], found[key], f"{path}{key}.", strict=strict)
    elif isinstance(expected, (list, tuple)):
        if not isinstance(found, type(expected)):
            yield f"{shown} is not a {type(expected).__name__}"
        elif expected and found:
            if len(expected) != len(found):
                yield f"{shown} has {len(found)} items, not {len(expected)}"
            for index, (one, other) in enumerate(zip(expected, found)):
                yield from _unlike(one, other, f"{path}{index}.", strict=strict)
    elif isinstance(expected, Tensor):
        if not isinstance(found, Tensor):
            yield f"{shown} is not a tensor"
        elif found.shape != expected.shape:
            yield f"{shown} has shape {tuple(found.shape)}, not {tuple(expected.shape)}"
        elif found.dtype != expected.dtype:
            yield f"{shown} has dtype {found.dtype}, not {expected.dtype}"
    elif expected is not None and (isinstance(found, (Tensor, dict, list, tuple))):
        yield f"{shown} is not a plain value"


def _unlike_optimizer(owner: torch.optim.Optimizer, state: dict[str, Any]) -> str:
    if state.keys() != {"state", "param_groups"}:
        return "it is not the state of an optimizer"
    groups, parts = state["param_groups"], state["state"]
    if not isinstance(groups, list) or not isinstance(parts, dict) or len(groups) != len(owner.param_groups):
        return f"it has other parameter groups than the optimizer's {len(owner.param_groups)}"
    parameters: dict[int, Tensor] = {}
    for index, (group, own) in enumerate(zip(groups, owner.param_groups)):
        if not isinstance(group, dict) or group.keys() != own.keys() or not isinstance(group["params"], list):
            return f"its parameter group {index} has other settings"
        if len(group["params"]) != len(own["params"]):
            return f"its parameter group {index} has {len(group['params'])} parameters, not {len(own['params'])}"
        parameters.update(zip(group["params"], own["params"]))
    for key, part in parts.items():
        if key not in parameters or not isinstance(part, dict):
            return f"nothing takes the state of parameter {key}"
        for name, value in part.items():
            if isinstance(value, Tensor) and value.dim() > 0 and value.shape != parameters[key].shape:
                shape = tuple(parameters[key].shape)
                return f"'{name}' of parameter {key} has shape {tuple(value.shape)}, not {shape}"
    return ""
