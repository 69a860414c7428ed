"""Whole variants: betons hold the source's pixels, corruption as planned, the same bytes each time."""

import json
import logging
import pickle
from collections import Counter

import numpy as np
import pytest
import torch

from pipeline.config import Source, Variant, parse_params
from pipeline.datasets import load_manifest, loading, open_split, preparing
from pipeline.datasets.decode import Recipe
from pipeline.datasets.sources.digits import open_digits
from pipeline.errors import InputError
from pipeline.stages import prepare as stage
from tests.image_folders import place, prepare, smooth_image, write_split_folder

DIGITS = Source(kind="digits")
FOLDER = Source(kind="imagefolder", path="images", image_size=24)
CPU = torch.device("cpu")


def opened(folder, split="train"):
    return open_split(folder, split, device=CPU, threads=1)


def pixels_of(split, manifest):
    """Grey levels `(n, channels, height, width)` back from the standardised inputs."""
    (batch,) = split.batches(np.arange(split.num_examples), split.num_examples)
    mean, std = (np.array(values)[:, None, None] for values in (manifest.mean, manifest.std))
    return np.rint(batch.inputs.numpy() * std + mean).astype(int)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("digits"), DIGITS)


def test_raw_grey_round_trip_is_exact(digits, tmp_path):
    folder, manifest = digits
    for split in ("train", "test"):
        part, beton = open_digits(DIGITS, place(tmp_path)).parts[split], opened(folder, split)
        np.testing.assert_array_equal(pixels_of(beton, manifest)[:, 0], part.images)
        np.testing.assert_array_equal(beton.labels, part.labels)
        np.testing.assert_array_equal(beton.indices, np.arange(len(part.labels)))
        assert not beton.is_corrupt.any()


def test_inputs_are_standardised_by_the_training_set(digits):
    folder, manifest = digits
    (batch,) = opened(folder).batches(np.arange(1297), 1297)
    assert batch.inputs.dtype == torch.float32
    # 83,008 float32 numbers of size 1: rounding leaves about 1e-7 each, less in the mean.
    assert batch.inputs.double().mean().item() == pytest.approx(0, abs=1e-6)
    assert batch.inputs.double().std(correction=0).item() == pytest.approx(1, abs=1e-6)
    assert manifest.input_shape == (1, 8, 8)


def test_batches_come_in_the_asked_order_and_sizes(digits):
    folder, _ = digits
    split = opened(folder)
    positions = np.random.default_rng(0).permutation(1297)[:70]
    batches = list(split.batches(positions, 32))
    assert [len(batch.labels) for batch in batches] == [32, 32, 6]
    assert torch.cat([batch.labels for batch in batches]).tolist() == split.labels[positions].tolist()
    single = [next(iter(split.batches(np.array([position]), 1))).inputs for position in positions]
    torch.testing.assert_close(torch.cat(single), torch.cat([b.inputs for b in batches]), rtol=0, atol=0)
    assert list(split.batches(np.array([], np.int64), 4)) == []


def test_a_batch_is_the_callers_to_change(digits):
    split = opened(digits[0])
    (batch,) = split.batches(np.arange(4), 4)
    before = batch.inputs.clone()
    batch.inputs.zero_()
    (again,) = split.batches(np.arange(4), 4)
    assert torch.equal(again.inputs, before)


def test_threads_are_left_as_asked(digits):
    before = torch.get_num_threads()
    open_split(digits[0], "test", device=CPU, threads=2)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_raw_colour_round_trip_is_exact(tmp_path):
    write_split_folder(tmp_path / "images")
    folder, manifest = prepare(tmp_path, FOLDER)
    assert (manifest.encoding, manifest.noise) == ("raw", "none")
    expected = np.stack([smooth_image(seed) for seed in range(1, 17)]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(pixels_of(opened(folder), manifest), expected)


def test_jpg_round_trip_is_close(tmp_path):
    write_split_folder(tmp_path / "images", side=72)
    source = FOLDER.model_copy(update={"image_size": 72})
    folder, manifest = prepare(tmp_path, source)
    assert manifest.encoding == "jpg"
    expected = np.stack([smooth_image(seed, 72) for seed in range(1, 17)]).transpose(0, 3, 1, 2)
    difference = np.abs(pixels_of(opened(folder), manifest) - expected)
    # Quality 95 on smooth images: 1 to 2 levels from quantisation, more where colour is halved in resolution.
    assert 0 < difference.mean() < 2
    assert difference.max() < 32


@pytest.mark.parametrize("keys", [{"image_size": 24}, {"image_size": 24, "encoding": "jpg"}])
def test_streamed_batches_are_the_resident_ones(tmp_path, monkeypatch, keys):
    write_split_folder(tmp_path / "images", train=20)
    folder, _ = prepare(tmp_path, FOLDER.model_copy(update=keys), noise_labels=0.5)
    resident = opened(folder)
    monkeypatch.setattr(loading, "RESIDENT_BYTES", 0)
    streamed = opened(folder)
    assert [type(split.reader).__name__ for split in (resident, streamed)] == ["Resident", "Streamed"]
    for batch_size in (7, 1):  # one loader serves any batch size and order
        positions = np.random.default_rng(batch_size).permutation(40)
        batches = zip(
            resident.batches(positions, batch_size), streamed.batches(positions, batch_size), strict=True
        )
        for ours, ffcvs in batches:
            assert torch.equal(ours.inputs, ffcvs.inputs)
            assert torch.equal(ours.labels, ffcvs.labels)
            np.testing.assert_array_equal(ours.positions, ffcvs.positions)
            assert ours.inputs.is_contiguous()
            assert ffcvs.inputs.is_contiguous()


def test_streamed_grey_batches_and_an_abandoned_epoch(digits, monkeypatch):
    import threading

    resident = opened(digits[0])
    monkeypatch.setattr(loading, "RESIDENT_BYTES", 0)
    streamed = opened(digits[0])
    threads = threading.active_count()
    abandoned = streamed.batches(np.arange(1297), 4)
    next(abandoned)
    abandoned.close()
    assert threading.active_count() == threads
    positions = np.array([5, 5, 1296, 0])
    (expected,), (found,) = resident.batches(positions, 9), streamed.batches(positions, 9)
    assert torch.equal(expected.inputs, found.inputs)


def test_noise_drawn_on_load_is_the_stored_noise(tmp_path, monkeypatch):
    write_split_folder(tmp_path / "images", side=128, train=6)
    source = FOLDER.model_copy(update={"image_size": 128})
    on_load, manifest = prepare(tmp_path, source, "a", noise_images=0.5)
    raw = source.model_copy(update={"encoding": "raw"})
    stored, stored_manifest = prepare(tmp_path, raw, "b", noise_images=0.5)
    assert (manifest.noise, stored_manifest.noise) == ("on load", "stored")
    for split in ("train", "test"):
        drawn, kept = opened(on_load, split), opened(stored, split)
        np.testing.assert_array_equal(drawn.is_corrupt, kept.is_corrupt)
        pixels = [pixels_of(drawn, manifest), pixels_of(kept, stored_manifest)]
        is_noise = drawn.is_corrupt
        assert is_noise.sum() == round(0.5 * len(is_noise))
        np.testing.assert_array_equal(*(part[is_noise] for part in pixels))
        assert (pixels[0][~is_noise] != pixels[1][~is_noise]).any()  # those are JPEG-coded in one of them
    resident = opened(on_load)
    monkeypatch.setattr(loading, "RESIDENT_BYTES", 0)
    positions = np.arange(12)[::-1].copy()
    ours, streamed = (list(split.batches(positions, 5)) for split in (resident, opened(on_load)))
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(ours, streamed, strict=True))


@pytest.mark.parametrize("resident_bytes", [2**30, 0], ids=["resident", "streamed"])
def test_a_split_travels_to_a_worker(tmp_path, monkeypatch, resident_bytes):
    write_split_folder(tmp_path / "images", side=128, train=4)
    source = FOLDER.model_copy(update={"image_size": 128})
    folder, _ = prepare(tmp_path, source, noise_images=0.5)
    monkeypatch.setattr(loading, "RESIDENT_BYTES", resident_bytes)
    split = opened(folder)
    arrived = pickle.loads(pickle.dumps(split))
    assert type(arrived.reader) is type(split.reader)
    positions = np.array([7, 0, 3])
    (sent,), (received,) = split.batches(positions, 3), arrived.on(CPU).batches(positions, 3)
    assert torch.equal(sent.inputs, received.inputs)
    assert torch.equal(sent.labels, received.labels)


def test_corruptions_compose(digits, tmp_path):
    real_folder, real = digits
    folder, manifest = prepare(tmp_path, DIGITS, noise_images=0.5, noise_labels=0.3, permute_pixels="shared")
    train, pristine = opened(folder), opened(real_folder)
    assert (manifest.mean, manifest.std) == (real.mean, real.std)
    assert manifest.parts["train"].noise_images == round(0.5 * 1297)
    assert manifest.parts["train"].relabelled == round(0.3 * 1297)
    assert manifest.parts["test"].noise_images == 250
    assert manifest.parts["test"].relabelled == 0
    assert manifest.parts["train"].corrupt == train.is_corrupt.sum()
    np.testing.assert_array_equal(train.original_labels, pristine.labels)
    moved, still = pixels_of(train, manifest), pixels_of(pristine, real)
    kept = ~train.is_corrupt
    # Grey levels of a real image are all there, in another order.
    np.testing.assert_array_equal(
        np.sort(moved[kept].reshape(kept.sum(), -1)), np.sort(still[kept].reshape(kept.sum(), -1))
    )
    assert (moved[kept] != still[kept]).any()


def test_upscaled_digits(tmp_path):
    source = DIGITS.model_copy(update={"image_size": 20})
    folder, manifest = prepare(tmp_path, source)
    assert manifest.input_shape == (1, 20, 20)
    part = open_digits(source, place(tmp_path)).parts["train"]
    np.testing.assert_array_equal(
        pixels_of(opened(folder), manifest)[3], part.read(3, Recipe(20, 20, 1)).transpose(2, 0, 1)
    )


def test_two_prepares_write_the_same_bytes(digits, tmp_path):
    first, _ = digits
    second, _ = prepare(tmp_path, DIGITS)
    for file in ("train.beton", "test.beton", "manifest.json"):
        assert (first / file).read_bytes() == (second / file).read_bytes()
    other, _ = prepare(tmp_path, DIGITS, root_seed=2)
    assert (first / "train.beton").read_bytes() != (other / "train.beton").read_bytes()


def test_lazy_decoding_writes_the_bytes_of_held_images(tmp_path, monkeypatch):
    write_split_folder(tmp_path / "images", train=60)
    held, _ = prepare(tmp_path, FOLDER, "held", noise_images=0.2)
    monkeypatch.setattr("pipeline.datasets.scan.HELD_BYTES", 0)
    lazy, _ = prepare(tmp_path, FOLDER, "lazy", noise_images=0.2)
    for file in ("train.beton", "test.beton", "manifest.json"):
        assert (held / file).read_bytes() == (lazy / file).read_bytes()


def test_manifest(digits):
    folder, manifest = digits
    assert load_manifest(folder) == manifest
    assert load_manifest(folder).md5 == manifest.md5
    text = (folder / "manifest.json").read_text()
    assert text == manifest.text
    assert str(folder.parents[2]) not in text
    values = json.loads(text)
    labels = opened(folder).labels
    assert values["parts"]["train"]["per_class"] == {str(k): v for k, v in Counter(labels.tolist()).items()}
    assert values["parts"]["train"]["bytes"] == (folder / "train.beton").stat().st_size
    pixels = pixels_of(opened(folder), manifest)
    assert values["mean"] == [pytest.approx(pixels.mean(), rel=1e-12)]
    assert values["std"] == [pytest.approx(pixels.std(), rel=1e-12)]


def test_paths_in_the_manifest_are_not_of_this_machine(tmp_path):
    write_split_folder(tmp_path / "elsewhere" / "images")
    (tmp_path / "repository").mkdir()
    absolute = FOLDER.model_copy(update={"path": str(tmp_path / "elsewhere" / "images")})
    folder, manifest = prepare(tmp_path / "repository", absolute)
    assert manifest.source["path"] == "images"
    assert str(tmp_path) not in (folder / "manifest.json").read_text()


def test_a_subset_keeps_the_sources_indices(tmp_path):
    source = DIGITS.model_copy(update={"examples_per_class": 10, "classes": ("3", "7")})
    folder, manifest = prepare(tmp_path, source)
    part, split = open_digits(DIGITS, place(tmp_path)).parts["train"], opened(folder)
    assert split.labels.tolist().count(0) == split.labels.tolist().count(1) == 10
    np.testing.assert_array_equal(part.labels[split.indices], np.array([3, 7])[split.labels])
    assert (manifest.classes, split.num_classes) == (("3", "7"), 2)
    assert manifest.parts["train"].available == 1297


def test_grey_images_take_no_jpg(tmp_path):
    with pytest.raises(
        InputError, match=r"sources.mine.encoding: jpg is for colour images; 'digits' has grey"
    ):
        prepare(tmp_path, DIGITS.model_copy(update={"encoding": "jpg"}))


@pytest.mark.parametrize(
    ("side", "keys", "expected"),
    [
        (64, {}, (None, "none")),
        (65, {}, (95, "none")),
        (65, {"noise_images": 0.5}, (None, "stored")),
        (128, {"noise_images": 0.5}, (95, "on load")),
        (128, {"noise_images": 0.5, "permute_pixels": "each"}, (None, "stored")),
        (128, {"permute_pixels": "shared"}, (None, "none")),
        (128, {"noise_labels": 0.5}, (95, "none")),
    ],
)
def test_noise_and_permuted_pixels_are_never_jpeg_coded(side, keys, expected):
    storage = preparing.plan_storage(
        FOLDER.model_copy(update={"image_size": side}),
        Variant(source="mine", **keys),
        Recipe(side, side, 3),
        "encoding",
    )
    assert (storage.jpg_quality, storage.noise) == expected


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "no manifest", "bad manifest"])
def test_a_damaged_variant_is_refused(tmp_path, damage):
    folder, _ = prepare(tmp_path, DIGITS, "noise50")
    beton = folder / "train.beton"
    content = bytearray(beton.read_bytes())
    content[3_000_000] ^= 1
    actions = {
        "flipped": lambda: beton.write_bytes(content),
        "cut": lambda: beton.write_bytes(content[:-10]),
        "missing": beton.unlink,
        "no manifest": (folder / "manifest.json").unlink,
        "bad manifest": lambda: (folder / "manifest.json").write_text("{}"),
    }
    messages = {
        "flipped": "noise50/train.beton has sha256 .*, its manifest says",
        "cut": f"noise50/train.beton has {len(content) - 10} bytes, its manifest says {len(content)}",
        "missing": "noise50/train.beton is not there",
        "no manifest": "noise50/manifest.json is not there",
        "bad manifest": "noise50/manifest.json cannot be read",
    }
    actions[damage]()
    with pytest.raises(InputError, match=messages[damage] + ".*dvc repro -f prepare@noise50"):
        opened(folder)


PARAMS = """
seed: 1
sources: {digits: {kind: digits, examples_per_class: 20, test_examples_per_class: 10}}
variants: {noise50: {source: digits, noise_images: 0.5}}
runs: {}
"""


def test_the_stage_prepares_and_says_what(layout, caplog):
    caplog.set_level(logging.INFO, "concord")
    stage.run(layout, parse_params(PARAMS, "params.yaml"), "noise50")
    assert opened(layout.variant("noise50")).is_corrupt.sum() == 100
    assert "train 200 examples, 100 corrupt" in caplog.text
    assert "test 100 examples, 50 corrupt" in caplog.text


@pytest.mark.parametrize(("item", "message"), [(None, "which variant"), ("nois50", "Did you mean 'noise50'")])
def test_the_stage_wants_a_variant(layout, item, message):
    with pytest.raises(InputError, match=message):
        stage.run(layout, parse_params(PARAMS, "params.yaml"), item)
