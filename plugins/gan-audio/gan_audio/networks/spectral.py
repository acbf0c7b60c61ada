"""Spectrograms in torch, and losses between them. All compute in float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from gan_audio.spectra import MEL_FLOOR, mel_filters


def magnitudes(waves: Tensor, window: Tensor, hop: int, size: int | None = None) -> Tensor:
    """``(N, C, samples)`` -> ``(N, C, size // 2 + 1, frames)``: magnitudes of short-time Fourier transforms.

    `size` is the length of the transform, that of the window by default. Frames are centred on the multiples of `hop`;
    beyond both ends are zeros. The gradient is finite at 0.
    """
    with torch.autocast(waves.device.type, enabled=False):
        count, channels, samples = waves.shape
        size = len(window) if size is None else size
        flat = pad(waves.float().reshape(count * channels, samples), (size // 2, size // 2))
        found = torch.stft(flat, size, hop, len(window), window, center=False, return_complex=True)
        values = (found.real.square() + found.imag.square() + 1e-9).sqrt()
        return values.view(count, channels, *values.shape[1:])


class VocoderMel(nn.Module):
    """`gan_audio.spectra.vocoder_mel` in torch: ``(N, 1, samples)`` -> ``(N, bands, samples / hop)``, natural logarithm
    of mel magnitudes with bands up to half the rate."""

    taper: Tensor
    filters: Tensor

    def __init__(self, rate: int, hop: int, bands: int) -> None:
        super().__init__()
        self.hop, self.window = hop, 4 * hop
        self.register_buffer("taper", torch.hann_window(self.window), persistent=False)
        filters = torch.from_numpy(mel_filters(rate, self.window, bands))
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """The spectrograms, in float32."""
        with torch.autocast(waves.device.type, enabled=False):
            edge = (self.window - self.hop) // 2
            padded = pad(waves.float(), (edge, edge), mode="reflect").squeeze(1)
            spectrum = torch.stft(padded, self.window, self.hop, window=self.taper, center=False, return_complex=True)
            values = (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()
            logs: Tensor = (self.filters @ values).clamp_min(MEL_FLOOR).log()
            return logs


class MultiScaleMel(nn.Module):
    """The spectral loss of EnCodec: distances L1 + L2 of log-mel spectrograms, mean over `windows` (equation 4).

    Windows of 2^6 … 2^11 samples with a quarter of them as hop, 64 bands from 64 Hz on as in audiocraft. Bands that are
    narrower than the transform resolves stay empty and add nothing.
    """

    def __init__(self, rate: int, windows: Sequence[int], bands: int = 64, low: float = 64.0) -> None:
        super().__init__()
        self.windows = tuple(windows)
        for size in self.windows:
            filters = torch.from_numpy(mel_filters(rate, size, bands, low))
            self.register_buffer(f"filters{size}", filters, persistent=False)
            self.register_buffer(f"taper{size}", torch.hann_window(size), persistent=False)

    def log_mel(self, waves: Tensor, size: int) -> Tensor:
        """``(N, C, samples)`` -> ``(N, C, bands, frames)``: natural logarithm of mel magnitudes."""
        spectrum = magnitudes(waves, self.get_buffer(f"taper{size}"), size // 4)
        with torch.autocast(waves.device.type, enabled=False):
            return (self.get_buffer(f"filters{size}") @ spectrum).clamp_min(1e-5).log()

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """A scalar, for two batches of waveforms ``(N, C, samples)``."""
        distances = []
        for size in self.windows:
            difference = self.log_mel(real, size) - self.log_mel(fake, size)
            distances += [difference.abs().mean(), difference.square().mean()]
        return torch.stack(distances).sum() / len(self.windows)


class MultiSpectral(nn.Module):
    """The spectral loss of Jukebox (section 3.1): ‖|S(x)| - |S(x̂)|‖ of each sample, mean over three resolutions.

    `settings` are (transform, hop, window) each.
    """

    def __init__(self, settings: Sequence[tuple[int, int, int]]) -> None:
        super().__init__()
        self.settings = tuple(settings)
        for number, (_, _, window) in enumerate(self.settings):
            self.register_buffer(f"taper{number}", torch.hann_window(window), persistent=False)

    def _spectra(self, waves: Tensor) -> list[Tensor]:
        return [
            magnitudes(waves, self.get_buffer(f"taper{number}"), hop, size)
            for number, (size, hop, _) in enumerate(self.settings)
        ]

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """``(N, C, samples)`` each -> ``(N,)``."""
        pairs = zip(self._spectra(real), self._spectra(fake), strict=True)
        return torch.stack([(one - other).flatten(1).norm(dim=1) for one, other in pairs]).mean(0)

    def norm(self, waves: Tensor) -> Tensor:
        """``(N, C, samples)`` -> ``(N,)``: the norms of the spectrograms, by which the loss is divided."""
        return torch.stack([spectrum.flatten(1).norm(dim=1) for spectrum in self._spectra(waves)]).mean(0)
