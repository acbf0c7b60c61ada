"""Extractors whose weights lie in wheels: files of random weights in the formats of TensorFlow and ONNX."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.errors import BadData, UsageError
from gan.weights import file_sha256
from gan_audio.extractors import basic_pitch, musicnn
from gan_audio.extractors.basic_pitch import BasicPitch, BasicPitchExtractor
from gan_audio.extractors.files import onnx_constants, tensorflow_variables
from gan_audio.extractors.musicnn import MusicNN, MusicNNExtractor
from gan_audio.modality import Audio, AudioConfig

RATE = 8000


def varint(number):
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


def field(number, value):
    """A field of a protocol buffer: an integer, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries):
    """A block of a table, in which keys share their beginnings."""
    found, before = b"", b""
    for key, value in entries:
        shared = next(
            (i for i, (a, b) in enumerate(zip(key, before, strict=False)) if a != b), min(len(key), len(before))
        )
        found += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return found + bytes(4) + (1).to_bytes(4, "little")  # one restart, at 0


def save_tensorflow(folder, arrays):
    data, entries = b"", [(b"", b"")]
    for name, values in sorted(arrays.items()):
        shape = b"".join(field(2, field(1, side)) for side in values.shape)
        raw = values.astype("<f4").tobytes()
        entries.append((name.encode(), field(1, 1) + field(2, shape) + field(4, len(data)) + field(5, len(raw))))
        data += raw
    first = block(entries)
    table = first + bytes(5)
    top = block([(b"z", varint(0) + varint(len(first)))])
    footer = varint(0) + varint(0) + varint(len(table)) + varint(len(top))
    table += top + bytes(5) + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")
    (folder / musicnn.FILE).write_bytes(data)
    (folder / musicnn.INDEX).write_bytes(table)


def save_onnx(path, arrays):
    graph = b""
    for name, values in arrays.items():
        dims = b"".join(field(1, side) for side in values.shape)
        graph += field(5, dims + field(2, 1) + field(8, name.encode()) + field(9, values.astype("<f4").tobytes()))
    path.write_bytes(field(1, 7) + field(7, field(2, b"graph") + graph))


def tensorflow_arrays(rng):
    """Random variables with the names and shapes of the published file."""
    kernels = [(7, 38, 1, 204), (7, 67, 1, 204), (128, 1, 1, 51), (64, 1, 1, 51), (32, 1, 1, 51)]
    kernels += [(7, 561, 1, 64), (7, 64, 1, 64), (7, 64, 1, 64)]
    found = {}
    for kind, shapes in (("conv2d", kernels), ("dense", [(1506, 200), (200, 50)])):
        for number, shape in enumerate(shapes):
            name = f"{kind}_{number}" if number else kind
            found[f"{name}/kernel"] = rng.standard_normal(shape) / np.prod(shape[:-1]) ** 0.5
            found[f"{name}/bias"] = rng.standard_normal(shape[-1])
    for number, width in enumerate((1, 204, 204, 51, 51, 51, 64, 64, 64, 1506, 200)):
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            found[f"{name}/{part}"] = rng.uniform(0.5, 2, width)
    return {name: values.astype(np.float32) for name, values in found.items()}


def onnx_arrays(rng):
    """Random constants with the names and shapes of the published file, as far as they are used."""
    norm = "model_1/batch_normalization/FusedBatchNormV3;model_1/batch_normalization/FusedBatchNormV3"
    shapes = {
        "const_fold_opt__655": (36, 1, 1, 256), "const_fold_opt__664": (36, 1, 1, 256),
        "const_fold_opt__734": (1, 1, 1, 256), "model_1/cq_t2010v2_1/Sqrt": (309, 1, 1), norm: (1,), norm + "1": (1,),
        "const_fold_opt__727": (8, 8, 3, 39), "model_1/conv2d_1/Conv2D": (8,),
        "const_fold_opt__710": (1, 8, 5, 5), "model_1/contours-reduced/BiasAdd/ReadVariableOp": (1,),
        "const_fold_opt__738": (32, 1, 7, 7), "model_1/conv2d_2/BiasAdd/ReadVariableOp": (32,),
        "const_fold_opt__702": (1, 32, 7, 3), "model_1/conv2d_3/BiasAdd/ReadVariableOp": (1,),
        "const_fold_opt__707": (32, 8, 5, 5), "model_1/conv2d_2/Conv2D;model_1/conv2d_4/Conv2D": (32,),
        "const_fold_opt__680": (1, 33, 3, 3), "model_1/conv2d_5/BiasAdd/ReadVariableOp": (1,),
    }  # fmt: skip
    return {name: (0.1 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


def sounds(seconds=(0.5,)):
    rng = np.random.default_rng(1)
    waves = rng.integers(-9000, 9000, (len(seconds), 1, round(RATE * max(seconds))))
    return {"sound": waves.astype(np.int16)}, Audio(AudioConfig(rate=RATE, seconds=max(seconds)))


def test_published_sizes():
    with torch.device("meta"):
        music, pitch = MusicNN(), BasicPitch()
    assert sum(p.numel() for p in music.parameters()) == 787_159
    assert sum(p.numel() for p in pitch.parameters()) == 16_700


def test_musicnn_reads_the_files_of_its_wheel(tmp_path, monkeypatch):
    arrays = tensorflow_arrays(np.random.default_rng(0))
    save_tensorflow(tmp_path, arrays)
    found = tensorflow_variables(tmp_path / musicnn.INDEX, (tmp_path / musicnn.FILE).read_bytes())
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
    with pytest.raises(BadData, match="sha256"):
        MusicNNExtractor(tmp_path)
    files = (musicnn.FILE, musicnn.INDEX)
    monkeypatch.setattr(musicnn, "SHA256", {name: file_sha256(tmp_path / name) for name in files})
    extractor = MusicNNExtractor(tmp_path)
    network = extractor.network
    assert np.array_equal(network.front[2].weight[7, 0, :, 0], arrays["conv2d_2/kernel"][:, 0, 0, 7])
    assert np.array_equal(network.middle[0].weight[3, 500], arrays["conv2d_5/kernel"][:, 500, 0, 3])
    assert np.array_equal(network.tags.weight[9], arrays["dense_1/kernel"][:, 9])
    assert np.array_equal(network.pooled_norm.running_var, arrays["batch_normalization_9/moving_variance"])
    samples, modality = sounds((0.5, 0.5))
    vectors = extractor(samples, modality).vectors
    assert vectors.shape == (2, 200)
    assert np.isfinite(vectors).all()
    alone = extractor({"sound": samples["sound"][1:]}, modality).vectors
    assert np.allclose(alone, vectors[1:], atol=1e-4)
    assert not np.allclose(vectors[0], vectors[1], atol=1e-3)


def test_musicnn_repeats_short_sounds_and_averages_over_long_ones():
    wave = np.random.default_rng(0).standard_normal(9 * 16_000).astype(np.float32)
    assert musicnn.windows(wave).shape == (3, 187, 96)
    short = musicnn.windows(wave[:256])  # two frames
    assert short.shape == (1, 187, 96)
    assert np.array_equal(short[0, :2], short[0, 2:4])


def test_both_ways_of_an_even_kernel_are_tensorflows(tmp_path):
    """'Same' padding of a kernel of 32 has 15 frames before and 16 behind."""
    network = MusicNN().eval()
    with torch.no_grad():
        for layer in network.front:
            layer.weight.zero_()
            layer.bias.zero_()
        network.front[4].weight[0, 0, 0] = 1.0  # sees 15 frames ago
        mel = torch.zeros(1, 40, 96)
        mel[0, 3] = 1.0
        seen = []
        network.middle[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
        network(mel)
    channel = seen[0][0, 2 * 204 + 2 * 51]
    assert channel.argmax() == 18


def test_basic_pitch_reads_the_file_of_its_wheel(tmp_path, monkeypatch):
    arrays = onnx_arrays(np.random.default_rng(0))
    save_onnx(tmp_path / "nmp.onnx", arrays)
    found = onnx_constants(tmp_path / "nmp.onnx")
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
    with pytest.raises(UsageError, match=r"nmp\.onnx"):
        BasicPitchExtractor(tmp_path / "elsewhere")
    monkeypatch.setattr(basic_pitch, "SHA256", file_sha256(tmp_path / "nmp.onnx"))
    extractor = BasicPitchExtractor(tmp_path)
    assert np.array_equal(extractor.network.onsets.bias, arrays["model_1/conv2d_2/Conv2D;model_1/conv2d_4/Conv2D"])
    samples, modality = sounds()
    vectors = extractor(samples, modality).vectors
    assert vectors.shape == (1, 176)
    assert ((vectors >= 0) & (vectors <= 1)).all()
    note, onset = extractor.notes(np.zeros(60_000, np.float32))
    assert note.shape == onset.shape == (-(-60_000 // 256), 88)
    assert np.isfinite(note).all()  # of silence, whose levels are all the same
    del arrays["const_fold_opt__738"]
    save_onnx(tmp_path / "nmp.onnx", arrays)
    monkeypatch.setattr(basic_pitch, "SHA256", file_sha256(tmp_path / "nmp.onnx"))
    with pytest.raises(BadData, match="const_fold_opt__738"):
        BasicPitchExtractor(tmp_path)


def test_the_windows_of_a_long_recording_are_those_of_the_network(monkeypatch):
    """Frame i of the result is frame i of the recording, whichever window it comes from."""
    extractor = BasicPitchExtractor.__new__(BasicPitchExtractor)
    extractor.device = torch.device("cpu")

    def network(waves):
        frames = waves.unfold(1, 256, 256)[:, :, :1].expand(-1, -1, 88)  # the first sample of each frame
        frames = torch.cat([frames, frames[:, -1:]], 1)  # the last frame of a window is centred on its end
        return frames, frames

    extractor.network = network
    wave = np.repeat(np.arange(500, dtype=np.float32), 256)
    note, _ = extractor.notes(wave)
    assert np.array_equal(note[:, 0], np.arange(500))


@pytest.mark.parametrize("damage", ["short", "text", "cut", "compressed"])
def test_damaged_files_are_refused(tmp_path, damage):
    save_tensorflow(tmp_path, {"a": np.ones((2, 3), np.float32), "ab": np.zeros(4, np.float32)})
    index = tmp_path / musicnn.INDEX
    table = index.read_bytes()
    data = (tmp_path / musicnn.FILE).read_bytes()
    if damage == "short":
        index.write_bytes(table[:20])
    elif damage == "text":
        index.write_bytes(b"no table at all" * 10)
    elif damage == "cut":
        data = data[:-4]
    else:
        index.write_bytes(table[:-53] + b"\1" + table[-52:])
    with pytest.raises(BadData):
        tensorflow_variables(index, data)
    model = tmp_path / "nmp.onnx"
    model.write_bytes(b"\xff" * 40)
    with pytest.raises(BadData, match="ONNX"):
        onnx_constants(model)
