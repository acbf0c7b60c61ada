"""The codec on spoken digits at three bit rates, beside OPUS and MP3: mel L1 and SI-SDR, and how codes are used.

    python benchmarks/audio/codec_digits.py [--run RUN]

Trained with the recipe `codec` at 8 kHz (128 samples a frame, 62.5 frames a second, 0.375 kbit/s a stage) on four
speakers of `fsdd_digits_8k.zip`; measured on the digits of two others (`theo`, `yweweler`), joined to one recording of
a minute. OPUS and MP3 are written by libsndfile at the lowest bit rates that it offers; their rates are file sizes by
seconds. Their delay is removed by the best correlation before SI-SDR. Settings were chosen on one of the
four speakers.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from gan.api import load, recipe, train
from gan.reporting.manifest import surroundings
from gan.testing import shared_data
from gan_audio.architectures.codec import CodecOptions
from gan_audio.metrics.pairs import signal_to_distortion
from gan_audio.networks.codebooks import code_statistics
from gan_audio.picture import sheet
from gan_audio.spectra import MelSettings, vocoder_mel

HERE = Path(__file__).parent
RATE, UNSEEN, RATES = 8000, ("theo", "yweweler"), (0.375, 0.75, 1.5, 3.0, 6.0)
MEL = MelSettings(RATE, 64, 64, RATE / 2)


def digits() -> dict[str, list[np.ndarray]]:
    """Speaker -> waveforms."""
    path = shared_data("audio", "fsdd_digits_8k.zip")
    if path is None:
        raise SystemExit("needs ../shared/data/audio/fsdd_digits_8k.zip")
    found: dict[str, list[np.ndarray]] = {}
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".wav"):
                wave, _ = soundfile.read(io.BytesIO(archive.read(name)), dtype="float32")
                found.setdefault(name.split("_")[1], []).append(0.95 * wave / np.abs(wave).max())
    return found


def mel_l1(made: np.ndarray, original: np.ndarray) -> float:
    return float(np.abs(vocoder_mel(made, MEL) - vocoder_mel(original, MEL)).mean())


def aligned(made: np.ndarray, original: np.ndarray) -> np.ndarray:
    """`made` without its delay, with the length of `original`."""
    size = 1 << (len(original) + len(made)).bit_length()
    spectrum = np.fft.rfft(made, size) * np.conj(np.fft.rfft(original, size))
    lag = int(np.fft.irfft(spectrum, size).argmax())
    lag = lag - size if lag > size // 2 else lag
    shifted = made[lag:] if lag >= 0 else np.pad(made, (-lag, 0))
    return np.pad(shifted, (0, max(0, len(original) - len(shifted))))[: len(original)]


def coded(wave: np.ndarray, container: str, subtype: str, level: float) -> tuple[np.ndarray, float]:
    """(decoded, kbit/s) of libsndfile's encoder."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, RATE, subtype, format=container, compression_level=level)
    kbps = 8 * len(buffer.getvalue()) / (len(wave) / RATE) / 1000
    buffer.seek(0)
    made, rate = soundfile.read(buffer, dtype="float32")
    if rate != RATE:
        import soxr

        made = soxr.resample(made, rate, RATE)
    return aligned(made, wave), kbps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--run",
        type=Path,
        help="of the run; one that was stopped is resumed, one that ended is measured",
    )
    parser.add_argument("--samples", type=int, help="train on so many real samples in all, instead of the recipe's")
    parser.add_argument("--measure", action="store_true", help="measure the run as it is, without training")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    speakers = digits()
    with tempfile.TemporaryDirectory() as temporary:
        run = arguments.run or Path(temporary) / "run"
        data = run.with_name(f"{run.name}-data")  # beside the run, which can be resumed with it
        data.mkdir(exist_ok=True)
        for speaker in sorted(set(speakers) - set(UNSEEN)):
            soundfile.write(data / f"{speaker}.wav", np.concatenate(speakers[speaker]), RATE)
        values = recipe("audio", named="codec")
        values["data"] = {"source": str(data)}
        values["modality"] |= {"rate": RATE, "seconds": 0.512}
        values["model"] |= {"ratios": [8, 4, 4], "transforms": [512, 128]}
        values["training"] |= {"preview_ticks": 0}
        values["evaluation"] |= {"samples": 32}
        began = time.process_time()
        is_finished = arguments.measure or (run / "evaluation" / "result.json").exists()
        if not is_finished:
            train(values, out=run, samples=arguments.samples, or_resume=True)
        trained = None if is_finished else time.process_time() - began
        model = load(run)
        codec, stated = model.architecture.eval(), model.trained
    wave = np.concatenate([digit for speaker in UNSEEN for digit in speakers[speaker][:75]])
    sound = torch.from_numpy(np.rint(wave * 32767).astype(np.int16))[None, None]
    original = sound[0, 0].numpy().astype(np.float32) / 32768
    rows: dict[str, dict[str, float]] = {}
    decoded: dict[str, np.ndarray] = {}
    uses: list[float] = []
    with torch.no_grad():
        for rate in RATES:
            before = time.process_time()
            from gan.contracts import Request

            made = codec.generate(1, None, Request(CodecOptions(kbps=rate), {"sound": sound}))
            seconds = time.process_time() - before
            decoded[f"codec {rate:g}"] = made["sound"][0, 0].numpy().astype(np.float32) / 32768
            statistics = [
                code_statistics(made["codes"][:, stage], codec.config.codes) for stage in range(made["codes"].shape[1])
            ]
            uses = [float(use) for use, _ in statistics]
            rows[f"codec {rate:g}"] = {
                "kbit/s": rate,
                "kbit/s by entropy": sum(float(entropy) for _, entropy in statistics) * 62.5 / 1000,
                "times real time": len(original) / RATE / seconds,
            }
    for name, container, subtype, level in (
        ("opus", "OGG", "OPUS", 1.0), ("opus", "OGG", "OPUS", 0.98), ("mp3", "MP3", "MPEG_LAYER_III", 0.99),
    ):  # fmt: skip
        other, kbps = coded(original, container, subtype, level)
        decoded[f"{name} {kbps:.1f}"] = other
        rows[f"{name} {kbps:.1f}"] = {"kbit/s": kbps}
    for name, other in decoded.items():
        rows[name] |= {"mel L1": mel_l1(other, original), "SI-SDR": signal_to_distortion(other, original)}
    result = {
        "rows": rows,
        "codebook_use_of_each_stage": uses,
        "samples_shown": stated,
        "cpu_seconds_of_training": trained,
        "seconds_measured": len(original) / RATE,
        "load": os.getloadavg(),
        **surroundings("soundfile", "soxr"),
    }
    (HERE / "codec_digits.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    part = slice(0, 2 * RATE)
    shown = {"original": original, **decoded}
    waves = np.stack([np.clip(np.rint(one[part] * 32767), -32768, 32767) for one in shown.values()])[:, None]
    sheet(waves.astype(np.int16), RATE, list(shown)).save(HERE / "codec_digits.png")
    print(json.dumps({"rows": rows, "use": uses}, indent=1))


if __name__ == "__main__":
    main()
