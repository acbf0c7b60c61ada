"""Files to tokens and back, and everything that a file should not be."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from gan.errors import BadData, GanError, UsageError
from gan.recipe import validated
from gan.reporting.page import write_page
from gan.source import list_source
from gan.testing.bounded import bounded
from gan_text.data.vocabulary import Characters, Numbers, Subwords, Words, pieces, restore
from gan_text.modality import Text
from hypothesis import given, settings
from hypothesis import strategies as st


def opened(folder, **config):
    """The modality after its survey, its files' samples, and the reasons of those that gave none."""
    settings_ = Text.Config(**config)
    files = list_source(folder, Text.suffixes).files
    facts = json.loads(json.dumps(Text(settings_).survey(files)))  # a run keeps them as JSON
    modality = Text(settings_, facts)
    samples, reasons = [], {}
    for file in files:
        try:
            samples += list(modality.read(file))
        except BadData as error:
            reasons[file.name] = error.reason
    return modality, samples, reasons


def texts(modality, samples):
    return [modality.text(sample) for sample in samples]


def test_lines_are_samples(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffone two\r\n\r\n  two three \rthree\n".encode())
    modality, samples, _ = opened(tmp_path, tokens="words", length=4)
    assert texts(modality, samples) == ["one two", "two three", "three"]
    assert [int(s["length"]) for s in samples] == [2, 2, 1]
    for sample in samples:
        for name, field in modality.fields.items():
            assert sample[name].shape == field.shape
            assert sample[name].dtype == field.dtype
            assert field.low <= sample[name].min() <= sample[name].max() <= field.high


def test_records_are_samples(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "eins\\nzwei", "n": 1}\n\n{"text": "drei"}\n', encoding="utf-8")
    modality, samples, _ = opened(tmp_path, tokens="characters", length=16)
    assert texts(modality, samples) == ["eins\nzwei", "drei"]
    modality, samples, _ = opened(tmp_path, tokens="characters", length=13, items="running")
    assert texts(modality, samples) == ["eins\nzwei\ndrei"[:13], "eins\nzwei\ndrei"[-13:]]


def test_running_text_is_used_whole(tmp_path):
    """Windows of T tokens; the last one overlaps its neighbour, so that every token stands in one."""
    (tmp_path / "a.txt").write_text("abcdefghij")
    modality, samples, _ = opened(tmp_path, tokens="characters", items="running", length=4)
    assert texts(modality, samples) == ["abcd", "efgh", "ghij"]
    assert modality.fields["length"].low == 4


def test_long_lines_are_cut_and_short_files_named(tmp_path):
    (tmp_path / "a.txt").write_text("a b c d e f\n")
    _, samples, _ = opened(tmp_path, tokens="words", length=3)
    assert int(samples[0]["length"]) == 3
    _, samples, reasons = opened(tmp_path, tokens="words", items="running", length=9)
    assert not samples
    assert "6 tokens, fewer than the 9" in reasons["a.txt"]


@pytest.mark.rule("I7")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds no text"),
        (b"\n" * 300_000, "holds no text"),
        (b" \t\r\n\x0b\n", "holds no text"),
        (b"fine\nabc\xff\n", "byte 0xff at 8"),
        (b"\xc0\xaf", "is not UTF-8"),  # overlong
        (b"\xed\xa0\x80", "is not UTF-8"),  # a surrogate
        (b"\xed\xa0\xbd\xed\xb8\x80", "is not UTF-8"),  # a character as two surrogates
        (b"\xf4\x90\x80\x80", "is not UTF-8"),  # past the last character
        (b"\xe2\x82", "is not UTF-8"),  # cut in a character
        ("wide".encode("utf-16"), "is not UTF-8"),
        (b"a\0b", "zero byte at 1"),
    ],
)
def test_files_that_are_no_text_are_named(tmp_path, content, reason):
    (tmp_path / "bad.txt").write_bytes(content)
    (tmp_path / "good.txt").write_text("good text\n")
    for tokens in ("words", "characters", "bpe"):
        modality, samples, reasons = opened(tmp_path, tokens=tokens, length=12)
        assert texts(modality, samples) == ["good text"]
        assert reason in reasons["bad.txt"]


@pytest.mark.rule("I7")
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "line 2 is not JSON"),
        ('{"other": 1}', "no text in a field 'text'"),
        ('{"text": 5}', "no text in a field 'text'"),
        ("[1]", "no text in a field 'text'"),
        ('{"text": "\\ud800"}', "half a surrogate pair"),
        ("[" * 100_000, "line 2"),
    ],
)
def test_records_that_are_none_are_named_by_line(tmp_path, line, reason):
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n' + line + "\n")
    (tmp_path / "b.txt").write_text("x y\n")
    _, _, reasons = opened(tmp_path, tokens="characters", length=8)
    assert reason in reasons["a.jsonl"]


@pytest.mark.rule("I7")
@pytest.mark.parametrize(
    "text",
    [
        "x",
        "abc \u202edef\u202c \u2067ghi\u2069",  # right to left, and isolated
        "\u0645\u0631\u062d\u0628\u0627 hello",
        "e\u0301\u0301\u0301" * 40,  # marks over marks
        "\U0001f469\u200d\U0001f680 \ufdd0 \U0010ffff",  # joined, no characters, the last of all
        "a\u2028b\u0085c\x0bd\x1ce",  # what Python takes for line ends
    ],
)
def test_odd_text_is_read_whole_and_drawn(tmp_path, text):
    """One sample that spells what the file holds, in every kind of token that spells; and its page can be drawn."""
    (tmp_path / "odd.txt").write_text(text + "\n", encoding="utf-8")
    for tokens in ("characters", "bpe", "words"):
        modality, samples, reasons = opened(tmp_path, tokens=tokens, length=512, split="blanks")
        assert reasons == {}
        (sample,) = samples
        if tokens != "words":
            assert modality.text(sample) == text
        assert modality.preview({name: value[None] for name, value in sample.items()}).size[0] > 0


@pytest.mark.rule("I7", "I8")
def test_blank_lines_among_text_cost_no_samples(tmp_path):
    (tmp_path / "a.txt").write_text("\n" * 300_000 + "one\n" + " \n" * 300_000 + "two\n")
    modality, samples, _ = opened(tmp_path, tokens="characters", length=8)
    assert texts(modality, samples) == ["one", "two"]


def test_numbers_are_read_and_held_to_the_vocabulary(tmp_path):
    (tmp_path / "a.txt").write_text("0 7 9\n1 2 3\n")
    modality, samples, reasons = opened(tmp_path, tokens="numbers", vocabulary=10, length=3)
    assert texts(modality, samples) == ["0 7 9", "1 2 3"]
    for line, reason in (
        ("1 2 10", "number 10"),
        ("1 2", "2 numbers"),
        ("1 2 x", "not hold numbers"),
        ("1 -2 3", "number"),
    ):
        (tmp_path / "a.txt").write_text(f"0 7 9\n{line}\n")
        _, samples, reasons = opened(tmp_path, tokens="numbers", vocabulary=10, length=3)
        assert not samples
        assert reasons["a.txt"].startswith("line 2")
        assert reason in reasons["a.txt"]


BOUNDED = """
import sys
from pathlib import Path
from gan.source import list_source
from gan.testing.bounded import bounded
from gan_text.modality import Text
tokens, items = sys.argv[2:]
config = Text.Config(tokens=tokens, items=items, length=65_536)
files = list_source(Path(sys.argv[1]), Text.suffixes).files
modality = Text(config, Text(config).survey(files))
print(sum(1 for _ in modality.read(files[0])))
"""


@pytest.mark.slow
@pytest.mark.rule("D6", "I7")
@pytest.mark.parametrize(
    ("tokens", "items", "count"),
    [("characters", "lines", 1), ("words", "lines", 1), ("bpe", "lines", 1), ("characters", "running", 504)],
)
def test_a_line_of_33_megabytes_stays_below_a_gigabyte(tmp_path, tokens, items, count):
    (tmp_path / "a.txt").write_text("word " * 6_600_000)
    assert int(bounded(BOUNDED, tmp_path, tokens, items, megabytes=1000, seconds=120)) == count


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
def test_bytes_and_characters_spell_every_text(text):
    """Byte-level BPE trained on something else gives back any text; characters give back what they know."""
    bpe = BPE
    assert bpe.decode(bpe.encode(text).tolist()) == text
    characters = Characters.train([text], 1 << 21)
    assert characters.decode(characters.encode(text).tolist()) == text


BPE = restore(Subwords.train(["the cat sat on the mat", "the bat and the cat"] * 9, 300).facts())


def test_bpe_is_trained_alike_every_time():
    text = [" ".join(f"w{i * i % 97}x{i % 7}" for i in range(3000))]
    first = Subwords.train(text, 600).facts()
    assert all(Subwords.train(text, 600).facts() == first for _ in range(3))


def test_number_zero_is_no_word():
    for vocabulary in (BPE, Characters.train(["abc\0"[:3]], 10), Words.train(["a b"], 10, "blanks")):
        numbers = vocabulary.encode("a b")
        assert 0 not in numbers
        assert numbers.max() < vocabulary.size


def test_rare_words_become_unknown_and_ties_are_fixed():
    words = Words.train(["b a a c", "d"], 4, "blanks")
    assert words.facts()["words"] == ["a", "b"]
    assert words.decode(words.encode("a b c").tolist()) == "a b <unk>"
    assert restore(words.facts()).encode("b a").tolist() == words.encode("b a").tolist()


def test_marks_stand_apart_and_are_joined_again():
    words = Words.train(["Hello, world (again)!"], 20, "marks")
    assert words.decode(words.encode("Hello, world (again)!").tolist()) == "Hello, world (again)!"


def test_pieces_are_the_text_again():
    text = "ab " * 60_000 + "x" * 200_000
    cut = list(pieces(text))
    assert "".join(cut) == text
    assert max(map(len, cut)) <= 1 << 16


def test_numbers_have_no_spelling():
    assert not Numbers(5).spells


def test_texts_are_written_and_read_again(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("naïve café\n中文 字\n", encoding="utf-8")
    modality, samples, _ = opened(tmp_path / "in", tokens="bpe", length=32)
    for number, sample in enumerate(samples):
        (tmp_path / "out").mkdir(exist_ok=True)
        plain = modality.write(sample, tmp_path / "out" / f"s{number}")
        record = modality.write(sample, tmp_path / "out" / f"s{number}", Text.Options(format="jsonl"))
        text = modality.text(sample)
        assert plain.read_text(encoding="utf-8") == text + "\n"
        assert json.loads(record.read_text(encoding="utf-8")) == {"text": text}
        assert modality.write(sample, tmp_path / "out" / "again").read_bytes() == plain.read_bytes()


def test_a_page_shows_the_texts(tmp_path):
    (tmp_path / "a.txt").write_text("first line\nsecond line " + "long " * 200 + "\n\u202eright to left\n")
    modality, samples, _ = opened(tmp_path, tokens="words", length=64)
    stacked = {name: np.stack([s[name] for s in samples]) for name in samples[0]}
    picture = modality.preview(stacked)
    assert picture.width == 960
    assert len(picture.getcolors(1 << 20)) > 10
    one = modality.preview({name: values[:1] for name, values in stacked.items()})
    assert one.height < picture.height


def test_the_vocabulary_is_known_after_a_survey():
    with pytest.raises(LookupError):
        _ = Text(Text.Config()).fields
    assert Text(Text.Config(tokens="numbers", vocabulary=9, length=3)).fields["tokens"].high == 8


@pytest.mark.parametrize(
    "config", [{"tokens": "pretrained"}, {"pretrained": "gpt2"}, {"tokens": "bpe", "vocabulary": 100}, {"lenght": 3}]
)
def test_settings_that_do_not_fit_are_refused(config):
    with pytest.raises(UsageError):
        validated(Text.Config, config, "modality")


def test_a_missing_pretrained_tokenizer_is_said(tmp_path):
    with pytest.raises(GanError, match="no tokenizer"):
        Subwords.pretrained(str(tmp_path))


@pytest.mark.shared
def test_chinese_quatrains(shared_text):
    modality, samples, reasons = opened(
        shared_text / "tang_quatrains_5char.txt", tokens="characters", length=32, vocabulary=8000
    )
    assert len(samples) == 3272
    assert not reasons
    first = (shared_text / "tang_quatrains_5char.txt").read_text(encoding="utf-8").split("\n")[0].strip()
    assert modality.text(samples[0]) == first


def test_listing_and_reading_import_no_torch():
    code = (
        "import sys, gan_text\n"
        "hooks = [name for name in dir(gan_text) if name.startswith('gan_')]\n"
        "assert len(hooks) >= 6 and all(list(getattr(gan_text, name)()) for name in hooks)\n"
        "assert not {'torch', 'transformers', 'numpy', 'tokenizers'} & set(sys.modules)\n"
        "import gan_text.modality, gan_text.metrics.ngrams\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


CHINESE = "床前明月光\n疑是地上霜"


def test_a_picture_takes_a_font_that_has_the_characters(monkeypatch):
    """With a font that has a character the line is drawn in it; without one the picture says so and grows a line."""
    from gan_text import preview as module
    from matplotlib import font_manager

    mono = module._own_font()
    sans = mono.replace("DejaVuSansMono", "DejaVuSans")
    (character, *_) = sorted(c for c in module._drawn_by(sans) - module._drawn_by(mono) if c.isprintable())
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [sans])
    module._font_for.cache_clear()
    assert module._font_for(frozenset(character)) == sans
    shown = module.page([f"a {character}"])
    assert module._font_for(frozenset(CHINESE)) is None
    plain, chinese = module.page(["a b\nc"]), module.page([CHINESE])
    module._font_for.cache_clear()
    assert shown.height < plain.height < chinese.height
    ink = np.asarray(shown.convert("L"))[:, module.MARGIN + 36 + 2 * module.SIZE // 2 :]
    assert (ink < 128).sum() > 10


def test_a_page_shows_every_script(tmp_path):
    """In HTML, where the browser finds fonts; what would be markup is text."""
    written = tmp_path / "sample-0000.txt"
    written.write_text(CHINESE + " <b>", encoding="utf-8")
    content = write_page(tmp_path, Text(Text.Config()), [written]).read_text(encoding="utf-8")
    assert f"<pre>{CHINESE} &lt;b&gt;</pre>" in content
