"""Checks of modalities: reading, writing, previews, pages, and files that hold no data."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from gan.conformance.kit import Failed, Kit, Noted, Skipped
from gan.contracts import Detection, FieldSpec, Mark, Sample, Samples
from gan.data.rows import grouped, windows_of
from gan.data.windows import pieces
from gan.errors import BadData
from gan.provenance.labels import Labels
from gan.provenance.verification import Search, verify
from gan.reporting.page import write_page
from gan.source import Companion, SourceFile, list_source

FILES = 16
"""Files of the default dataset that are read, spread evenly over all of them."""
SAMPLES = 64


@dataclass
class Subject:
    """A modality with some samples of its default dataset."""

    name: str
    modality: Any
    modality_class: Any
    source: Path
    """A folder with some files of the default dataset."""
    samples: list[Sample] = field(default_factory=list)

    @property
    def fields(self) -> dict[str, FieldSpec]:
        """The modality's."""
        fields: dict[str, FieldSpec] = self.modality.fields
        return fields

    def stacked(self, count: int) -> Samples:
        """`count` samples with a leading axis; samples repeat where there are fewer."""
        return stacked(self.samples, self.fields, count)


def check_modalities(kit: Kit) -> None:
    """Check every modality that the plugin offers."""
    for plugin_entry in kit.offered("gan_modalities"):
        subject = read_subject(kit, plugin_entry)
        if subject is None:
            continue
        about = f"modality {plugin_entry.entry.name}"
        with kit.check("samples keep the fields", about):
            for sample in subject.samples:
                check_sample(sample, subject.fields)
        with kit.check("reading again gives the same", about):
            again = read_samples(subject.modality, list_source(subject.source, subject.modality_class.suffixes).files)
            if not _same(subject.samples, again):
                raise Failed("reading the same files twice gives other samples")
        with kit.check("writing and reading", about):
            _check_round_trip(kit, subject)
        with kit.check("labels", about):
            _check_labels(kit, subject)
        with kit.check("preview", about):
            _check_preview(subject)
        with kit.check("page", about):
            _check_page(kit, subject)
        with kit.check("files that are no data", about):
            _check_bad_files(kit, subject)


def read_subject(kit: Kit, plugin_entry: Any) -> Subject | None:
    """The modality of an entry with some samples of its default dataset; cached for the other checks."""
    name = plugin_entry.entry.name
    if name not in kit.modalities:
        kit.modalities[name] = _read_subject(kit, plugin_entry)
    found: Subject | None = kit.modalities[name]
    return found


def _read_subject(kit: Kit, plugin_entry: Any) -> Subject | None:
    name, dataset = plugin_entry.entry.name, plugin_entry.entry.dataset
    with kit.check("default data", f"modality {name}"):
        from gan.data.datasets import prepare_dataset

        modality_class = kit.plugins.load(plugin_entry)
        whole = prepare_dataset(kit.plugins.find("gan_datasets", dataset, prefer=kit.plugin), kit.plugins)
        source = some_files(whole, modality_class.suffixes, kit.folder / f"data-{name}")
        files = list_source(source, modality_class.suffixes).files
        if not files:
            raise Failed(f"the dataset '{dataset}' holds no file ending in {modality_class.suffixes}")
        config = modality_class.Config()
        facts = modality_class(config).survey(files)
        _check_plain(facts)
        subject = Subject(name, modality_class(config, facts), modality_class, source)
        _check_fields(subject.fields)
        subject.samples = read_samples(subject.modality, files)
        if not subject.samples:
            raise Failed(f"the dataset '{dataset}' gives no sample")
        return subject
    return None


def stacked(samples: Sequence[Sample], fields: dict[str, FieldSpec], count: int) -> Samples:
    """`count` rows of every field; rows repeat where fewer samples have the field (a sample of unpaired data has the
    fields of one group)."""
    rows = {}
    for name in fields:
        values = [sample[name] for sample in samples if name in sample]
        if not values:
            raise Failed(f"none of the samples read has the field '{name}'")
        rows[name] = np.stack([values[index % len(values)] for index in range(count)])
    return rows


def check_sample(sample: Sample, fields: dict[str, FieldSpec]) -> None:
    """Check names, shapes, dtypes and ranges of one sample."""
    groups: dict[str, set[str]] = {}
    for name, spec in fields.items():
        groups.setdefault(spec.group, set()).add(name)
    if set(sample) not in groups.values():
        promised = " or ".join(str(sorted(names)) for names in groups.values())
        raise Failed(f"a sample has the fields {sorted(sample)}, `fields` promises {promised}")
    for name, values in sample.items():
        reason = fields[name].mismatch(np.asarray(values))
        if reason:
            raise Failed(f"'{name}' {reason}")


def some_files(whole: Path, suffixes: Sequence[str], target: Path) -> Path:
    """A folder with about `FILES` of the files, and every small file that is not a sample (labels, lists)."""
    files = list_source(whole, suffixes).files
    if len(files) <= FILES:
        return whole
    chosen = {files[round(i * (len(files) - 1) / (FILES - 1))].path for i in range(FILES)}
    known = {file.path for file in files}
    for path in sorted(whole.rglob("*")):
        if path.is_file() and (path in chosen or (path not in known and path.stat().st_size < 1 << 20)):
            copy = target / path.relative_to(whole)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return target


def read_samples(modality: Any, files: Sequence[SourceFile]) -> list[Sample]:
    """Up to `SAMPLES` samples, about the same number from each file."""
    samples: list[Sample] = []
    bad = []
    for file in files:
        share = max(1, SAMPLES // len(files))
        try:
            for index, sample in enumerate(pieces(modality.fields, modality.read(file))):
                if index >= share:
                    break
                samples.append({name: np.array(values) for name, values in sample.items()})
        except Companion:
            continue
        except BadData as error:
            bad.append(str(error))
    if not samples and bad:
        raise BadData(f"no file of the data can be read: {bad[0]}")
    return samples


def _same(one: list[Sample], other: list[Sample]) -> bool:
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(np.array_equal(a[name], b[name], equal_nan=True) for name in a)
        for a, b in zip(one, other, strict=True)
    )


def _check_fields(fields: Any) -> None:
    if not isinstance(fields, dict) or not fields:
        raise Failed("`fields` is not a dict with at least one field")
    for name, spec in fields.items():
        if not isinstance(spec, FieldSpec):
            raise Failed(f"`fields['{name}']` is not a gan.contracts.FieldSpec")
        if not spec.unit.strip():
            raise Failed(f"the field '{name}' has no unit")
        if not spec.low < spec.high:
            raise Failed(f"the field '{name}' has the range {spec.low:g} … {spec.high:g}")
    windows_of(grouped(fields))


def _check_plain(facts: Any) -> None:
    import json

    if json.loads(json.dumps(facts)) != facts:
        raise Failed("`survey` returns facts that JSON changes: use lists and string keys, no tuples")


def _check_round_trip(kit: Kit, subject: Subject) -> None:
    modality, folder = subject.modality, kit.folder / f"written-{subject.name}"
    folder.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(subject.samples[:4]):
        path = modality.write(sample, folder / f"a.{number}")
        if not isinstance(path, Path) or not path.is_file() or not path.name.startswith(f"a.{number}."):
            raise Failed(f"`write` returned {path!r}, which is not a file 'a.{number}' with a suffix")
        twin = modality.write(sample, folder / f"b.{number}")
        if path.read_bytes() != twin.read_bytes():
            raise Failed("writing the same sample twice gives other bytes")
        if not path.name.lower().endswith(tuple(subject.modality_class.suffixes)):
            raise Noted(f"it writes '{path.suffix}' files and cannot read them")
        file = SourceFile(path.name, path, None, path.stat().st_size)
        try:
            read = pieces(modality.fields, modality.read(file))
            (back, *_) = [{name: np.array(values) for name, values in s.items()} for s in read]
        except BadData as error:
            raise Noted(f"it cannot read its own file: {error.reason}") from None
        check_sample(back, subject.fields)
        final = modality.write(back, folder / f"c.{number}")
        again_read = modality.read(SourceFile(final.name, final, None, final.stat().st_size))
        (again, *_) = pieces(modality.fields, again_read)
        if not _same([back], [again]):
            raise Failed("a sample has changed after it was written, read, written and read again")


def _check_labels(kit: Kit, subject: Subject) -> None:
    """A written file says what made it after the core has labelled it, and is read as before."""
    folder = kit.folder / f"labelled-{subject.name}"
    folder.mkdir(parents=True, exist_ok=True)
    path = subject.modality.write(subject.samples[0], folder / "a")
    before = _read_back(subject, path)
    labels = Labels({"model": f"{kit.plugin}/{subject.name}"})
    with labels.listing(folder) as listing:
        labels.label(path, path, {"seed": 0, "index": 0}, listing)
    report = verify(path, Search()).files[0]
    if report.metadata.status != "present" or report.metadata.record.get("seed") != 0:
        raise Failed(f"the record of a labelled {path.suffix} file is not found again: {report.metadata.text}")
    if report.manifest.status not in ("other key", "unsigned"):  # the kit names no key as known
        raise Failed(f"the manifest of a labelled {path.suffix} file says: {report.manifest.text}")
    if before is not None and not _same(before, _read_back(subject, path) or []):
        raise Failed(f"a {path.suffix} file is read differently after it was labelled")


def _read_back(subject: Subject, path: Path) -> list[Sample] | None:
    """The samples in a file; None where the modality does not read what it writes."""
    if not path.name.lower().endswith(tuple(subject.modality_class.suffixes)):
        return None
    try:
        found = subject.modality.read(SourceFile(path.name, path, None, path.stat().st_size))
        return [{name: np.array(values) for name, values in sample.items()} for sample in found]
    except BadData:
        return None


def check_marks(kit: Kit) -> None:
    """Check every mark that the plugin offers."""
    for plugin_entry in kit.offered("gan_marks"):
        with kit.check("marking and finding", f"mark {plugin_entry.entry.name}"):
            _check_mark(kit, plugin_entry)


def _check_mark(kit: Kit, plugin_entry: Any) -> None:
    entry, mark_class = plugin_entry.entry, kit.plugins.load(plugin_entry)
    if not (isinstance(mark_class, type) and issubclass(mark_class, Mark)):
        raise Failed(f"'{entry.target}' is no subclass of gan.contracts.Mark")
    if tuple(mark_class.suffixes) != tuple(entry.suffixes):
        raise Failed(f"its entry has the suffixes {entry.suffixes}, and its class {mark_class.suffixes}")
    owner = kit.plugins.find("gan_modalities", entry.modality, prefer=kit.plugin)
    subject = read_subject(kit, owner)
    if subject is None:
        raise Skipped(f"the data of the modality {entry.modality} cannot be read")
    mark = mark_class(bytes(range(32)))
    folder = kit.folder / f"marked-{entry.name}"
    folder.mkdir(parents=True, exist_ok=True)
    plain = subject.modality.write(subject.samples[0], folder / "plain")
    found = mark.detect(SourceFile(plain.name, plain, None, plain.stat().st_size), subject.modality)
    if not isinstance(found, Detection) or not 0 <= found.p_value <= 1 or found.found:
        raise Failed(f"a file without the mark gives {found}")
    if mark.in_sampling:
        raise Skipped("it acts in the sampler: it is checked with each architecture")
    with Labels({}, mark=mark).marking(subject.modality):
        marked = subject.modality.write(subject.samples[0], folder / "marked")
        again = subject.modality.write(subject.samples[0], folder / "again")
    if marked.read_bytes() == plain.read_bytes():
        raise Failed("`write` gives the same file with and without the mark: pass what it encodes to `self.marked`")
    if marked.read_bytes() != again.read_bytes():
        raise Failed("marking the same sample twice gives other bytes")
    mark.detect(SourceFile(marked.name, marked, None, marked.stat().st_size), subject.modality)


def _check_preview(subject: Subject) -> None:
    from PIL import Image

    for count in (1, 5):
        samples = subject.stacked(count)
        kept = {name: values.copy() for name, values in samples.items()}
        picture = subject.modality.preview(samples)
        if not isinstance(picture, Image.Image) or min(picture.size) < 1:
            raise Failed(f"`preview` of {count} samples returned {type(picture).__name__}, no picture")
        if any(not np.array_equal(samples[name], kept[name]) for name in samples):
            raise Failed("`preview` changes the samples")
        if picture.tobytes() != subject.modality.preview(samples).tobytes():
            raise Failed("`preview` of the same samples gives another picture")


def _check_page(kit: Kit, subject: Subject) -> None:
    """A page with two artefacts refers to no file outside its folder."""
    folder = kit.folder / f"page-{subject.name}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [subject.modality.write(sample, folder / f"{n}") for n, sample in enumerate(subject.samples[:2])]
    text = write_page(folder, subject.modality, paths).read_text(encoding="utf-8")
    for reference in re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", text):
        if not reference.startswith("data:") and not (folder / "page" / unquote(reference)).is_file():
            raise Failed(f"`show` refers to '{reference[:80]}', which is not in the page's folder")


def _check_bad_files(kit: Kit, subject: Subject) -> None:
    """An empty file and random bytes are refused with a reason, or read into samples that fit the fields."""
    folder = kit.folder / f"bad-{subject.name}"
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.Generator(np.random.Philox(0)).bytes(4096)
    for suffix in subject.modality_class.suffixes:
        for title, content in (("empty", b""), ("noise", noise)):
            path = folder / f"{title}{suffix}"
            path.write_bytes(content)
            try:
                samples = list(subject.modality.read(SourceFile(path.name, path, None, len(content))))
            except BadData as error:
                if not error.reason.strip():
                    raise Failed(f"the BadData for the {title} file {path.name} has no reason") from None
                continue
            except Companion:  # it belongs to the file of the same name with another suffix
                continue
            if not samples:
                raise Failed(f"the {title} file {path.name} gives neither a sample nor BadData: it vanishes in silence")
            for sample in samples:
                check_sample(sample, subject.fields)
