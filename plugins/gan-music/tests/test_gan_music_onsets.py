"""Rolls that mark where notes begin (`modality.onsets`): read, written, measured and composed."""

from __future__ import annotations

import math
from itertools import product

import mido
import numpy as np
import pytest
import torch
from gan.contracts import FieldSpec, Given, Request
from gan.draws import SeededDraws
from gan.errors import UsageError
from gan.source import list_source
from gan_music import rolls
from gan_music.architectures.accompaniment import Accompaniment, AccompanimentConfig
from gan_music.architectures.bmusegan import BMuseGAN
from gan_music.architectures.framegan import FrameGAN, FrameGANConfig, soft_rhythm
from gan_music.architectures.musegan import MuseGAN
from gan_music.architectures.musictransformer import Events
from gan_music.architectures.neurons import AGAIN, LEAST, one_line_of_onsets
from gan_music.architectures.onsets import in_rows, onsets_of, soft_repetitions
from gan_music.architectures.temporal import TemporalMuseGAN
from gan_music.config import MusicConfig
from gan_music.metrics.statistics import groove_consistency, qualified_notes, statistics
from gan_music.modality import Music
from gan_music.piece import Piece
from gan_music.reading import Part, Score

CPU = torch.device("cpu")
SHAPE = (3, 2, 16, 12)
TRACKS = {"tune": [0], "kit": ["drums"]}


def music(**settings) -> Music:
    return Music(MusicConfig(**{"tracks": TRACKS, "steps_per_beat": 4, "bars": 1, "onsets": True, **settings}))


def score(*notes: tuple[int, int, int], drums: bool = False) -> Score:
    """Notes (start, end, pitch) in sixteenths."""
    played = np.array([(*note, 90) for note in notes], np.int64)
    return Score(4, [Part("", 0, drums, played)], [])


def tensors_of(roll: np.ndarray) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values) for name, values in rolls.fields_of(roll).items()}


def phrases_of(notes: int, shape=SHAPE, count: int = 3, seed: int = 0) -> np.ndarray:
    """Random phrases, in which many notes are struck again."""
    numbers = np.random.default_rng(seed)
    made = np.zeros((count, *shape), np.uint8)
    lines = made.reshape(count, shape[0], -1, shape[3])
    for _ in range(notes):
        phrase, track, step, row = (numbers.integers(size) for size in lines.shape)
        end = min(step + numbers.integers(1, 7), lines.shape[2])
        lines[phrase, track, step:end, row] = np.maximum(lines[phrase, track, step:end, row], 1)
        lines[phrase, track, step, row] = rolls.BEGINS
    return made


def test_a_repeated_note_keeps_its_length():
    (phrase,) = music().phrases(score((0, 4, 60), (4, 8, 60), (8, 9, 62), (9, 10, 62), (12, 16, 60)))
    phrase = rolls.joined(phrase)
    assert phrase[0, 0, :, 36].tolist() == [2, 1, 1, 1, 2, 1, 1, 1, 0, 0, 0, 0, 2, 1, 1, 1]
    assert phrase[0, 0, 8:10, 38].tolist() == [2, 2]
    (drums,) = music().phrases(score((0, 4, 60), (1, 2, 60), drums=True))
    assert rolls.joined(drums)[1, 0, :4, 36].tolist() == [2, 2, 0, 0]


def test_a_note_over_a_bar_line_begins_in_one_phrase_only():
    first, second = map(rolls.joined, music().phrases(score((12, 20, 60), (20, 32, 60))))
    assert first[0, 0, :, 36].tolist() == [0] * 12 + [2, 1, 1, 1]
    assert second[0, 0, :, 36].tolist() == [1, 1, 1, 1, 2] + [1] * 11
    moved = list(music(transpose=[2]).phrases(score((12, 20, 60), (20, 32, 60))))
    assert rolls.joined(moved[1])[0, 0, :5, 38].tolist() == [1, 1, 1, 1, 2]


def test_notes_that_begin_together_count_once_for_the_fewest():
    twice = score((0, 4, 60), (0, 8, 60), (8, 16, 60))
    assert len(list(music(min_notes=2).phrases(twice))) == 1
    with pytest.raises(Exception, match="no 1 bars with 3 notes"):
        list(music(min_notes=3).phrases(twice))


def test_written_notes_are_read_again(tmp_path):
    modality = music(bars=2, lowest=48, pitches=12)
    (roll,) = phrases_of(120, (2, 2, 16, 12), count=1)
    roll[1] = np.where(roll[1] == 1, 0, roll[1])  # drums are only struck
    path = modality.write(rolls.fields_of(roll), tmp_path / "phrase")
    (file,) = list_source(path, Music.suffixes).files
    (again,) = modality.read(file)
    assert np.array_equal(rolls.joined(again), roll)
    struck = sum(m.type == "note_on" and m.velocity > 0 for track in mido.MidiFile(path).tracks for m in track)
    assert struck == (roll == rolls.BEGINS).sum()
    assert (roll[0] == rolls.BEGINS).sum() > (rolls.onsets(roll[0] > 0)).sum() + 5


def test_attributes_and_statistics_count_repeated_notes():
    modality = music(attributes=["density", "register"])
    repeated = score((0, 4, 60), (4, 8, 60), (8, 16, 64))
    (phrase,) = modality.phrases(repeated)
    assert phrase["density"] == 3
    assert phrase["register"] == 62
    roll = rolls.joined(phrase)
    table = statistics(roll[None], modality.grid)
    assert table["notes-per-bar"][0] == 3
    assert table["note-length/tune"][0] == pytest.approx(16 / 3 / 4)
    assert table["density"][0] == pytest.approx(16 / roll.size)
    assert table["polyphony/tune"][0] == 0
    good, notes = qualified_notes(roll[None], 5)
    assert (good[0, 0], notes[0, 0]) == (1, 3)  # two of four steps are no note of eight


def test_rhythm_is_that_of_repeated_notes():
    two = np.zeros((1, 1, 2, 4, 12), np.uint8)
    two[..., 3] = 1
    two[0, 0, 0, 0, 3] = two[0, 0, 0, 2, 3] = two[0, 0, 1, 0, 3] = rolls.BEGINS
    assert groove_consistency(two)[0] == pytest.approx(1 - 1 / 4)
    cells = in_rows(tensors_of(two))
    found = 4 * soft_rhythm(cells[..., :12], cells[..., 12:13])
    assert found[0].tolist() == [[2, 0], [1, 1]]


def test_a_critic_of_density_counts_repeated_notes():
    roll = phrases_of(900)
    roll[..., :3] = roll[..., 4:] = 0  # of one voice, whose shares are 0 or 1
    repeated = torch.from_numpy(rolls.onsets(roll) & ~rolls.onsets(roll > 0))
    found = 4 * soft_repetitions(in_rows(tensors_of(roll)))
    assert torch.equal(found, repeated.sum((3, 4)).transpose(1, 2).float())
    assert found.sum() > 10


def test_pictures_show_repeated_notes_apart():
    modality = music()
    held = np.zeros((1, 2, 1, 16, 84), np.uint8)
    held[0, 0, 0, :, 40] = 1
    held[0, 0, 0, 0, 40] = rolls.BEGINS
    struck = held.copy()
    struck[0, 0, 0, 8, 40] = rolls.BEGINS
    assert np.array_equal(
        np.asarray(modality.preview(rolls.fields_of(held))), np.asarray(modality.preview(rolls.fields_of(held > 0)))
    )
    assert not np.array_equal(
        np.asarray(modality.preview(rolls.fields_of(held))), np.asarray(modality.preview(rolls.fields_of(struck)))
    )


@pytest.mark.parametrize("notes", [0, 20, 200])
def test_events_keep_repeated_notes(notes):
    events = Events(SHAPE, begins=True)
    made = phrases_of(notes)
    made[:, :, 0, 0] = np.where(made[:, :, 0, 0] > 0, rolls.BEGINS, 0)  # events begin all notes of a phrase
    sequences = [events.encode(roll) for roll in made]
    for roll, tokens in zip(made, sequences):
        assert np.array_equal(events.decode(tokens), roll)
    longest = max(map(len, sequences)) + 3
    padded = [[*tokens, *[-1] * (longest - len(tokens))] for tokens in sequences]
    assert events.encode_batch(torch.from_numpy(made), longest).tolist() == padded


def test_a_note_within_another_of_its_pitch_ends_it():
    events = Events((1, 1, 8, 12), begins=True)
    note, length = events.note + 3, events.length
    tokens = [1, 2, events.position, note, length + 3, events.position + 2, note, length + 3, 0]
    assert events.decode(tokens)[0, 0, :, 3].tolist() == [2, 1, 2, 1, 1, 1, 0, 0]


def model(**settings) -> FrameGAN:
    torch.manual_seed(0)
    roll = FieldSpec(SHAPE, "bool", 0, 1, "note on", names=("a", "b", "c"))
    fields = {"roll": roll, "onset": roll}
    return FrameGAN(FrameGANConfig(width=16, latent=8, **settings), fields)


def test_rows_say_which_share_of_held_notes_is_struck_again():
    roll = np.zeros((1, 1, 1, 4, 12), np.uint8)
    roll[0, 0, 0, :, [2, 5]] = np.array([[2, 2], [1, 2], [2, 2], [1, 1]]).T
    rows = in_rows(tensors_of(roll))
    assert rows.shape[-1] == 14
    assert ((rows[0, 0, 0, :, 12] + 1) / 2).tolist() == [1, 1, 1, 0]  # whether a note begins
    assert ((rows[0, 0, 0, :, 13] + 1) / 2).tolist() == [1, 0.5, 1, 0]
    assert torch.equal(rows[..., :12] > 0, torch.from_numpy(roll > 0))
    assert in_rows(tensors_of(roll > 0)).shape[-1] == 12


@pytest.mark.parametrize("first", [1, 2])
def test_one_voice_is_what_its_rows_say(first):
    """A line and its repetitions, taken apart and put together, also where it goes on from before the phrase."""
    line = np.zeros((1, 1, 1, 8, 2), np.uint8)
    line[0, 0, 0, :, 0] = [first, 1, 2, 0, 2, 2, 1, 0]
    line[0, 0, 0, [3, 7], 1] = rolls.BEGINS
    sounds, begins = tensors_of(line).values()
    rows = (in_rows(tensors_of(line)) + 1) / 2
    assert torch.equal(onsets_of(rows[..., :2] > 0.5, rows[..., 3:] > 0.5), begins)
    assert torch.equal(onsets_of(rows[..., :2], rows[..., 3:]), begins.float())
    sung, starts = one_line_of_onsets(rows[..., :2] * 0.999, rows[..., 2:3])
    assert torch.equal(sung, sounds)
    assert torch.equal(onsets_of(sung, starts), begins)


def test_a_line_of_onsets_is_the_most_probable_one():
    """Against all sequences of pitches, silence and onsets of a small voice."""
    torch.manual_seed(0)
    probabilities = torch.rand(6, 1, 1, 4, 2).softmax(-1) * torch.rand(6, 1, 1, 4, 1)
    begins = torch.rand(6, 1, 1, 4, 1)
    begins[0, 0, 0, 1], begins[1, 0, 0, 2] = 1, 0  # too sure
    found, starts = one_line_of_onsets(probabilities, begins)
    logs = torch.cat([probabilities, 1 - probabilities.sum(-1, keepdim=True)], -1).log()[:, 0, 0]
    for row in range(6):
        best = None
        for path in product(range(3), repeat=4):
            for struck in product([False, True], repeat=3):
                score = logs[row, 0, path[0]].item()
                for step, (here, there, begin) in enumerate(zip(path, path[1:], struck), 1):
                    o = min(max(begins[row, 0, 0, step, 0].item(), LEAST), 1 - LEAST)
                    if there == 2:
                        score += (math.log(1 - o) if here == 2 else -math.log(4)) if not begin else -math.inf
                    elif here == there:
                        score += math.log(o * AGAIN) if begin else math.log(1 - o)
                    else:
                        score += math.log(o * (1 - AGAIN)) if begin else -math.inf
                    score += logs[row, step, there].item()
                if best is None or score > best[0]:
                    best = (score, path, struck)
        path = [int(cells.int().argmax()) if cells.any() else 2 for cells in found[row, 0, 0]]
        assert path == list(best[1])
        for step in range(1, 4):
            if path[step] < 2:  # at the first step it might sound on
                assert bool(starts[row, 0, 0, step]) == best[2][step - 1]
        assert bool(starts[row, 0, 0, 0]) == (begins[row, 0, 0, 0, 0].item() > 0.5)


def test_what_sounds_on_is_struck_again_where_the_model_says_so():
    """Its row of onsets for a voice, and that of repetitions for tracks with several notes."""
    net = model(monophonic=[0], gate=False).eval()
    with torch.no_grad():
        for output in net.generator.outputs:
            output.weight.zero_()
        bias = net.generator.outputs[0].bias.view(3, 14)
        bias.fill_(-9)
        bias[:, 4] = 9
        bias[1, 7] = 9
        bias[0, 12] = bias[1, 13] = 9
    made = net.generate(2, SeededDraws.of(0, 0, 2, CPU), Request())
    assert made["roll"].dtype == made["onset"].dtype == torch.bool
    sounds, begins = (made[name].flatten(2, 3) for name in ("roll", "onset"))
    assert sounds[:, :, :, 4].all()
    assert begins[:, 0, :, 4].all()
    assert begins[:, 1][..., [4, 7]].all()
    assert not begins[:, 2].any()
    smooth = net.decode_smooth(net.latents(2, SeededDraws.of(0, 0, 2, CPU)), Request())
    for name, values in made.items():
        torch.testing.assert_close(smooth[name][:, 1:], values[:, 1:].float(), atol=0.01, rtol=0)
    net.critic_features(smooth)


def test_given_tracks_keep_their_repeated_notes():
    net = model(given=[1]).eval()
    assert net.given_fields() == ("roll", "onset")
    assert net.given_places() == {"roll": [1], "onset": [1]}
    given = tensors_of(phrases_of(60))
    made = net.generate(3, SeededDraws.of(0, 0, 3, CPU), Request(given=given))
    for name in ("roll", "onset"):
        assert torch.equal(made[name][:, 1], given[name][:, 1])
    with pytest.raises(UsageError, match="an accompaniment needs a phrase"):
        net.generate(3, SeededDraws.of(0, 0, 3, CPU), Request(given={"roll": given["roll"]}))


def test_joined_phrases_and_accompaniments_keep_onsets(tmp_path):
    net = model().eval()
    joined = net.generate(1, SeededDraws.of(0, 0, 1, CPU), Request(options=FrameGAN.Options(bars=6)))
    assert joined["roll"].shape == joined["onset"].shape == (1, 3, 6, 16, 12)
    modality = music(tracks={"lead": [0], "base": [32]}, min_tracks=1)
    path = modality.write(rolls.fields_of(seams()), tmp_path / "song")
    (file,) = list_source(path, Music.suffixes).files
    given = Given(("roll", "onset"), {"roll": (0,), "onset": (0,)}, None)
    piece = Piece.read(modality.cutter, file, given)
    heard = [rolls.joined(sample) for sample in piece.phrases()]
    assert [roll[0, 0, 0, 30] for roll in heard] == [2, 1]  # it sounds on in the second bar
    made = []
    for roll in heard:
        roll = roll.copy()
        roll[1, 0, :, 40] = 1
        made.append(roll)
    made[0][1, 0, [0, 8], 40] = rolls.BEGINS
    (result,) = modality.write_like([rolls.fields_of(roll) for roll in made], tmp_path / "result", file, given)
    composed = next(track for track in mido.MidiFile(result).tracks if track.name == "base")
    assert sum(m.type == "note_on" and m.velocity > 0 for m in composed) == 2  # held over the seam


def seams() -> np.ndarray:
    """A melody of one note over two bars."""
    roll = np.zeros((2, 2, 16, 84), np.uint8)
    roll[0, :, :, 30] = 1
    roll[0, 0, 0, 30] = rolls.BEGINS
    return roll


@pytest.mark.parametrize("family", [MuseGAN, BMuseGAN, TemporalMuseGAN, Accompaniment])
def test_networks_without_onsets_say_so(family):
    roll = FieldSpec((3, 2, 16, 24), "bool", 0, 1, "note on")
    fields = {"roll": roll, "onset": roll}
    config = AccompanimentConfig(given=[0]) if family is Accompaniment else family.Config()
    with pytest.raises(UsageError, match="composes no onsets; leave modality.onsets out"):
        family(config, fields)
