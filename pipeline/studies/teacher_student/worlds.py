"""The worlds that students live in: Gaussian inputs and drawn teachers, or images and a trained teacher."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.teacher_student import Networks, NotAChainError, from_chain, stacked
from pipeline.config import Students, TeacherStudent
from pipeline.errors import InputError
from pipeline.studies.teacher_student.feeds import (
    Endless,
    Kept,
    Standardise,
    answers,
    as_they_are,
    gaussian,
    to_unit,
)
from pipeline.studies.teacher_student.study import SeedsTask, World, run_seeds
from pipeline.studies.teacher_student.teachers import draw_teachers, drawn_plan
from pipeline.workers import Report

ENDLESS = "endless"
CALIBRATION = 4096  # examples of their own that outputs are standardised by


def run_drawn(task: SeedsTask, report: Report) -> None:
    """A task of an item with drawn teachers; a worker's function."""
    run_seeds(task, gaussian_world(task), report)


def gaussian_world(task: SeedsTask) -> World:
    """A teacher for each seed, and a stream of Gaussian inputs for each seed."""
    spec, device = task.spec, torch.device(task.device)
    teachers = stacked([draw_teachers(drawn_plan(spec), task.root_seed, task.seeds)], device)
    shape = teachers.plan.input_shape

    def inputs(name: str, number: int) -> Tensor:
        drawn = gaussian(task.root_seed, task.seeds, (name,), (number, *shape), spec.input_deviation)
        return drawn.to(device)

    feeds: dict[str, Any] = {ENDLESS: Endless(teachers, task.root_seed, task.seeds, spec.input_deviation)}
    for point in spec.points().values():
        if point.examples is not None and _feed_of(point) not in feeds:
            kept = inputs("kept", point.examples)
            feeds[_feed_of(point)] = Kept(kept, answers(teachers, kept), task.root_seed, task.seeds)
    scaling = as_they_are if not spec.standardise else to_unit
    return World(
        teachers=teachers,
        feeds=feeds,
        feed_of=_feed_of,
        standardise=scaling(answers(teachers, inputs("calibration", CALIBRATION))),
        test_inputs=inputs("evaluation", spec.evaluation_examples),
        test_labels=None,
        steps_per_epoch=spec.epoch_examples // spec.batch_size,
    )


def _feed_of(point: TeacherStudent) -> str:
    return ENDLESS if point.examples is None else f"kept-{point.examples}"


@dataclass(frozen=True)
class ImagesTask(SeedsTask):
    """A task of an item with a trained teacher."""

    train: Any  # pipeline.datasets.Split
    test: Any
    weights: Path
    model: dict[str, Any]  # name and options


def run_trained(task: ImagesTask, report: Report) -> None:
    """A task of an item with a trained teacher; a worker's function."""
    run_seeds(task, image_world(task), report)


def image_world(task: ImagesTask) -> World:
    """The teacher that all seeds share, and its images in an order of each seed's own."""
    device, count = torch.device(task.device), task.spec.evaluation_examples
    teachers = stacked([load_teacher(task)], device)
    inputs = _images(task.train, task.train.num_examples, device, teachers)
    tests = _images(task.test, min(count, task.test.num_examples), device, teachers)
    outputs = answers(teachers, inputs)
    scaling: Standardise = (to_unit if task.spec.standardise else as_they_are)(outputs)
    return World(
        teachers=teachers,
        feeds={ENDLESS: Kept(inputs, outputs, task.root_seed, task.seeds)},
        feed_of=_always,
        standardise=scaling,
        test_inputs=tests,
        test_labels=torch.from_numpy(task.test.labels[: tests.shape[1]]).to(device),
        steps_per_epoch=task.train.num_examples // task.spec.batch_size,
    )


def _always(point: Students) -> str:
    return ENDLESS


def _images(split: Any, number: int, device: torch.device, teachers: Networks) -> Tensor:
    """The first images of a split, `(1, number, ...)`, flat where the network begins with a dense layer."""
    batches = [batch.inputs for batch in split.batches(np.arange(number), 256)]
    inputs = torch.cat(batches).to(device)[None]
    return inputs if teachers.plan.hidden[0].kernel else inputs.flatten(2)


def load_teacher(task: ImagesTask) -> Networks:
    """The trained network as a batch of one. Raises `InputError` where weights or shape will not do."""
    from models import build

    model = build(task.model["name"], task.model["options"], task.train.input_shape, task.train.num_classes)
    try:
        model.load_state_dict(torch.load(task.weights, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, ValueError) as error:
        what = str(error).splitlines()[0]
        raise InputError(
            f"{task.weights}: is no state dict of model '{task.model['name']}' for images of "
            f"{task.train.input_shape} and {task.train.num_classes} classes ({what}). Name the model "
            f"that the weights "
            "are of, or train the run again."
        ) from error
    try:
        return from_chain(model, task.train.input_shape)
    except NotAChainError as error:
        raise InputError(
            f"model '{task.model['name']}' cannot be a teacher: {error}. Use mlp or cnn, with or "
            f"without batch_norm."
        ) from error
