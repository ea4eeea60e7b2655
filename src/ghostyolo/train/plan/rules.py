"""The rules of a plan: fingerprints of data and machine in, settings out.

Each rule is a function with what it rests on: a measurement with its script or page, or, where there is none, an
argument that is called one. What is given is never overruled, and later rules go by it. What follows from the number of
optimiser steps alone (rate, accumulation, the average's ramp, warm-up) is the schedule's: ``train/schedule.py``. CPU
threads are chosen at each start, by what else runs then: ``train/threads.py``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from ghostyolo.data.balance import repeat_factors_of
from ghostyolo.data.fingerprint import DataFingerprint
from ghostyolo.train.plan.machine import Machine
from ghostyolo.train.plan.plan import Plan
from ghostyolo.train.recipe import TrainRecipe

MODEL = "ghostyolo-n"

# docs/design/family.md, full trainings: BCCD has 0.58 after 1,300 steps of 16 pictures and NEU-DET 0.387 after 4,500;
# benchmarks/small_sets.py: 120 steps have 23.3 AP where 390 have 30.2.
ENOUGH_STEPS, LEAST_STEPS = 4000, 1000
LEAST_EPOCHS, MOST_EPOCHS = 30, 600
USUAL_VALIDATIONS = 30
USUAL_MINUTES = 30.0  # on a CPU; what a person waits for

# Training a picture takes a core so long, and so much longer for each 1e9 multiply-accumulates of the folded network,
# validation included: ghostyolo-n on one thread takes 58 ms on BCCD at 320 px and 25 ms on NEU-DET at 224 px
# (results/accuracy.json); the share that does not grow is of steps at 128 to 320 px, by hand.
SECONDS_A_PICTURE, SECONDS_PER_GMAC = 0.004, 0.18
CORES_GAIN = 0.8  # of several threads: cores ** 0.8; assumed

STEP = 32
LEAST_SIDE, USUAL_LEAST_SIDE, MOST_SIDE = 128, 224, 640


@dataclass(frozen=True)
class NetworkFacts:
    """What rules need to know of the network.

    Attributes:
        stride: sizes are multiples of it.
        gmacs_640: 1e9 multiply-accumulates of a picture of 640 px, folded; None: they cannot be counted.
    """

    stride: int
    gmacs_640: float | None

    def gmacs(self, imgsz: int) -> float:
        """1e9 multiply-accumulates of a picture of a side."""
        return (self.gmacs_640 or 1.0) * (imgsz / 640) ** 2


def usual_network(plan: Plan) -> str:
    """ghostyolo-n.

    It is ahead of the released nano detectors on both sets that these were trained on beside it, in 0.4 of their time
    (docs/design/family.md).
    """
    plan.choose("model", MODEL, "the most accurate of the small ones; --target-ms chooses by time")
    return MODEL


def branches(plan: Plan) -> None:
    """One branch in the place of three.

    At the rate that it allows it is not behind, in two thirds of the time.

    BCCD, 100 epochs: 0.587 and 0.573 (docs/design/family.md).
    """
    plan.choose("branches", 1, "as accurate as three in two thirds of the time", shown=False)


@dataclass(frozen=True)
class Pace:
    """How long training takes.

    Attributes:
        pictures: shown in an epoch.
        train, val: seconds of a picture in training and in validation.
    """

    pictures: int
    train: float
    val: float


Measure = Callable[[TrainRecipe], Pace]
Shown = Callable[[TrainRecipe], int]


def plan_training(
    plan: Plan, data: DataFingerprint, machine: Machine, network: NetworkFacts, shown: Shown, measure: Measure
) -> None:
    """Choose everything but the network.

    The order is one in which each rule finds what it goes by.

    Args:
        shown: pictures of an epoch of a recipe.
        measure: the pace of a recipe; asked only where minutes are given.
    """
    batch(plan, data)
    imgsz(plan, data, machine, network)
    scales(plan, data)
    flips(plan, data)
    colours(plan, data)
    rare_classes(plan, data)
    reading(plan, data, machine)
    if plan.asked.minutes is None:
        epochs(plan, shown(plan.recipe()), machine, network)
    else:
        epochs_in_time(plan, data.val_pictures, measure)
    mosaic(plan, shown(plan.recipe()))
    validation(plan)
    note_copies(plan, data)


def batch(plan: Plan, data: DataFingerprint) -> None:
    """Sixteen pictures, half of them where an epoch would be a few steps.

    What a small set lacks is steps of the optimiser, not passes (docs/train.md). Fewer than eight would leave a mosaic
    no choice of partners.
    """
    few = data.pictures < 128
    reason = "small steps, since there are few pictures" if few else "the batch that the rates were measured with"
    plan.choose("batch", 8 if few else 16, reason)


def imgsz(plan: Plan, data: DataFingerprint, machine: Machine, network: NetworkFacts) -> None:
    """A size that shows the boxes, and leaves the run its steps.

    Wanted are 16 px for all but the smallest tenth of the boxes and 48 px for the median one: at stride 8 that is two
    and six cells. They lead to the sizes that were measured, 320 px on BCCD and 224 px on NEU-DET. Enlarging pictures
    by more than a tenth shows nothing new. Where time is short, steps come before pixels, down to 6 px of a small box.
    """
    if "imgsz" in plan.choices:  # by the time that a picture may take
        return
    step = math.lcm(STEP, network.stride)
    side, why = wanted_imgsz(data, step)
    affordable = _affordable_side(plan, machine, network, step)
    if affordable is not None and affordable < side:
        legible = _round_up(6 / data.small_box, step) if data.small_box else LEAST_SIDE
        smaller = min(side, max(affordable, legible, LEAST_SIDE))
        if smaller < side:
            side, why = smaller, f"{side} px would leave too few steps in {_minutes(plan):g} minutes"
    plan.choose("imgsz", side, f"{why}; the median box has {data.median_box * side:.0f} px")


def wanted_imgsz(data: DataFingerprint, step: int) -> tuple[int, str]:
    """Return the size that the data want, and why.

    It is a multiple of ``step``, however long it takes."""
    wanted, why = _wanted_side(data)
    largest = max(step, round(data.long_side * 1.1 / step) * step)
    side = min(_round_up(wanted, step), largest, max(step, MOST_SIDE))
    if side < wanted - step:
        why = f"the pictures have {data.long_side:.0f} px" if largest < MOST_SIDE else "larger ones take too long"
    return side, why


def _wanted_side(data: DataFingerprint) -> tuple[float, str]:
    if not data.small_box or not data.median_box:
        return USUAL_LEAST_SIDE, "there are no boxes to go by"
    by_small, by_median = 16 / data.small_box, 48 / data.median_box
    wanted = max(by_small, by_median)
    if wanted <= USUAL_LEAST_SIDE:
        return USUAL_LEAST_SIDE, "boxes are large"
    return wanted, "a small box has 16 px" if by_small > by_median else "a usual box has 48 px"


def _affordable_side(plan: Plan, machine: Machine, network: NetworkFacts, step: int) -> int | None:
    """The largest side at which a run of the least number of steps ends in time; None: any."""
    if machine.gpu is not None or plan.given("epochs"):
        return None
    pictures = LEAST_STEPS * plan.choices["batch"].value
    seconds = _minutes(plan) * 60 / pictures * _speed(plan, machine) - SECONDS_A_PICTURE
    return int(640 * math.sqrt(max(0.0, seconds) / SECONDS_PER_GMAC / network.gmacs(640)) / step) * step


def epochs(plan: Plan, pictures: int, machine: Machine, network: NetworkFacts) -> None:
    """As many as make 4,000 steps of the optimiser.

    On a CPU half an hour must have room for them.

    The estimate is a rule's, not a measurement's, so that the same data make the same run on the same machine;
    ``minutes`` measures. A large set gets 30 passes however long they take: fewer teach a fresh network little.
    """
    size, side = plan.choices["batch"].value, plan.choices["imgsz"].value
    steps_per_epoch = max(1, math.ceil(pictures / size))
    each = SECONDS_A_PICTURE + network.gmacs(side) * SECONDS_PER_GMAC
    seconds = pictures * each / _speed(plan, machine)
    count, reason = ENOUGH_STEPS / steps_per_epoch, "{steps} steps of the optimiser"
    if machine.gpu is None:
        in_time = USUAL_MINUTES * 60 / seconds
        if in_time < count:
            count, reason = in_time, "{steps} steps, what half an hour has room for"
        reason += "; about {minutes} min"
    if count < LEAST_EPOCHS:
        count, reason = LEAST_EPOCHS, "fewer passes teach little" + ("; about {minutes} min" * (machine.gpu is None))
    chosen = min(max(1, int(count)), MOST_EPOCHS)
    text = reason.format(steps=chosen * steps_per_epoch, minutes=math.ceil(chosen * seconds / 60))
    plan.choose("epochs", chosen, text)


def epochs_in_time(plan: Plan, val_pictures: int, measure: Measure) -> None:
    """As many as the minutes have room for.

    By the pace of a few real steps, so that the rate's cosine ends in time.

    A tenth of the time at most goes to validation. The one rule that measures: what it decides is stored in the run.
    """
    minutes = plan.asked.minutes or USUAL_MINUTES
    pace = measure(plan.recipe())
    epoch, validated = pace.pictures * pace.train, val_pictures * pace.val
    times = _clip(minutes * 6 / validated, 1, USUAL_VALIDATIONS) if validated else 1
    count = max(1, int((minutes * 60 - times * validated) / epoch))
    plan.choose("epochs", count, f"what {minutes:g} min have room for, {epoch:.1f} s each")
    plan.choose("val_every", max(1, math.ceil(count / times)), f"{times:.0f} times a run", shown=False)


def mosaic(plan: Plan, pictures: int) -> None:
    """A sixth of the run without mosaic.

    Also where that is more than the ten epochs of large sets.

    Ten epochs of 48 pictures are 30 steps. NEU-DET has 0.01 more with the last half without (docs/design/family.md);
    BCCD does not tell 3, 5 and 10 of 30 epochs apart (benchmarks/small_sets.py).
    """
    count = plan.choices["epochs"].value
    steps_per_epoch = max(1, math.ceil(pictures / plan.choices["batch"].value))
    last = min(round(count / 6), max(10, math.ceil(1000 / steps_per_epoch)))
    plan.choose("close_mosaic", last, f"the last {last} of {count} epochs see whole pictures")


def validation(plan: Plan) -> None:
    """About thirty times in a run, and no early end.

    The last steps, at a falling rate, are the ones that gain most.
    """
    if "val_every" not in plan.choices:
        every = max(1, plan.choices["epochs"].value // USUAL_VALIDATIONS)
        plan.choose("val_every", every, f"about {USUAL_VALIDATIONS} times a run", shown=False)
    plan.choose("patience", 0, "the rate falls to the end of the run, where AP rises most", shown=False)


def scales(plan: Plan, data: DataFingerprint) -> None:
    """As wide a range as classes have in the data.

    Where a class keeps its size, the camera keeps its distance, and a network need not learn what it never meets. On
    NEU-DET (a deviation of 0.36) 0.9 to 1.1 in the place of 0.5 to 1.5 is worth 0.03 (docs/design/family.md).
    """
    low, high = 0.35, 0.55
    share = _clip((data.size_spread - low) / (high - low), 0.0, 1.0)
    scale = round(0.1 + 0.4 * share, 2)
    spread = f"sizes within a class differ by {100 * (math.exp(data.size_spread) - 1):.0f} %"
    plan.choose("augment.scale", scale, f"zoom {1 - scale:g} to {1 + scale:g}, since {spread}")


def flips(plan: Plan, data: DataFingerprint) -> None:
    """No mirror images where a class's name says that it has a side.

    Nor where it is a sign that is read.

    An argument, not a measurement: the mirror image of "left" is another class, that of a digit is none.
    """
    sided = mirrored_classes(data.class_names)
    if sided:
        named = ", ".join(sided[:3]) + (", ..." if len(sided) > 3 else "")
        plan.choose("augment.fliplr", 0.0, f"mirror images are others: {named}")
    else:
        plan.choose("augment.fliplr", 0.5, "no class has a left and a right", shown=False)


_SIDES = re.compile(
    r"(?<!b)(?<!f)(?<!up)(?<!copy)(?<!out)right|(?<!c)left(?!over)|arrow|clockwise|(?<![a-z])turn"
    r"|links|rechts|gauche|droite|izquierd|derech|[左右]"
)


def mirrored_classes(names: list[str]) -> list[str]:
    """Classes whose mirror image is another one, or none.

    Left and right, arrows, single digits and letters.
    """
    return [name for name in names if re.fullmatch(r"\s*[^\W_]\s*", name) or _SIDES.search(name.lower())]


def colours(plan: Plan, data: DataFingerprint) -> None:
    """No changes of hue and saturation where there is none."""
    if data.grey:
        plan.choose("augment.hsv_h", 0.0, "the pictures are grey")
        plan.choose("augment.hsv_s", 0.0, "the pictures are grey", shown=False)


def rare_classes(plan: Plan, data: DataFingerprint) -> None:
    """Pictures of rare classes are shown more often.

    A class is rare that has less than a quarter of the usual number of pictures.

    Repeat-factor sampling, Gupta et al., 2019 (LVIS, arXiv 1908.03195, section 4.1), which gained 1 to 3 AP on rare
    classes there; not measured here. The threshold is the median share of pictures that a class is in.
    """
    shares = sorted(share for share in data.class_share if share)
    median = shares[len(shares) // 2] if shares else 0.0
    rare = [name for name, share in zip(data.class_names, data.class_share, strict=True) if 0 < share < median / 4]
    if rare:
        threshold = round(median, 4)
        most = repeat_factors_of(shares[0], threshold)
        named = ", ".join(rare[:3]) + (", ..." if len(rare) > 3 else "")
        plan.choose("sampling.repeat_threshold", threshold, f"up to {most:.1f} times as often: {named}")


def note_copies(plan: Plan, data: DataFingerprint) -> None:
    """Say that pictures are alike.

    No rule goes by it yet, for want of a measurement."""
    if data.val_copies:
        plan.notes.append(
            f"{data.val_copies} of {data.val_pictures} val pictures have a near-duplicate in train, or are of its "
            "video: AP flatters; ghostyolo data split keeps them apart"
        )
    if data.copies and data.copies > data.pictures / 4:
        plan.notes.append(f"{data.copies} of {data.pictures} training pictures are copies or frames of others")


def reading(plan: Plan, data: DataFingerprint, machine: Machine) -> None:
    """Pictures stay in memory where they fit into half of it.

    Else other processes read them.
    """
    side = plan.choices["imgsz"].value
    needed = data.pictures * side * side * plan.asked.channels / 2**30
    fits = machine.free_gib is None or needed <= machine.free_gib / 2
    size = f"{needed:.1f} GiB" if needed >= 1 else f"{1024 * needed:.0f} MiB"
    plan.choose("cache", "ram", f"all pictures take {size}" if fits else "as many as fit", shown=False)
    helpers = 0 if fits else min(8, machine.cores - 1)
    reason = "pictures come from memory" if fits else f"pictures take {size} and are read in every epoch"
    plan.choose("workers", helpers, reason, shown=not fits)
    plan.choose("channels_last", True, "the layout that the recipes were measured with", shown=False)


def _minutes(plan: Plan) -> float:
    return plan.asked.minutes or USUAL_MINUTES


def _speed(plan: Plan, machine: Machine) -> float:
    """How many times as fast as one core, on a machine that does nothing else: the same run each time."""
    cores = plan.asked.threads or machine.cores
    return float(cores**CORES_GAIN)


def _round_up(value: float, step: int) -> int:
    return math.ceil(value / step) * step


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
