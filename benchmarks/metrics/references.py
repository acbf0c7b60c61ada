"""Other people's implementations, for comparisons. They are not dependencies: give the folder they are in.

pip install --no-deps --target REFS torch-fidelity clean-fid
GAN_REFERENCES=REFS python benchmarks/metrics/…
"""

from __future__ import annotations

import os
import sys
import types
from importlib.metadata import distributions
from typing import Any

import torch


def folder() -> str:
    found = os.environ.get("GAN_REFERENCES", "")
    if not os.path.isdir(found):
        sys.exit("set GAN_REFERENCES to the folder with torch-fidelity and clean-fid (see references.py)")
    return found


def versions() -> dict[str, str]:
    found = {d.metadata["Name"].replace("_", "-"): d.version for d in distributions(path=[folder()])}
    return {name: found[name] for name in ("torch-fidelity", "clean-fid")}


class _StandIn(types.ModuleType):
    """torchvision is imported at the top of these libraries, and nothing that is compared here uses it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def make_importable() -> None:
    if folder() not in sys.path:
        sys.path.append(folder())
    for name in ("", ".datasets", ".transforms", ".transforms.functional", ".models"):
        module = _StandIn(f"torchvision{name}")
        module.__path__ = []
        sys.modules[f"torchvision{name}"] = module
        parent, _, child = f"torchvision{name}".rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


def inception(seed: int = 0) -> Any:
    """torch-fidelity's Inception network with random weights, and their state dict."""
    make_importable()
    from torch_fidelity import feature_extractor_inceptionv3 as module

    module.load_state_dict_from_url = lambda *args, **kwargs: {}
    real = module.FeatureExtractorInceptionV3.load_state_dict
    module.FeatureExtractorInceptionV3.load_state_dict = lambda self, state: None
    network = module.FeatureExtractorInceptionV3("random", ["2048", "logits_unbiased"])
    module.FeatureExtractorInceptionV3.load_state_dict = real
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.ndim == 4:
            fan = tensor[0].numel()
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (2 / fan) ** 0.5)
        elif name.endswith("running_var") or name.endswith("bn.weight"):
            tensor.copy_(0.8 + 0.4 * torch.rand(tensor.shape, generator=generator))
        elif tensor.is_floating_point():
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    return network
