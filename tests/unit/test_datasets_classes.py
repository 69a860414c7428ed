"""What is known of a source's classes before it is read, and the choices that it can't serve."""

import pytest

from pipeline.config import Source
from pipeline.datasets.classes import check_classes, known_names, known_number
from pipeline.datasets.sources import open_source
from pipeline.errors import InputError
from tests.image_folders import place

KINDS = {
    "digits": 10,
    "glyphs": 3,
    "mnist": 10,
    "fashionmnist": 10,
    "cifar10": 10,
    "cifar100": 100,
    "imagenette": 10,
}


def source(kind, **keys):
    return Source.model_validate({"kind": kind, "path": "somewhere", "image_size": 32, **keys})


def small_glyphs(**keys):
    return source("glyphs", glyphs={"classes": 3, "train_examples": 3, "test_examples": 3}, **keys)


def of(kind, **keys):
    return small_glyphs(**keys) if kind == "glyphs" else source(kind, **keys)


def check(source):
    check_classes(
        "sources.mine.classes", source.classes, number=known_number(source), names=known_names(source)
    )


@pytest.mark.parametrize("opened", [source("digits"), small_glyphs()], ids=lambda source: source.kind)
def test_known_names_are_those_of_the_source(opened, tmp_path):
    assert open_source(opened, place(tmp_path)).classes == known_names(opened)


def test_known_names_are_torchvisions():
    from torchvision.datasets import MNIST, FashionMNIST

    assert known_names(source("mnist")) == tuple(MNIST.classes)
    assert known_names(source("fashionmnist")) == tuple(FashionMNIST.classes)


@pytest.mark.parametrize(("kind", "number"), KINDS.items())
def test_more_classes_than_a_source_has_are_refused_and_as_many_are_not(kind, number):
    check(of(kind, classes=number))
    wrong = f"^sources.mine.classes: {number + 1} classes are asked for, the source has {number}\\.$"
    with pytest.raises(InputError, match=wrong):
        check(of(kind, classes=number + 1))


def test_a_folder_may_have_any_classes():
    check(source("imagefolder", classes=5000))
    check(source("imagefolder", classes=["ant", "bee"]))


@pytest.mark.parametrize(
    ("kind", "known", "unknown", "hint"),
    [
        ("digits", ["3", "7"], ["3", "10"], "'10' is unknown. Did you mean '1'"),
        ("glyphs", ["glyph00", "glyph02"], ["glyph00", "glyph03"], "'glyph03' is unknown. Did you mean"),
        (
            "mnist",
            ["3 - three", "0 - zero"],
            ["3 - three", "three"],
            "'three' is unknown. Did you mean '3 - ",
        ),
        ("fashionmnist", ["Bag", "Coat"], ["Bag", "Cost"], "'Cost' is unknown. Did you mean 'Coat'"),
        ("cifar10", ["ship", "truck"], ["ship", "car"], "'car' is unknown. Did you mean 'cat'"),
    ],
)
def test_a_class_that_a_source_does_not_have_is_refused(kind, known, unknown, hint):
    check(of(kind, classes=known))
    with pytest.raises(InputError, match=f"^sources.mine.classes: {hint}"):
        check(of(kind, classes=unknown))


def test_of_names_that_stand_in_files_the_number_is_checked():
    check(source("imagenette", classes=[f"n{number}" for number in range(10)]))
    with pytest.raises(InputError, match="11 classes are asked for, the source has 10"):
        check(source("imagenette", classes=[f"n{number}" for number in range(11)]))


@pytest.mark.parametrize(("classes", "found"), [(["a", "a"], "found a, a"), ([], "found none")])
def test_one_class_is_no_choice_in_any_source(classes, found):
    with pytest.raises(InputError, match=f"at least 2 different classes are needed, {found}"):
        check(source("imagefolder", classes=classes))
