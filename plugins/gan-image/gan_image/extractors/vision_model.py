"""Feature extractor for images: any vision model of the transformers library (DINOv2, ViT, ConvNeXt, CLIP's …).

It is selected by ``fid[vision-model=FOLDER]``. The folder is one that ``save_pretrained`` writes or a model hub offers,
with ``config.json``, ``model.safetensors`` and optionally ``preprocessor_config.json``. Nothing is downloaded and no
code of the folder runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gan.contracts import Features, Modality
from gan.errors import BadData, UsageError
from gan.weights import file_sha256
from torch import Tensor, nn

from gan_image.extractors.base import rgb
from gan_image.modality import pictures

if TYPE_CHECKING:
    from gan.contracts import Samples

HALF = (0.5, 0.5, 0.5)
BATCH = 32


class VisionModelExtractor:
    """The pooled output of a vision model, or the mean of its last hidden state if it has none."""

    version = "1"

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        if weights is None:
            raise UsageError("name the folder of the vision model: fid[vision-model=FOLDER]")
        folder = weights.expanduser()
        file = folder / "model.safetensors"
        if not file.is_file():
            raise BadData("has no model.safetensors; save the model there with save_pretrained", folder)
        try:
            from transformers import AutoModel
        except ImportError:
            raise UsageError("vision models need transformers: pip install 'gan-image[vision-models]'") from None
        self.label = f"vision-model:{folder.name}"
        self.sha256 = file_sha256(file)
        settings = _settings(folder)
        self.mean, self.std = settings.get("image_mean") or HALF, settings.get("image_std") or HALF
        model: Any = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        model = getattr(model, "vision_model", model)  # the vision part of an image-text model
        self.side = _side(settings, model.config)
        self.device = torch.device(device)
        self.model: nn.Module = model.requires_grad_(False).eval().to(self.device)
        self.preprocessing = (
            f"RGB, bicubic to {self.side} x {self.side}, (x / 255 - {tuple(self.mean)}) / {tuple(self.std)}"
        )

    def __call__(self, samples: Samples, modality: Modality) -> Features:
        """``(N, d)``."""
        images = pictures(samples)
        rows = []
        with torch.inference_mode():
            for start in range(0, len(images), BATCH):
                part = torch.from_numpy(np.array(images[start : start + BATCH])).to(self.device)
                rows.append(self._pooled(self._prepared(part.float())).float().cpu().numpy())
        return Features(np.concatenate(rows))

    def _prepared(self, batch: Tensor) -> Tensor:
        size = (self.side, self.side)
        scaled = nn.functional.interpolate(rgb(batch), size, mode="bicubic", align_corners=False, antialias=True)
        mean, std = (torch.tensor(v, device=batch.device).view(1, 3, 1, 1) for v in (self.mean, self.std))
        return (scaled.clamp(0, 255) / 255 - mean) / std

    def _pooled(self, batch: Tensor) -> Tensor:
        output = self.model(pixel_values=batch)
        pooled = getattr(output, "pooler_output", None)
        if pooled is not None:
            return torch.as_tensor(pooled).flatten(1)
        hidden = output.last_hidden_state  # (n, tokens, d), or (n, d, h, w) of a convolutional network
        mean: Tensor = hidden.mean(1) if hidden.ndim == 3 else hidden.mean((2, 3))
        return mean


def _settings(folder: Path) -> dict[str, Any]:
    file = folder / "preprocessor_config.json"
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadData(f"cannot be read: {error}", file) from None
    return found if isinstance(found, dict) else {}


def _side(settings: dict[str, Any], config: Any) -> int:
    """The model's input side: crop size, size, or that of the configuration."""
    for size in (settings.get("crop_size"), settings.get("size"), getattr(config, "image_size", None)):
        if isinstance(size, dict):
            size = size.get("height") or size.get("shortest_edge")
        if isinstance(size, int):
            return size
    return 224
