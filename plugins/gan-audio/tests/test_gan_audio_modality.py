"""The modality: what files become, which are refused, and that written files depend on the samples only."""

from __future__ import annotations

import io
import re
import struct
import zipfile

import numpy as np
import pytest
import soundfile
from gan.contracts import Continued
from gan.data.check import check_source
from gan.data.order import Order
from gan.data.packing import open_pack
from gan.errors import BadData
from gan.source import SourceFile, list_source
from gan.testing import shared_data
from gan.testing.bounded import bounded
from gan_audio.loudness import LoudnessMeter
from gan_audio.modality import Audio, AudioConfig, AudioOptions, SoundField, to_int16
from gan_audio.percussion import KINDS, hit
from gan_audio.recordings import MAX_SECONDS
from gan_audio.spectra import hz_to_mel, log_mel, mel_filters, mel_to_hz
from gan_audio.writing import with_serial

RATE = 8_000


def tone(seconds=0.5, rate=RATE, hertz=440.0, level=0.5, channels=1):
    wave = level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, 1)


def written(path, sound, rate=RATE, **kinds):
    soundfile.write(path, sound, rate, **kinds)
    return path


def source(path, root=None):
    return SourceFile(path.relative_to(root or path.parent).as_posix(), path, None, path.stat().st_size)


def read(path, **config):
    return list(Audio(AudioConfig(**{"rate": RATE, "seconds": 0.5, **config})).read(source(path)))


def refusal(path, **config):
    with pytest.raises(BadData) as caught:
        read(path, **config)
    return caught.value.reason


# ------------------------------------------------------------------ formats


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_formats_give_the_same_sound(suffix, tmp_path):
    (sample,) = read(written(tmp_path / f"a.{suffix}", tone()), long="beginning", trim=0)
    expected = tone()[:, 0] * (0.95 / 0.5)
    got = sample["sound"][0] / 32768
    assert sample["sound"].shape == (1, 4000)
    spectrum, wanted = np.abs(np.fft.rfft(got)), np.abs(np.fft.rfft(expected))
    assert np.abs(spectrum - wanted).max() < 0.1 * wanted.max()  # MP3 is the least exact


def test_format_is_found_by_content(tmp_path):
    mp3 = written(tmp_path / "a.mp3", tone())
    named = tmp_path / "b.wav"
    named.write_bytes(mp3.read_bytes())
    assert np.array_equal(read(mp3)[0]["sound"], read(named)[0]["sound"])


@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "MS_ADPCM"]
)
def test_encodings_of_wav(subtype, tmp_path):
    (sample, *_) = read(written(tmp_path / "a.wav", tone(), subtype=subtype), trim=0)
    assert np.abs(sample["sound"][0] / 32768 - tone()[:, 0] * 1.9).max() < 0.06


@pytest.mark.parametrize("rate", [4_000, 11_025, 44_100, 192_000])
def test_rates_are_resampled(rate, tmp_path):
    (sample,) = read(written(tmp_path / "a.wav", tone(rate=rate), rate), trim=0)
    middle = slice(500, 3500)
    assert np.abs(sample["sound"][0, middle] / 32768 - tone()[middle, 0] * 1.9).max() < 0.02


def test_channels_follow_the_declared_rule(tmp_path):
    eight = np.stack([tone(hertz=100.0 * (number + 1), level=0.1)[:, 0] for number in range(8)], 1)
    path = written(tmp_path / "8.wav", eight)
    (mono,), (stereo,) = (read(path, normalize="none", trim=0, channels=channels) for channels in (1, 2))
    assert np.abs(mono["sound"][0] / 32768 - eight.mean(1)).max() < 1e-3
    assert np.abs(stereo["sound"].T / 32768 - eight[:, :2]).max() < 1e-3
    (double,) = read(written(tmp_path / "1.wav", tone()), channels=2)
    assert np.array_equal(double["sound"][0], double["sound"][1])


# ------------------------------------------------------------------ rules


def test_long_recordings_are_cut_into_pieces(tmp_path):
    path = written(tmp_path / "a.wav", tone(seconds=1.8), subtype="FLOAT")
    whole = read(path, trim=0, normalize="none")
    assert len(whole) == 4  # the last one, of 0.3 s, is more than half full
    joined = np.concatenate([sample["sound"][0] for sample in whole])[: round(1.8 * RATE)]
    assert np.abs(joined / 32768 - tone(seconds=1.8)[:, 0]).max() < 1e-4
    assert len(read(written(tmp_path / "b.wav", tone(seconds=1.7)), trim=0)) == 3
    assert len(read(path, long="beginning")) == 1


def test_pieces_do_not_depend_on_the_blocks_that_are_decoded(tmp_path, monkeypatch):
    path = written(tmp_path / "a.wav", tone(seconds=3.0, rate=11_025), 11_025)
    whole = np.stack([sample["sound"] for sample in read(path)])
    monkeypatch.setattr("gan_audio.recordings.BLOCK", 777)
    monkeypatch.setattr("gan_audio.recordings.KEPT", 0)
    parts = np.stack([sample["sound"] for sample in read(path)])
    assert np.abs(whole.astype(int) - parts).max() <= 1


def test_windows_are_cut_from_whole_recordings(tmp_path, monkeypatch):
    """In parts of 1,024 frames; joined they are the pieces, and the mel spectrogram is that of the whole."""
    path = written(tmp_path / "a.wav", tone(seconds=1.03))
    settings = {"seconds": 0.256, "trim": 0, "mel": True, "mel_hop": 64, "mel_bands": 20}
    (short, *_) = read(path, **settings)
    monkeypatch.setattr("gan_audio.modality.PART", 1024)
    parts = read(path, long="windows", **settings)
    assert len(parts) == 9
    assert [isinstance(part, Continued) for part in parts] == [False] + 8 * [True]
    sound, mel = (np.concatenate([part[name] for part in parts], 1) for name in ("sound", "mel"))
    assert sound.shape == (1, 8256)  # 8,240 and silence up to whole hops
    assert mel.shape == (20, 129)
    assert np.array_equal(sound[:, :2048], short["sound"])
    audio = Audio(AudioConfig(**{"rate": RATE, **settings}))
    assert mel == pytest.approx(audio._mel(sound), abs=1e-4)
    (few,) = read(written(tmp_path / "b.wav", tone(seconds=0.1)), long="windows", **settings)
    assert few["sound"].shape == (1, 2048)


def test_a_long_recording_is_trained_on_in_windows(tmp_path):
    """A label belongs to the whole recording, and every window is a part of a tone of its class."""
    for folder, hertz, seconds in (("low", 500, 3.0), ("high", 2000, 1.2)):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder / "a.wav", tone(seconds=seconds, hertz=hertz))
    config = AudioConfig(rate=RATE, seconds=0.1, long="windows", labels="folder", trim=0)
    pack = open_pack(tmp_path, Audio, config, "audio", cache=tmp_path / "cache")
    assert (pack.folder / "sound.bin").stat().st_size == 2 * round(4.2 * RATE)
    assert len(pack) == 42
    taken = pack.take(Order(pack.sizes, 1, pack.windowed).indices(0, 64))
    assert taken["sound"].shape == (64, 1, 800)
    loudest = np.abs(np.fft.rfft(taken["sound"][:, 0] / 32768)).argmax(1) * 10
    assert np.array_equal(loudest, np.where(taken["label"] == 1, 500, 2000))
    assert len(np.unique(taken["sound"][:, 0, :5], axis=0)) > 8  # they begin at many phases


LONG = """
import sys
from pathlib import Path
from gan.data.packing import open_pack
from gan_audio.modality import Audio, AudioConfig

root = Path(sys.argv[1])
pack = open_pack(root / "data", Audio, AudioConfig(rate=8000, seconds=1, long="windows"), "audio", cache=root)
print((pack.folder / "sound.bin").stat().st_size, len(pack), pack.take(__import__("numpy").arange(4))["sound"].shape)
"""


@pytest.mark.slow
def test_three_hours_cost_their_own_size_and_little_memory(tmp_path):
    """345 MB of sound at 16 kHz, packed at 8 kHz into 173 MB in parts of 32 MB, of which a few are in memory."""
    (tmp_path / "data").mkdir()
    with soundfile.SoundFile(tmp_path / "data" / "a.wav", "w", 16_000, 1, "PCM_16") as file:
        for number in range(180):
            file.write(tone(seconds=60, rate=16_000, hertz=100 + number, level=0.5)[:, 0])
    size, rows, *_ = bounded(LONG, tmp_path, seconds=120, megabytes=450).split()
    assert (int(size), int(rows)) == (2 * 8000 * 10_800, 10_800)


def test_silence_at_the_ends_is_removed(tmp_path):
    quiet = np.zeros((2000, 1))
    path = written(tmp_path / "a.wav", np.concatenate([quiet, tone(0.25), quiet]))
    (sample,) = read(path)
    assert np.abs(sample["sound"][0, :100]).max() > 5_000
    assert not sample["sound"][0, 2010:].any()
    (kept, *_) = read(path, trim=0)
    assert not kept["sound"][0, :2000].any()


def test_silent_pieces_are_left_out(tmp_path):
    path = written(tmp_path / "a.wav", np.concatenate([tone(0.5), np.zeros((12_000, 1)), tone(0.5)]))
    assert len(read(path)) == 2


def test_peak_and_levels(tmp_path):
    path = written(tmp_path / "a.wav", tone(level=0.2))
    assert abs(np.abs(read(path)[0]["sound"]).max() / 32768 - 0.95) < 1e-3
    assert abs(np.abs(read(path, normalize="none")[0]["sound"]).max() / 32768 - 0.2) < 1e-3


def test_loudness_is_reached_without_clipping(tmp_path):
    path = written(tmp_path / "a.wav", tone(seconds=2.0, hertz=1000.0))
    (sample, *_) = read(path, normalize="loudness", lufs=-20.0)
    meter = LoudnessMeter(RATE, 1)
    for piece in read(path, normalize="loudness", lufs=-20.0):
        meter.add(piece["sound"].T.astype(np.float32) / 32768)
    assert abs(meter.loudness() + 20.0) < 0.1
    click = np.zeros((4000, 1))
    click[100] = 0.9
    (loud,) = read(written(tmp_path / "b.wav", click + tone() * 0.002), normalize="loudness", lufs=-5.0)
    assert 32_000 < np.abs(loud["sound"]).max() < 32_768


def test_loudness_of_the_standards_tone():
    """BS.1770-4: a sine of 997 Hz at full scale in one channel has -3.01 LKFS."""
    for rate in (44_100, 48_000):
        meter = LoudnessMeter(rate, 1)
        for part in np.array_split(tone(5.0, rate, 997.0, 1.0).astype(np.float32), 7):
            meter.add(part)
        assert abs(meter.loudness() + 3.01) < 0.02


@pytest.mark.parametrize("labels", ["folder", "prefix"])
def test_labels(labels, tmp_path):
    for name in ("kick", "snare"):
        (tmp_path / name).mkdir()
        written(tmp_path / name / f"{name}_1.wav", tone())
    files = list_source(tmp_path, Audio.suffixes).files
    config = AudioConfig(rate=RATE, seconds=0.5, labels=labels)
    audio = Audio(config, Audio(config).survey(files))
    assert audio.fields["label"].names == ("kick", "snare")
    assert audio.fields["label"].condition
    assert [int(next(audio.read(file))["label"]) for file in files] == [0, 1]
    assert audio.read_condition("label", "snare") == 1.0


def test_labels_need_two_classes(tmp_path):
    written(tmp_path / "a.wav", tone())
    with pytest.raises(BadData, match="two classes"):
        Audio(AudioConfig(labels="folder")).survey(list_source(tmp_path, Audio.suffixes).files)


def test_inventory_counts_what_the_report_names(tmp_path):
    loud = np.clip(tone(0.2, level=3.0), -1, 1)
    written(tmp_path / "a.wav", np.concatenate([loud, np.zeros((1600, 1))]))
    written(tmp_path / "b.flac", tone(0.5, 44_100, channels=2), 44_100)
    report = check_source(tmp_path, Audio, AudioConfig(rate=RATE, seconds=0.5)).inventory
    assert report["files at 8,000 Hz"] == report["files at 44,100 Hz"] == (1, 1)
    assert report["files with 1 channel"] == report["files with 2 channels"] == (1, 1)
    assert report["milliseconds"] == (2, 900)
    assert report["milliseconds of silence (below -60 dB)"] == (1, 200)
    assert report["clipped samples"][1] > 500


# ------------------------------------------------------------------ untrusted files


def wav(data=b"\0\1" * 800, *, channels=1, rate=8_000, bits=16, promised=None, kind=1):
    block = max(1, channels * bits // 8)
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * block & 0xFFFFFFFF, block, bits)
    length = len(data) if promised is None else promised
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", length) + data
    return b"RIFF" + struct.pack("<I", (len(body)) & 0xFFFFFFFF) + body


BAD = {
    "empty": (b"", "not a sound file"),
    "text": (b"not a sound at all, but some text" * 40, "not a sound file"),
    "half a header": (wav()[:30], "not a sound file|no samples|truncated"),
    "only a header": (wav(b""), "no samples"),
    "no channels": (wav(channels=0), "not a sound file|channels"),
    "300 channels": (wav(channels=300), "channels|not a sound file"),
    "rate 0": (wav(rate=0), "Hz|not a sound file"),
    "rate 4 GHz": (wav(rate=4_000_000_000), "Hz|not a sound file"),
    "rate 1": (wav(rate=1), "1 Hz"),
    "longer than the file": (wav(promised=1 << 30), "truncated: 1,600 of the 1,073,741,824 bytes"),
    "cut": (wav()[:-700], "truncated: 900 of the 1,600 bytes"),
    "NaN": (wav(np.array([0.1, np.nan] * 400, "<f4").tobytes(), bits=32, kind=3), "not finite"),
    "infinite": (wav(np.array([0.1, -np.inf] * 400, "<f4").tobytes(), bits=32, kind=3), "not finite"),
    "silence": (wav(bytes(8000)), "silent"),
    "whispered noise": (wav(np.tile(np.array([1, -1], "<i2"), 500).tobytes()), "silent"),
}


@pytest.mark.rule("I6")
@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_with_a_reason(name, tmp_path):
    content, reason = BAD[name]
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    settings = {"normalize": "none"} if name == "whispered noise" else {}
    found = refusal(path, **settings)
    assert re.search(reason, found), found
    assert "0x" not in found


@pytest.mark.rule("I6")
@pytest.mark.parametrize("promised", [0, 0xFFFFFFFF])
def test_lengths_that_were_not_known_yet_are_read_to_the_end(promised, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(to_int16(tone()[:, 0]).tobytes(), promised=promised))
    if promised == 0 and not soundfile.info(path).frames:
        assert "no samples" in refusal(path)
        return
    assert len(read(path)) == 1


@pytest.mark.rule("I6")
@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
def test_cut_files_are_refused_or_end_early_with_finite_sound(suffix, tmp_path):
    path = written(tmp_path / f"a.{suffix}", tone(3.0) + 0.01 * np.random.default_rng(0).standard_normal((24_000, 1)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if suffix == "flac":
        assert "damaged" in refusal(path) or "truncated" in refusal(path)
        return
    try:
        samples = read(path)
    except BadData:
        return
    assert 1 <= len(samples) < 6


@pytest.mark.rule("I6")
def test_an_odd_number_of_bytes_loses_no_whole_sample(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(to_int16(tone()[:, 0]).tobytes() + b"\1"))
    assert len(read(path)) == 1


@pytest.mark.rule("I6")
def test_loud_floats_are_scaled_or_clipped(tmp_path):
    path = written(tmp_path / "a.wav", tone(level=1e20).astype(np.float32), subtype="FLOAT")
    assert abs(np.abs(read(path)[0]["sound"]).max() / 32768 - 0.95) < 1e-3
    assert read(path, normalize="none")[0]["sound"].max() == 32767


@pytest.mark.rule("I5")
def test_hours_of_silence_cost_little_memory(tmp_path):
    """A FLAC file of an hour: 115 MB as 32-bit floats, some kilobytes on the disk."""
    path = tmp_path / "a.flac"
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for _ in range(60):
            file.write(np.zeros(60 * RATE, np.int16))
    code = """
import sys
from pathlib import Path
from gan.errors import BadData
from gan.source import SourceFile
from gan_audio.modality import Audio, AudioConfig
path = Path(sys.argv[1])
try:
    list(Audio(AudioConfig(normalize="loudness")).read(SourceFile(path.name, path, None, path.stat().st_size)))
except BadData as error:
    print(error.reason)
"""
    assert "silent" in bounded(code, path, seconds=20, megabytes=180)


def test_endless_recordings_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("gan_audio.recordings.MAX_SECONDS", 1)
    assert MAX_SECONDS == 24 * 3600
    assert "limit" in refusal(written(tmp_path / "a.wav", tone(2.0)))


def test_archives_are_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        buffer = io.BytesIO()
        soundfile.write(buffer, tone(), RATE, format="FLAC")
        archive.writestr("x/a.flac", buffer.getvalue())
    (file,) = list_source(tmp_path / "a.zip", Audio.suffixes).files
    assert len(list(Audio(AudioConfig(rate=RATE, seconds=0.5)).read(file))) == 1


# ------------------------------------------------------------------ writing and pictures


def sample(channels=1, samples=20_000):
    rng = np.random.default_rng(1)
    return {"sound": to_int16(0.3 * rng.standard_normal((channels, samples)))}


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.rule("L9")
def test_equal_sounds_are_equal_files(kind, channels, tmp_path):
    audio, options = Audio(AudioConfig(channels=channels)), AudioOptions(format=kind)
    one = audio.write(sample(channels), tmp_path / "one.x", options)
    two = audio.write(sample(channels), tmp_path / "two.x", options)
    assert one.name == f"one.x.{kind}"
    assert one.read_bytes() == two.read_bytes()
    back, rate = soundfile.read(one, dtype="int16", always_2d=True)
    assert rate == 16_000
    if kind in ("wav", "flac"):
        assert np.array_equal(back.T, sample(channels)["sound"])
    else:
        assert abs(back.astype(float).std() / sample(channels)["sound"].std() - 1) < 0.2


@pytest.mark.rule("L9")
def test_serial_numbers_and_checksums_of_ogg():
    """libsndfile's own pages have right checksums, so writing the same serial number again changes nothing."""
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(2.0), RATE, format="OGG")
    content = buffer.getvalue()
    assert with_serial(content, int.from_bytes(content[14:18], "little")) == content
    assert with_serial(content, 7)[14:18] == b"\7\0\0\0"


def test_preview_and_page(tmp_path):
    config = AudioConfig(rate=RATE, seconds=0.5, labels="folder")
    audio = Audio(config, {"classes": ["a", "b"]})
    samples = {"sound": np.stack([to_int16(tone().T), np.zeros((1, 4000), np.int16)]), "label": np.array([0, 1])}
    picture = np.asarray(audio.preview(samples))
    assert picture.shape[1] > 2 * 208 > picture.shape[0]
    assert picture.std() > 10
    path = audio.write({"sound": samples["sound"][0]}, tmp_path / "a")
    shown = audio.show(source(path), "a.wav", tmp_path)
    assert '<audio controls preload="none" src="a.wav">' in shown
    assert "data:image/png;base64," in shown


def test_a_tone_is_where_its_mel_band_is(tmp_path):
    for hertz in (300.0, 1000.0, 3000.0):
        mel = log_mel(tone(hertz=hertz)[:, 0][None], RATE, window=512, hop=128, bands=64)[0].mean(1)
        edges = mel_to_hz(np.linspace(0, hz_to_mel(RATE / 2), 66))
        assert abs(edges[int(mel.argmax()) + 1] - hertz) < 0.06 * hertz + 20


def test_mel_filters_have_known_values():
    assert hz_to_mel(1000.0) == pytest.approx(15.0)
    assert hz_to_mel(440.0) == pytest.approx(6.6)
    assert hz_to_mel(6400.0) == pytest.approx(42.0)
    assert mel_to_hz(hz_to_mel([50.0, 5000.0])) == pytest.approx([50.0, 5000.0])
    audio_utils = pytest.importorskip("transformers.audio_utils")
    reference = audio_utils.mel_filter_bank(513, 80, 0.0, 8000.0, 22050, norm="slaney", mel_scale="slaney").T
    assert mel_filters(22050, 1024, 80, 0.0, 8000.0) == pytest.approx(reference, abs=1e-7)


def test_percussion_is_the_same_everywhere_and_differs_by_kind():
    sounds = np.stack([hit(kind, number) for kind in KINDS for number in range(3)])
    assert sounds.shape == (18, 8192)
    assert np.array_equal(sounds[0], hit("bell", 0))
    assert not np.array_equal(sounds[0], sounds[1])
    assert (np.abs(sounds).max(1) == round(0.95 * 32767)).all()
    centroid = (log_mel(sounds / 32768, 16_000).clip(-5).mean(2) + 5).reshape(6, 3, 64).mean(1)
    middle = dict(zip(KINDS, (centroid * np.arange(64)).sum(1) / centroid.sum(1), strict=True))
    assert max(middle["kick"], middle["tom"]) < middle["bell"] < middle["snare"] < middle["hat"]


def test_fields():
    assert Audio(AudioConfig()).fields == {
        "sound": SoundField(
            (1, 16_384), "int16", -32_768, 32_767, "amplitude, 16 bits", longer=True, longer_axis=1, rate=16_000
        )
    }
    assert Audio(AudioConfig(channels=2, rate=44_100, seconds=1.0)).fields["sound"].shape == (2, 44_100)


@pytest.mark.shared
def test_real_one_shots():
    path = shared_data("audio", "sonicpi_oneshots.zip")
    if path is None:
        pytest.skip("no ../shared/data beside the checkout")
    report = check_source(path, Audio, AudioConfig(rate=RATE, seconds=0.5, long="beginning"))
    assert report.samples == len(report.used) == 113
    assert not report.skipped
    assert report.inventory["files at 44,100 Hz"] == (111, 111)
    assert 80_000 < report.inventory["milliseconds"][1] < 95_000
