"""The text modality: reads files of lines or running text as tokens, writes samples and draws previews."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from gan.contracts import FieldSpec, Modality
from gan.errors import BadData
from gan.source import SourceFile
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gan_text.data.fields import token_fields
from gan_text.data.vocabulary import Characters, Numbers, Subwords, Vocabulary, Words, restore

if TYPE_CHECKING:
    from gan.contracts import Sample, Samples


MAX_VOCABULARY = 1 << 24


class Text(Modality):
    """UTF-8 text. `facts` holds the vocabulary that `survey` learned from all files of the source."""

    class Config(BaseModel):
        """Settings of how text is converted to tokens."""

        model_config = ConfigDict(extra="forbid")

        tokens: Literal["characters", "words", "bpe", "numbers", "pretrained"] = Field(
            "bpe",
            description="What a token is: a character, a word, a part of a word, a number in the file, "
            "or a token of a pretrained model.",
        )
        items: Literal["lines", "running"] = Field(
            "lines",
            description="What a sample is: a line (in .jsonl: a record), or `length` tokens of running text.",
        )
        length: int = Field(64, gt=0, le=65_536, description="Maximum tokens of a sample; longer lines are truncated.")
        vocabulary: int = Field(5_000, ge=3, le=MAX_VOCABULARY, description="Maximum number of different tokens.")
        split: Literal["marks", "blanks"] = Field(
            "marks", description="Whether punctuation marks are separate words, or only blanks separate words."
        )
        lower: bool = Field(False, description="Whether text is converted to lower case.")
        field: str = Field("text", description="The field of a .jsonl record with the text.")
        pretrained: str = Field("", description="Name or folder of the pretrained model whose tokenizer is used.")

        @model_validator(mode="after")
        def _fits(self) -> Text.Config:
            if (self.tokens == "pretrained") != bool(self.pretrained):
                raise ValueError("tokens 'pretrained' and the setting 'pretrained' require each other")
            if self.tokens == "bpe" and self.vocabulary < 257:
                raise ValueError("a byte-level vocabulary has at least 257 tokens")
            return self

    class Options(BaseModel):
        """Options of how samples are written."""

        model_config = ConfigDict(extra="forbid")

        format: Literal["txt", "jsonl"] = Field(
            "txt", description="Write each sample as a .txt file or as a .jsonl record."
        )

    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".jsonl")
    metrics: ClassVar[tuple[str, ...]] = ("bleu", "self-bleu", "distinct")
    headline: ClassVar[tuple[str, ...]] = ("nll-oracle", "nll-test", "bleu-3", "self-bleu-3", "distinct-2")
    trade_offs: ClassVar[tuple[tuple[str, str], ...]] = (
        *Modality.trade_offs,
        ("bleu-3", "self-bleu-3"),
        ("nll-oracle", "self-bleu-2"),
        ("nll-oracle", "distinct-2"),
    )

    @classmethod
    def comparison_config(cls, config: Any) -> Any:
        """Words, unless the user chose other tokens, and all of them: BLEU counts n-grams of words, and those outside
        of a vocabulary would all be the same word."""
        set_by_user = config.model_fields_set
        chosen: dict[str, Any] = {} if set_by_user & {"tokens", "pretrained"} else {"tokens": "words"}
        if "vocabulary" not in set_by_user and (chosen or config.tokens in ("words", "characters")):
            chosen["vocabulary"] = MAX_VOCABULARY
        return config.model_copy(update=chosen)

    def survey(self, files: Sequence[SourceFile]) -> dict[str, Any]:
        """Learn the vocabulary from all files; unreadable files are skipped here and reported by `read`."""
        config = self.config
        if config.tokens == "numbers":
            return {"vocabulary": Numbers(config.vocabulary).facts()} | _oracle_beside(files)
        if config.tokens == "pretrained":
            return {"vocabulary": Subwords.pretrained(config.pretrained).facts()}
        texts = self._all_texts(files)
        trained: Vocabulary
        if config.tokens == "characters":
            trained = Characters.train(texts, config.vocabulary)
        elif config.tokens == "words":
            trained = Words.train(texts, config.vocabulary, config.split)
        else:
            trained = Subwords.train(texts, config.vocabulary)
        return {"vocabulary": trained.facts()}

    def _all_texts(self, files: Sequence[SourceFile]) -> Iterator[str]:
        for file in files:
            try:
                yield from self._texts(file)
            except BadData:
                continue

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The learned vocabulary. Raises `LookupError` before a survey."""
        if "vocabulary" not in self.facts:
            if self.config.tokens == "numbers":
                return Numbers(self.config.vocabulary)
            raise LookupError("the vocabulary is known after a survey of the data")
        return restore(self.facts["vocabulary"])

    @property
    def fields(self) -> dict[str, FieldSpec]:
        """``tokens`` and ``length``. Raises `LookupError` before a survey."""
        config, vocabulary = self.config, self.vocabulary
        full = config.items == "running" or config.tokens == "numbers"
        encode = self._prompt if vocabulary.spells else None
        return token_fields(config.length, vocabulary.size, config.length if full else 0, encode)

    def _prompt(self, text: str) -> list[int]:
        numbers: list[int] = self.vocabulary.encode(text.lower() if self.config.lower else text).tolist()
        return numbers

    def read(self, file: SourceFile) -> Iterator[Sample]:
        """Yield lines of at most `length` tokens, or windows of exactly `length` tokens."""
        length = self.config.length
        dtype = self.fields["tokens"].dtype
        for number, text in enumerate(self._texts(file), 1):
            if self.config.items == "running":
                tokens = self.vocabulary.encode(text)
                if len(tokens) < length:
                    raise BadData(f"holds {len(tokens)} tokens, fewer than the {length} of a sample", file.name)
                starts = [*range(0, len(tokens) - length, length), len(tokens) - length]
                for start in starts:  # the last window overlaps the one before it, so that all text is used
                    yield _sample(tokens[start : start + length], length, dtype)
                continue
            tokens = self._line(text, number, file)
            if len(tokens):
                yield _sample(tokens[:length], length, dtype)

    def _line(self, text: str, number: int, file: SourceFile) -> np.ndarray[Any, Any]:
        length = self.config.length
        if self.config.tokens != "numbers":
            return self.vocabulary.encode(text[: 256 * length])  # more characters than that never fit
        try:
            tokens = self.vocabulary.encode(text)
        except BadData as error:
            raise BadData(f"line {number} {error.reason}", file.name) from None
        if len(tokens) != length:
            raise BadData(f"line {number} has {len(tokens)} numbers, a sample {length}", file.name)
        return tokens

    def _texts(self, file: SourceFile) -> Iterator[str]:
        """Yield the texts of a file: lines, records, or the whole content. Raises `BadData`."""
        content = decoded(file)
        if self.config.lower:
            content = content.lower()
        records = _records(content, self.config.field, file) if file.suffix == ".jsonl" else None
        if self.config.items == "running":
            found = iter([content if records is None else "\n".join(records)])
        else:
            found = iter(content.split("\n")) if records is None else records
        empty = True
        for text in found:
            if text and not text.isspace():
                empty = False
                yield text if self.config.items == "running" else text.strip()
        if empty:
            raise BadData("holds no text", file.name)

    def text(self, sample: Mapping[str, Any]) -> str:
        """The text of one sample."""
        return self.vocabulary.decode(np.asarray(sample["tokens"])[: int(sample["length"])].tolist())

    def texts(self, samples: Samples) -> list[str]:
        """The texts of many samples."""
        return [self.text({name: values[i] for name, values in samples.items()}) for i in range(len(samples["tokens"]))]

    def write(self, sample: Sample, stem: Path, options: BaseModel | None = None) -> Path:
        """Write a .txt file with the text and a newline, or a .jsonl file with one record."""
        kind = getattr(options, "format", "txt")
        text = self.text(sample)
        path = stem.with_name(f"{stem.name}.{kind}")
        content = text + "\n" if kind == "txt" else json.dumps({self.config.field: text}, ensure_ascii=False) + "\n"
        path.write_text(content, encoding="utf-8", newline="\n")
        return path

    def spoken(self, sample: Sample) -> str:
        """The text."""
        return self.text(sample)

    def is_empty(self, sample: Sample) -> bool:
        """Whether the text has no word, or one word or one character again and again."""
        words = self.text(sample).split()
        return not words or any(len(parts) > 3 and len(set(parts)) == 1 for parts in (words, "".join(words)))

    def preview(self, samples: Samples) -> Image.Image:
        """An image with the beginning of each text."""
        from gan_text.preview import page

        return page(self.texts(samples))


def _oracle_beside(files: Sequence[SourceFile]) -> dict[str, Any]:
    """The path and sha256 of the oracle that generated the data, for the metric ``nll-oracle``."""
    for file in files:
        if file.member is None and (path := file.path.with_name("oracle.npz")).is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            return {"oracle": {"path": str(path.resolve()), "sha256": digest}}
    return {}


def decoded(file: SourceFile) -> str:
    """Decode a file as text with ``\\n`` line ends. Raises `BadData` if it is not UTF-8 text."""
    data = file.data()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData(f"is not UTF-8: byte 0x{data[error.start]:02x} at {error.start:,}", file.name) from None
    if "\0" in text:
        raise BadData(f"is not text: it has a zero byte at {data.find(0):,}", file.name)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _records(content: str, field: str, file: SourceFile) -> Iterator[str]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            text = record[field]
            text.encode("utf-8")
        except RecursionError:
            raise BadData(f"line {number} is nested too deeply", file.name) from None
        except UnicodeEncodeError:
            raise BadData(f"line {number}: '{field}' holds half a surrogate pair", file.name) from None
        except ValueError as error:
            raise BadData(f"line {number} is not JSON: {error}", file.name) from None
        except (KeyError, TypeError, AttributeError):
            raise BadData(f"line {number} has no text in a field '{field}'", file.name) from None
        yield text


def _sample(tokens: np.ndarray[Any, Any], length: int, dtype: str) -> Sample:
    padded = np.zeros(length, dtype=dtype)
    padded[: len(tokens)] = tokens
    return {"tokens": padded, "length": np.asarray(len(tokens), dtype=np.int32)}
