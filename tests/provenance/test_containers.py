"""Records in thirteen formats: found again by us and by the usual reader of the format, content untouched."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from gan.provenance.containers import MAX_RECORD, embed, extract, format_of
from gan.provenance.record import canonical, in_words, parse_record
from gan.storage.regular import Broken
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

RECORD = canonical(
    {"digitalSourceType": "x", "generator": "gan-core 1", "seed": 7, "odd": "a\"<&>'é\U0001f3b5", "w": "0" * 300}
)


def picture(kind, **options):
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)) for _ in range(3)]
    buffer = io.BytesIO()
    if options.pop("frames", 1) > 1:
        options |= {"save_all": True, "append_images": frames[1:], "duration": 100}
    frames[0].convert(options.pop("mode", "RGB")).save(buffer, kind, **options)
    return buffer.getvalue()


def sound(kind, subtype):
    import soundfile

    buffer = io.BytesIO()
    samples = np.random.default_rng(0).standard_normal((16_000, 2)) / 10
    with soundfile.SoundFile(buffer, "w", 48_000, 2, subtype, format=kind) as file:
        file.comment = "another comment"
        file.write(samples)
    return buffer.getvalue()


def notes():
    import mido

    track = mido.MidiTrack([mido.MetaMessage("track_name", name="t"), mido.Message("note_on", note=60, time=4)])
    buffer = io.BytesIO()
    mido.MidiFile(type=1, tracks=[track]).save(file=buffer)
    return buffer.getvalue()


def film(**options):
    import av

    path = Path(tempfile.mkdtemp(), "film.mp4")  # moov can only be moved to the front of a file
    with av.open(str(path), "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for level in range(6):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 40 * level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    content = path.read_bytes()
    shutil.rmtree(path.parent)
    return content


def mesh(kind):
    import trimesh

    content = trimesh.creation.box().export(file_type=kind)
    return content.encode() if isinstance(content, str) else content


FILES = {
    "png": (".png", lambda: picture("PNG")),
    "png, animated": (".png", lambda: picture("PNG", frames=3)),
    "jpeg": (".jpg", lambda: picture("JPEG")),
    "jpeg, grey": (".jpg", lambda: picture("JPEG", mode="L")),
    "gif": (".gif", lambda: picture("GIF")),
    "gif, animated": (".gif", lambda: picture("GIF", frames=3, loop=0)),
    "webp": (".webp", lambda: picture("WEBP")),
    "webp, lossless": (".webp", lambda: picture("WEBP", lossless=True)),
    "webp, alpha": (".webp", lambda: picture("WEBP", lossless=True, mode="RGBA")),
    "webp, animated": (".webp", lambda: picture("WEBP", frames=3)),
    "wav": (".wav", lambda: sound("WAV", "PCM_16")),
    "flac": (".flac", lambda: sound("FLAC", "PCM_16")),
    "ogg, Vorbis": (".ogg", lambda: sound("OGG", "VORBIS")),
    "ogg, Opus": (".ogg", lambda: sound("OGG", "OPUS")),
    "mp3": (".mp3", lambda: sound("MP3", "MPEG_LAYER_III")),
    "midi": (".mid", notes),
    "mp4": (".mp4", film),
    "mp4, moov first": (".mp4", lambda: film(movflags="faststart")),
    "glb": (".glb", lambda: mesh("glb")),
    "ply": (".ply", lambda: mesh("ply")),
    "obj": (".obj", lambda: mesh("obj")),
}


def content_of(suffix, data):
    """(the content of a file as its usual reader gives it, the record as that reader gives it)."""
    source = io.BytesIO(data)
    if suffix in (".png", ".jpg", ".gif", ".webp"):
        found = Image.open(source)
        frames = []
        for index in range(getattr(found, "n_frames", 1)):
            found.seek(index)
            frames.append(np.asarray(found.convert("RGBA")))
        found.seek(0)
        note = getattr(found, "text", {}).get("provenance") or found.info.get("comment")
        if suffix == ".webp":
            packet = found.info.get("xmp", b"")
            assert not packet or b'DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trained' in packet
            note = packet and RECORD  # Pillow gives the packet as it is
        return frames, note.decode() if isinstance(note, bytes) else note
    if suffix in (".wav", ".flac", ".ogg", ".mp3"):
        import soundfile

        with soundfile.SoundFile(source) as file:
            return [file.read()], file.comment
    if suffix == ".mid":
        import mido

        (track,) = mido.MidiFile(file=source).tracks
        texts = [message.text for message in track if message.type == "text"]
        return [str([m for m in track if m.type != "text"])], (texts or [None])[0]
    if suffix == ".mp4":
        import av

        with av.open(source) as container:
            return [frame.to_ndarray() for frame in container.decode(video=0)], container.metadata.get("comment")
    import trimesh

    found = trimesh.load(source, file_type=suffix[1:])
    scene = found if isinstance(found, trimesh.Scene) else trimesh.Scene(found)
    return [scene.to_mesh().volume, len(scene.to_mesh().faces)], RECORD  # trimesh does not give comments


@pytest.mark.parametrize("name", FILES)
def test_a_record_is_found_again_and_the_content_is_untouched(name):
    suffix, make = FILES[name]
    plain = make()
    assert format_of(plain, suffix) == name.partition(",")[0]
    assert extract(plain, suffix) is None
    labelled = embed(plain, suffix, RECORD, "gan-core 1")
    assert extract(labelled, suffix) == RECORD
    assert embed(plain, suffix, RECORD, "gan-core 1") == labelled
    before, _ = content_of(suffix, plain)
    after, theirs = content_of(suffix, labelled)
    assert len(before) == len(after)
    assert all(np.array_equal(one, other) for one, other in zip(before, after))
    assert theirs == RECORD


def test_a_format_without_a_place_is_left_alone():
    """A text has no container, and a suffix does not make one."""
    assert embed(b"words\n", ".txt", RECORD, "g") is None
    assert embed(b"words\n", ".png", RECORD, "g") is None
    assert extract(b"words\n", ".png") is None
    assert embed(picture("PNG"), ".png", "x" * (MAX_RECORD + 1), "g") is None
    assert embed(picture("PNG"), ".png", "two\nlines", "g") is None


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["png", "jpeg", "gif", "webp", "wav", "flac", "midi", "glb", "ply"]), st.data())
def test_damaged_files_never_raise(name, data):
    """Whatever bytes a file has been cut or changed to, there is a record or none: no exception, no hang."""
    suffix, make = FILES[name]
    content = bytearray(embed(make(), suffix, RECORD, "g"))
    content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(0, 8))):
        if content:
            content[data.draw(st.integers(0, min(200, len(content)) - 1))] = data.draw(st.integers(0, 255))
    found = extract(bytes(content), suffix)
    assert found is None or isinstance(found, str)
    embed(bytes(content), suffix, RECORD, "g")


def test_xmp_that_another_program_wrote_again_is_read():
    from gan.provenance.containers.raster import record_in_xmp, xmp_packet

    packet = xmp_packet(RECORD, "g")
    inner = packet.partition(b'gan:record="')[2].partition(b'"')[0]
    assert record_in_xmp(b"<rdf:Description><gan:record>" + inner + b"</gan:record></rdf:Description>") == RECORD


def test_a_record_from_anybody_is_checked_and_shown_on_one_line():
    assert parse_record(RECORD)["seed"] == 7
    for text in ("", "[]", "{}", '{"digitalSourceType": 1, "generator": "g"}', '{"a": NaN}', "[" * 100_000):
        with pytest.raises(Broken):
            parse_record(text)
    shown = in_words({"model": "\x1b[31mred\n" + "x" * 500, "seed": 3, "inputs": ["a", "b"]})
    assert "\x1b" not in shown
    assert "\n" not in shown
    assert len(shown) < 200
    assert "from 2 input files" in shown


def test_canonical_json_does_not_depend_on_the_order_of_keys():
    assert canonical({"b": 1, "a": "é"}) == canonical(json.loads('{"a": "\\u00e9", "b": 1}')) == '{"a":"\\u00e9","b":1}'
