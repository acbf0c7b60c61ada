"""Basic Pitch: which of 88 notes sound and begin in a recording, and these as features of sounds.

Bittner, Bosch, Rubinstein, Meseguer-Brocal, Ewert: A lightweight instrument-agnostic model for polyphonic note
transcription and multipitch estimation, 2022, arXiv:2203.09893. The weights are the file ``nmp.onnx`` in the wheel of
basic-pitch 0.4.0, which has the kernels of its constant-Q transform too; batch normalisation is folded in them. The
network is built here anew, so that no runtime for ONNX is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from gan.contracts import Features
from gan.errors import BadData
from gan.weights import find_weights
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad

from gan_audio.extractors.base import copy_into, mono_at
from gan_audio.extractors.files import onnx_constants

if TYPE_CHECKING:
    from gan.contracts import Modality, Samples

RATE, HOP, LENGTH, FRAMES = 22_050, 256, 43_844, 172
"""Samples per second and frame; samples and frames of a window."""
OVERLAP = 30
"""Frames that two windows share; half of them are left out on each side."""
KEYS = 88
"""Of a piano: note 0 is A0, 27.5 Hz."""
OCTAVES, BINS, KERNEL = 9, 309, 256
"""Of the constant-Q transform; 36 bins an octave, from A0 on."""
SHIFTS = (-36, 0, 36, 57, 72, 84, 93, 101)
"""Bins from a tone to its half and to its first seven harmonics."""
SHA256 = "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec"


class BasicPitch(nn.Module):
    """Waveforms ``(N, 43844)`` at 22,050 Hz -> which notes sound and which begin, 0 … 1, ``(N, 172, 88)`` each."""

    kernels: Tensor
    """Real and imaginary parts of the bins of the highest octave, ``(72, 1, 256)``."""
    lowpass: Tensor
    scales: Tensor
    norm: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernels", torch.zeros(72, 1, KERNEL))
        self.register_buffer("lowpass", torch.zeros(1, 1, KERNEL))
        self.register_buffer("scales", torch.zeros(BINS))
        self.register_buffer("norm", torch.zeros(2))
        harmonics = len(SHIFTS)
        self.contours = nn.Conv2d(harmonics, 8, (3, 39), padding=(1, 19))
        self.contour = nn.Conv2d(8, 1, 5, padding=2)
        self.notes = nn.Conv2d(1, 32, 7, stride=(1, 3), padding=(3, 2))
        self.note = nn.Conv2d(32, 1, (7, 3), padding=(3, 1))
        self.onsets = nn.Conv2d(harmonics, 32, 5, stride=(1, 3), padding=(2, 1))
        self.onset = nn.Conv2d(33, 1, 3, padding=1)

    def forward(self, waves: Tensor) -> tuple[Tensor, Tensor]:
        """Notes and onsets."""
        levels = 10 * torch.log10(self.transform(waves).square() + 1e-10)
        levels = levels - levels.amin((1, 2), keepdim=True)
        levels = torch.nan_to_num(levels / levels.amax((1, 2), keepdim=True))  # silence is 0 / 0
        x = levels * self.norm[0] + self.norm[1]
        stacked = torch.stack([_shifted(x, shift)[..., : 3 * KEYS] for shift in SHIFTS], 1)
        contour = self.contour(self.contours(stacked).relu()).sigmoid()
        note = self.note(self.notes(contour).relu()).sigmoid()
        onset = self.onset(torch.cat([note, self.onsets(stacked).relu()], 1)).sigmoid()
        return note[:, 0], onset[:, 0]

    def transform(self, waves: Tensor) -> Tensor:
        """``(N, 43844)`` -> magnitudes of the constant-Q transform, ``(N, 172, 309)``.

        The kernels of the highest octave are used for the others too, on the signal at half the rate, a quarter …
        """
        x = waves[:, None]
        found = []
        for octave in range(OCTAVES):
            if octave:
                x = conv1d(pad(x, (KERNEL // 2 - 1, KERNEL // 2 - 1)), self.lowpass, stride=2)
            reflected = pad(x, (KERNEL // 2, KERNEL // 2), mode="reflect")
            real, imaginary = conv1d(reflected, self.kernels, stride=HOP >> octave).square().chunk(2, 1)
            found.append((real + imaginary).sqrt())
        bins: Tensor = torch.cat(found[::-1], 1)[:, -BINS:].transpose(1, 2)
        return bins * self.scales

    def load_onnx(self, constants: dict[str, NDArray[np.float32]]) -> None:
        """Copy the published constants. Raises `KeyError` or `ValueError` if one is missing or has another shape."""
        real, imaginary = (constants[f"const_fold_opt__{number}"] for number in (655, 664))
        copy_into(self.kernels, np.concatenate([real, imaginary])[:, 0])
        copy_into(self.lowpass, constants["const_fold_opt__734"][0])
        copy_into(self.scales, _of(constants, "cq_t2010v2_1/Sqrt").ravel())
        norm = "model_1/batch_normalization/FusedBatchNormV3;model_1/batch_normalization/FusedBatchNormV3"
        copy_into(self.norm, np.concatenate([constants[norm], constants[norm + "1"]]))
        for layer, number, bias in (
            (self.contours, 727, "conv2d_1/Conv2D"),
            (self.contour, 710, "contours-reduced/BiasAdd/ReadVariableOp"),
            (self.notes, 738, "conv2d_2/BiasAdd/ReadVariableOp"),
            (self.note, 702, "conv2d_3/BiasAdd/ReadVariableOp"),
            (self.onsets, 707, "conv2d_4/Conv2D"),
            (self.onset, 680, "conv2d_5/BiasAdd/ReadVariableOp"),
        ):
            copy_into(layer.weight, constants[f"const_fold_opt__{number}"])
            copy_into(layer.bias, _of(constants, bias))


class BasicPitchExtractor:
    """How much of the time each of 88 notes sounds, and how often it begins: 176 numbers of each sound."""

    version = "1"
    preprocessing = (
        f"channels averaged, {RATE} Hz, windows of {LENGTH} samples that share {OVERLAP} frames, mean over all frames"
    )
    value_names = {"FID": "FD"}
    sha256 = SHA256

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        """`weights` is ``basic_pitch/saved_models/icassp_2022/nmp.onnx`` of the wheel, or its folder."""
        file = find_weights("nmp.onnx", SHA256, weights)
        network = BasicPitch()
        try:
            network.load_onnx(onnx_constants(file))
        except (KeyError, ValueError) as error:
            raise BadData(f"its constants are not those of basic-pitch 0.4.0: {error}", file) from error
        self.device = torch.device(device)
        self.network = network.requires_grad_(False).eval().to(self.device)

    def notes(self, wave: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """``(samples,)`` at 22,050 Hz -> which notes sound and which begin, 0 … 1, ``(frames, 88)`` each.

        A frame has 256 samples.
        """
        step, edge, frames = FRAMES - OVERLAP, OVERLAP // 2, -(-len(wave) // HOP)
        count = max(1, -(-frames // step))
        padded = np.pad(wave, (edge * HOP, count * step * HOP + LENGTH - len(wave)))
        windows = np.stack([padded[at : at + LENGTH] for at in range(0, count * step * HOP, step * HOP)])
        with torch.inference_mode():
            found = self.network(torch.from_numpy(windows).to(self.device))
        note, onset = (one[:, edge:-edge].flatten(0, 1)[:frames].cpu().numpy() for one in found)
        return note, onset

    def __call__(self, samples: Samples, modality: Modality) -> Features:
        """``(N, 176)`` float32."""
        rows = [
            np.concatenate([part.mean(0) for part in self.notes(wave)]) for wave in mono_at(samples, modality, RATE)
        ]
        return Features(np.asarray(rows, np.float32).reshape(len(rows), -1))


def _shifted(x: Tensor, bins: int) -> Tensor:
    """Bin b of the result is bin ``b + bins`` of `x`, or 0 beyond its ends."""
    return pad(x[..., max(0, bins) : x.shape[-1] + min(0, bins)], (max(0, -bins), max(0, bins)))


def _of(constants: dict[str, NDArray[np.float32]], ending: str) -> NDArray[np.float32]:
    """The only constant whose name ends so."""
    found = [values for name, values in constants.items() if name.endswith(ending)]
    if len(found) != 1:
        raise KeyError(ending)
    return found[0]
