"""What is told of an evaluation: the interval of AP, the best confidences, the worst pictures."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from ghostyolo.evaluate import CocoEvaluator, EvaluationResult, ImageDetections
from ghostyolo.evaluate.interval import _mean_ap, _sheets, ap_interval
from ghostyolo.evaluate.report import Report, print_report
from ghostyolo.evaluate.worst_pictures import judge, write_worst_pictures
from tests.evaluate.scenes import load_fake_image, random_split, record

NAMES = ["red", "green", "blue", "grey"]
LEFT, MIDDLE, FAR = [0, 0, 100, 100], [200, 0, 300, 100], [400, 0, 500, 100]


def evaluated(records, detections, names=NAMES) -> EvaluationResult:
    evaluator = CocoEvaluator(names)
    for truth, found in zip(records, detections, strict=True):
        evaluator.add(truth, found)
    return EvaluationResult(evaluator.compute(), list(names), list(records), list(detections), [], 0.0)


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_s_ap_is_that_of_coco_where_each_picture_counts_once(seed):
    records, detections = random_split(np.random.default_rng(seed))
    ap = _mean_ap(_sheets(records, detections, len(NAMES)), np.ones(len(records), dtype=np.int64))
    assert ap == pytest.approx(evaluated(records, detections).metrics.AP, abs=1e-6)


def test_the_interval_holds_ap_and_is_narrower_for_more_pictures():
    records, detections = random_split(np.random.default_rng(0), images=20)
    many_records, many_detections = random_split(np.random.default_rng(0), images=80)
    low, high = ap_interval(records, detections, 4, draws=60)
    assert low < evaluated(records, detections).metrics.AP < high
    assert ap_interval(records, detections, 4, draws=60) == (low, high)  # the same each time
    narrow = ap_interval(many_records, many_detections, 4, draws=60)
    assert narrow[1] - narrow[0] < 0.8 * (high - low)


def test_few_pictures_and_no_objects_have_no_interval():
    records, detections = random_split(np.random.default_rng(0), images=4)
    assert ap_interval(records, detections, 4) is None
    nothing = [record(image_id=number) for number in range(9)]
    assert ap_interval(nothing, [ImageDetections.empty()] * 9, 4) is None


def two_pictures() -> EvaluationResult:
    """Red: right at 0.9 and 0.6, wrong at 0.3. Green: right at 0.2, one missed."""
    records = [record([LEFT, MIDDLE], [0, 1], image_id=1), record([LEFT, MIDDLE], [0, 1], image_id=2)]
    detections = [
        ImageDetections.from_arrays([LEFT, MIDDLE, FAR], [0.9, 0.2, 0.3], [0, 1, 0]),
        ImageDetections.from_arrays([LEFT], [0.6], [0]),
    ]
    return evaluated(records, detections, ["red", "green", "blue"])


def test_each_class_has_its_best_confidence_in_the_middle_of_where_it_holds():
    report = Report.of(two_pictures())
    red, green = report.best.per_class["red"], report.best.per_class["green"]
    assert (red.precision, red.recall, red.f1) == (1, 1, 1)
    assert red.confidence == pytest.approx(0.45, abs=0.002)  # between the wrong one at 0.3 and the right one at 0.6
    assert (green.precision, green.recall) == (1, 0.5)
    assert green.confidence == pytest.approx(0.1, abs=0.002)
    assert "blue" not in report.best.per_class  # no objects
    remembered = report.best.confidences()
    assert remembered.per_class == {"red": red.confidence, "green": green.confidence}
    assert remembered.overall == report.best.overall.confidence


def test_a_class_that_is_never_found_takes_the_confidence_of_all():
    records = [record([LEFT, MIDDLE], [0, 1], image_id=1)]
    best = Report.of(evaluated(records, [ImageDetections.from_arrays([LEFT], [0.8], [0])], ["red", "green"])).best
    assert best.per_class["green"].confidence == best.overall.confidence == pytest.approx(0.4, abs=0.002)
    assert list(best.confidences().per_class) == ["red"]


def test_the_report_is_the_metrics_and_more():
    values = Report.of(two_pictures()).to_json()
    assert values["AP"] == pytest.approx(two_pictures().metrics.AP)
    assert values["AP_interval"] is None
    assert values["best"]["f1"] == pytest.approx((2 * 2 / (3 + 2) + 2 / 3) / 2)
    assert set(values["per_class"]["red"]) == {"AP", "AP50", "precision", "recall", "f1", "confidence"}
    assert values["per_class"]["blue"]["f1"] is None


def test_the_table_fits_80_columns():
    text = io.StringIO()
    print_report(Console(file=text, width=80), Report.of(two_pictures()), "ghostyolo-n on cells, val")
    assert max(map(len, text.getvalue().splitlines()[:8])) <= 80
    assert re.search(r"red .*1\.000 │ 1\.000 │ 1\.000 │ 0\.4", text.getvalue())


def test_nothing_at_all_is_reported_too():
    report = Report.of(evaluated([record(image_id=1)], [ImageDetections.empty()]))
    assert (report.best.overall, report.best.confidences(), report.interval) == (None, None, None)
    print_report(Console(file=io.StringIO()), report, "nothing")


def test_mistakes_have_their_kinds():
    truth = record([LEFT, MIDDLE, FAR], [0, 1, 2])
    found = ImageDetections.from_arrays(
        [LEFT, LEFT, MIDDLE, [470, 0, 570, 100], [0, 300, 50, 350], [600, 300, 630, 350]],
        [0.9, 0.8, 0.7, 0.6, 0.5, 0.1],
        [0, 0, 0, 2, 1, 1],
    )
    picture = judge(truth, found, NAMES, np.full(4, 0.25))
    assert picture.counts == {"right": 1, "missed": 2, "double": 1, "class": 1, "place": 1, "false": 1}
    assert picture.error == pytest.approx(2 + 0.8 + 0.7 + 0.6 + 0.5)
    assert [mark.text for mark in picture.marks if mark.kind == "class"] == ["red 0.70 (is green)"]


def test_ignored_objects_and_boxes_on_them_are_no_mistakes():
    truth = record([LEFT], [0], [True])
    picture = judge(truth, ImageDetections.from_arrays([LEFT], [0.9], [0]), NAMES, np.zeros(4))
    assert (picture.marks, picture.error) == ([], 0)


class Sound(HTMLParser):
    """Counts tags and holds that they close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_shows_the_worst_first_and_needs_no_other_file(tmp_path):
    records = [record([LEFT], [0], image_id=n, path=f"<{n}>.jpg", width=64, height=48) for n in (1, 2, 3)]
    detections = [
        ImageDetections.from_arrays([LEFT], [0.9], [0]),
        ImageDetections.from_arrays([FAR], [0.7], [1]),
        ImageDetections.empty(),
    ]
    result = evaluated(records, detections, ["<red>", "green"])
    page = tmp_path / "new" / "worst.html"
    shown = write_worst_pictures(result, np.zeros(2), page, title="A & B", lines=["AP"], load_image=load_fake_image)
    assert shown == 2  # the first has no mistake
    text = page.read_text(encoding="utf-8")
    sound = Sound()
    sound.feed(text)
    assert sound.open == []
    assert sound.seen.count("figure") == 2
    assert re.findall(r"&lt;(\d)&gt;\.jpg</span>", text) == ["2", "3"]
    assert "A &amp; B" in text
    assert "&lt;red&gt;" in text
    assert "3 pictures, 1 of them without a mistake" in text
    assert not re.search(r"(src|href)=.(?!data:)", text)
    write_worst_pictures(result, np.zeros(2), page, title="A", pictures=1, load_image=load_fake_image)
    assert page.read_text(encoding="utf-8").count("<figure") == 1


def test_a_page_without_mistakes_says_so(tmp_path):
    result = evaluated([record([LEFT], [0])], [ImageDetections.from_arrays([LEFT], [0.9], [0])])
    assert write_worst_pictures(result, np.zeros(4), tmp_path / "p.html", title="t", load_image=load_fake_image) == 0
    assert "No picture has a mistake." in (tmp_path / "p.html").read_text()


def test_metrics_are_one_short_line():
    assert repr(two_pictures().metrics).startswith("Metrics(AP 0.")
    assert repr(two_pictures().metrics).endswith("; 2 images, 4 objects)")
    assert "AP -" in repr(evaluated([record(image_id=1)], [ImageDetections.empty()]).metrics)
