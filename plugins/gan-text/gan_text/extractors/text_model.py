"""Feature extractor for text: any language model of the transformers library from a folder (BERT, GPT-2, …).

It is selected by ``fid[text-model=FOLDER]``. The folder is one that ``save_pretrained`` writes or a model hub offers,
with the tokenizer, ``config.json`` and ``model.safetensors``. Nothing is downloaded and no code of the folder runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gan.contracts import Features, Modality
from gan.errors import BadData, UsageError
from gan.weights import file_sha256
from torch import nn
from transformers import AutoModel, AutoTokenizer

from gan_text.modality import Text

if TYPE_CHECKING:
    from gan.contracts import Samples

BATCH = 32
LONGEST = 512
"""Maximum number of tokens of a text, unless the model's context is shorter."""


class TextModelExtractor:
    """The last hidden state averaged over a text's tokens (that of the encoder, in encoder-decoder models).

    The text is decoded by the modality and encoded with the extractor's tokenizer, so the generator's vocabulary does
    not matter. A text without tokens gives the zero vector.
    """

    version = "1"

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        if weights is None:
            raise UsageError("name the folder of the language model: fid[text-model=FOLDER]")
        folder = weights.expanduser()
        file = folder / "model.safetensors"
        if not file.is_file():
            raise BadData("has no model.safetensors; save the model there with save_pretrained", folder)
        self.label = f"text-model:{folder.name}"
        self.sha256 = file_sha256(file)
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model: Any = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
        except (OSError, ValueError) as error:
            raise BadData(f"cannot be loaded: {str(error).splitlines()[0]}", folder) from error
        if getattr(model.config, "is_encoder_decoder", False):
            model = model.get_encoder()
        context = getattr(model.config, "max_position_embeddings", None) or LONGEST
        self.longest = min(context, self.tokenizer.model_max_length, LONGEST)
        self.device = torch.device(device)
        self.width: int = model.config.hidden_size
        self.model: nn.Module = model.requires_grad_(False).eval().to(self.device)
        self.preprocessing = f"the written text, tokens of the model, the first {self.longest}"

    def __call__(self, samples: Samples, modality: Modality) -> Features:
        """``(N, d)``. Texts of equal length are batched, so that no padding is needed."""
        assert isinstance(modality, Text)
        texts = modality.texts(samples)
        tokens = self.tokenizer(texts, truncation=True, max_length=self.longest)["input_ids"]
        rows = np.zeros((len(texts), self.width), dtype=np.float32)
        lengths = np.array([len(numbers) for numbers in tokens])
        with torch.inference_mode():
            for length in np.unique(lengths[lengths > 0]):
                alike = np.flatnonzero(lengths == length)
                for start in range(0, len(alike), BATCH):
                    part = alike[start : start + BATCH]
                    numbers = torch.tensor([tokens[i] for i in part], device=self.device)
                    hidden = self.model(input_ids=numbers).last_hidden_state
                    rows[part] = hidden.float().mean(1).cpu().numpy()
        return Features(rows)
