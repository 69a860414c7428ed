"""Whether a run, a split or an item of a study can play its role in a claim. Messages say what would do."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping

from pipeline.claims.claim import Needs
from pipeline.config import Params, Run
from pipeline.errors import InputError


def check_role(params: Params, where: str, key: str, needs: Needs) -> None:
    """Raise `InputError` unless the item `key` has what a role needs."""
    if needs.study:
        _check_study_item(params, where, key, needs)
        return
    if needs.kind == "split":
        _check_split(params, where, key)
        return
    if key not in params.run_names:
        found = "a split" if key in params.splits else "an item of a study"
        raise InputError(
            f"{where}: '{key}' is {found}; this role needs a run, for example one on its examples "
            f"(variant: {key}.{needs.view or 'easy'})."
        )
    _check_kind(where, key, params.named_run(key), needs)
    _check_data(params, where, key, needs)
    if needs.measured_on:
        _check_measure(params, where, key, needs)


def _check_split(params: Params, where: str, key: str) -> None:
    if key not in params.splits:
        found = "a run" if key in params.run_names else "an item of a study"
        raise InputError(f"{where}: '{key}' is {found}; this role needs a split. {_known(params.splits)}")
    if params.splits[key].fits is None:
        raise InputError(
            f"{where}: split '{key}' fits no single examples. Add splits.{key}.fits, for example "
            "{examples: 50, lr: 0.1}."
        )


def _check_study_item(params: Params, where: str, key: str, needs: Needs) -> None:
    items = params.items_of(needs.study)
    if key not in items:
        raise InputError(f"{where}: '{key}' is no key of {needs.study}; this role needs one. {_known(items)}")
    wrong = needs.wrong(items[key])
    if wrong:
        raise InputError(f"{where}: {needs.study}.{key} {wrong}.")


def _check_kind(where: str, key: str, run: Run, needs: Needs) -> None:
    if needs.kind == "varied" and not run.vary:
        raise InputError(
            f"{where}: run '{key}' stands alone; this role needs one that varies. Add runs.{key}.vary: a "
            "name for each point, and the keys in which it differs."
        )
    if needs.kind == "run" and run.vary:
        raise InputError(
            f"{where}: run '{key}' varies, and stands for several; this role needs one. Write the point that "
            "is meant as a run of its own."
        )


def _check_data(params: Params, where: str, key: str, needs: Needs) -> None:
    run = params.named_run(key)
    if needs.view is not None and run.variant.partition(".")[2] != needs.view:
        views = [view for view in params.views if view.endswith(f".{needs.view}")]
        raise InputError(
            f"{where}: run '{key}' trains on '{run.variant}'; this role needs the {needs.view} examples of a "
            f"split, as variant SPLIT.{needs.view}. {_known(views)}"
        )
    variant = params.variant_of(run)
    noise = params.variants[variant].noise_labels
    if needs.noise_labels is not None and noise != needs.noise_labels:
        raise InputError(
            f"{where}: run '{key}' trains on '{variant}' with noise_labels {noise:g}; this role needs "
            f"{needs.noise_labels:g}."
        )


def _check_measure(params: Params, where: str, key: str, needs: Needs) -> None:
    if key not in params.measures:
        raise InputError(f"{where}: run '{key}' is not measured. Add measures.{key}.")
    measure, split = params.measures[key], needs.measured_on
    if split not in measure.splits:
        kind = "training" if split == "train" else split
        raise InputError(f"{where}: M is read on {kind} examples. Add '{split}' to measures.{key}.splits.")
    if needs.gsnr and not measure.gsnr:
        raise InputError(f"{where}: this role reads GSNR. Add gsnr: true to measures.{key}.")
    missing = [subset for subset in needs.subsets if subset not in measure.subsets]
    if missing:
        raise InputError(
            f"{where}: M is read on the {' and the '.join(needs.subsets)} examples apart. Add "
            f"{' and '.join(missing)} to measures.{key}.subsets."
        )


def check_points(params: Params, claim: str, where: str, roles: Mapping[str, str]) -> None:
    """Raise `InputError` unless the items of a claim, each of which fits its role by itself, fit together."""
    check = GRIDS.get(claim)
    if check:
        check(params, where, roles)


def _percents(params: Params, where: str, roles: Mapping[str, str]) -> None:
    """CG-3: every point is winsorised, no c comes twice, and all runs have the same smallest and largest."""
    ends = {}
    for role, key in roles.items():
        points = params.named_run(key).points()
        for name, point in points.items():
            if point.aggregation != "winsorized":
                raise InputError(
                    f"{where}.{role}: point '{name}' of run '{key}' has aggregation '{point.aggregation}'. "
                    "This claim is about winsorized (with winsorize_percent: 0 for the plain mean)."
                )
        percents = [point.winsorize_percent for point in points.values()]
        _no_twins(f"{where}.{role}", key, "winsorize_percent", percents)
        ends[role] = (min(percents), max(percents))
    first = next(iter(ends))
    for role, found in ends.items():
        if found != ends[first]:
            raise InputError(
                f"{where}: winsorize_percent goes from {ends[first][0]:g} to {ends[first][1]:g} in run "
                f"'{roles[first]}' and from {found[0]:g} to {found[1]:g} in '{roles[role]}'. Give them one "
                "grid."
            )


def _one_split(params: Params, where: str, roles: Mapping[str, str]) -> None:
    """CG-5: the runs are on views of one and the same split."""
    splits = {role: params.named_run(key).variant.partition(".")[0] for role, key in roles.items()}
    first = next(iter(splits))
    for role, split in splits.items():
        if split != splits[first]:
            raise InputError(
                f"{where}: {first} is on split '{splits[first]}' and {role} on '{split}'. Name runs on views "
                "of one split."
            )


def _noisy(params: Params, where: str, roles: Mapping[str, str]) -> None:
    """CG-7: there is a corrupt half, whose labels are noise."""
    variant = params.variant_of(params.named_run(roles["run"]))
    if not params.variants[variant].noise_labels:
        raise InputError(
            f"{where}.run: run '{roles['run']}' trains on '{variant}', whose labels are all pristine. Name "
            "one on a variant with noise_labels, for example 0.5."
        )


def _sizes_and_rates(params: Params, where: str, roles: Mapping[str, str]) -> None:
    """CG-9: a mean and a median at each of several micro-batch sizes; medians at several learning rates."""
    key = roles["sizes"]
    points = params.named_run(key).points().values()
    found = Counter((point.micro_batch_size, point.takes_median) for point in points)
    sizes = sorted({size for size, _ in found})
    for size in sizes:
        means, medians = found[size, False], found[size, True]
        if (means, medians) != (1, 1):
            raise InputError(
                f"{where}.sizes: run '{key}' has {means} points of a mean and {medians} of a median with "
                f"micro-batches of {size} (batch_size over micro_batches). Give each size one a3 and one m3."
            )
    if len(sizes) < 2:
        raise InputError(
            f"{where}.sizes: run '{key}' has micro-batches of {sizes[0]} only. Vary batch_size, which is "
            "three times the micro-batch with a3 and m3."
        )
    if "rates" in roles:
        _rates(params, f"{where}.rates", roles["rates"])


def _rates(params: Params, where: str, key: str) -> None:
    points = params.named_run(key).points()
    for name, point in points.items():
        if not point.takes_median:
            raise InputError(
                f"{where}: point '{name}' of run '{key}' has aggregation '{point.aggregation}'. This role "
                "needs m3 or median at every point."
            )
    _no_twins(where, key, "lr", [point.lr for point in points.values()])


def _no_twins(where: str, key: str, field: str, values: list[float]) -> None:
    """Several values of what varies, each of them once."""
    twins = [value for value, count in Counter(values).items() if count > 1]
    if twins:
        raise InputError(f"{where}: two points of run '{key}' have {field} {twins[0]:g}. Give each its own.")
    if len(values) < 2:
        raise InputError(f"{where}: run '{key}' has one point; a comparison over {field} needs at least two.")


def _known(names: Collection[str]) -> str:
    return f"There {'are' if names else 'is none yet'}{' ' if names else ''}{', '.join(names)}."


GRIDS: dict[str, Callable[[Params, str, Mapping[str, str]], None]] = {
    "CG-3": _percents,
    "CG-5": _one_split,
    "CG-7": _noisy,
    "CG-9": _sizes_and_rates,
}
