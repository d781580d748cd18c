"""The plots, as plotly's JSON. Their colours are set by the page's script, to fit a light or a dark page."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from videogpa.measures import MEASURES
from videogpa.text_files import printable


@dataclass(frozen=True)
class Point:
    """A clip in a scatter plot. A click on it scrolls to the element of the page whose id is `anchor`."""

    name: str
    x: float
    y: float
    anchor: str


def scatter(series: Mapping[str, Sequence[Point]], *, x: str, y: str) -> str:
    """Plot one measure against another.

    Args:
        series: Name -> points. Each series has a colour; the points of all but the first are hollow.
        x: The measure on the horizontal axis.
        y: The measure on the vertical axis.

    Returns:
        The plot as plotly's JSON.
    """
    x_name, y_name = MEASURES[x].label, MEASURES[y].label
    figure = go.Figure(layout=_layout(_axis_title(x), _axis_title(y)))
    everything = [point for points in series.values() for point in points]
    figure.update_xaxes(range=_range_of_single_value([point.x for point in everything]))
    figure.update_yaxes(range=_range_of_single_value([point.y for point in everything]))
    for number, (name, points) in enumerate(series.items()):
        figure.add_scatter(
            name=plain(name),
            mode="markers",
            x=[point.x for point in points],
            y=[point.y for point in points],
            text=[plain(point.name) for point in points],
            customdata=[point.anchor for point in points],
            marker={"size": 11, "symbol": "circle-open" if number else "circle", "line": {"width": 2 if number else 0}},
            hovertemplate=f"<b>%{{text}}</b><br>{y_name} %{{y:.4f}}<br>{x_name} %{{x:.4f}}<extra></extra>",
        )
    return str(figure.to_json())


def curves(lines: Mapping[str, tuple[Sequence[int], Sequence[float]]], *, reference: float | None) -> str:
    """Plot quantities against the training step.

    Args:
        lines: Name -> steps and values.
        reference: Where to draw a dotted line, the value while the policy equals its reference; None for no line.

    Returns:
        The plot as plotly's JSON.
    """
    figure = go.Figure(layout=_layout("step", ""))
    for name, (steps, values) in lines.items():
        mode = "lines" if len(steps) > 1 else "markers"  # a line through a single point would be invisible
        figure.add_scatter(name=plain(name), mode=mode, x=list(steps), y=list(values), line={"width": 2})
    if reference is not None:
        figure.add_hline(y=reference, line={"dash": "dot", "width": 1, "color": "grey"})
    return str(figure.to_json())


def plain(name: str) -> str:
    """Return a name that plotly shows as it is: it reads texts as markup, in which a name could be a link."""
    return html.escape(printable(name, line=True), quote=False)


def _range_of_single_value(values: Sequence[float]) -> list[float] | None:
    """Return the range of an axis whose values are all equal; plotly would choose one of -1 to 1. None for different values."""
    if not values or min(values) < max(values):
        return None
    return sorted([0.0, 2 * values[0]]) if values[0] else [-0.01, 0.01]


def _layout(x: str, y: str) -> go.Layout:
    return go.Layout(
        template="none",
        xaxis={"title": {"text": x}, "zeroline": False, "automargin": True},
        yaxis={"title": {"text": y}, "zeroline": False, "automargin": True},
        margin={"l": 60, "r": 16, "t": 16, "b": 52},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        showlegend=None,
    )


def _axis_title(measure: str) -> str:
    described = MEASURES[measure]
    unit = f", {described.unit}" if described.unit else ""
    better = f" ({described.better} is better)" if described.better else ""
    return f"{described.label}{unit}{better}"
