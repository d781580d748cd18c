import json

from videogpa.report.charts import Point, curves, scatter


def axes(*points: tuple[float, float]) -> tuple[object, object]:
    figure = json.loads(scatter({"ok": [Point("a", x, y, "") for x, y in points]}, x="flow", y="loo_error"))
    return figure["layout"]["xaxis"].get("range"), figure["layout"]["yaxis"].get("range")


def test_a_single_clip_stands_in_the_middle_of_axes_that_begin_at_zero() -> None:
    assert axes((0.02, 0.1)) == ([0, 0.04], [0, 0.2])
    assert axes((0.0, 0.1)) == ([-0.01, 0.01], [0, 0.2])  # a frozen clip
    assert axes((0.02, 0.1), (0.03, 0.1)) == (None, [0, 0.2])
    assert axes((0.02, 0.1), (0.03, 0.2)) == (None, None)


def test_a_curve_of_one_step_is_a_point() -> None:
    figure = json.loads(curves({"one": ([0], [0.5]), "two": ([0, 1], [0.5, 0.4])}, reference=None))
    assert [trace["mode"] for trace in figure["data"]] == ["markers", "lines"]
