"""Writes a page as one HTML file that contains its styles, scripts, plots and pictures."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from videogpa.measures import MEASURES
from videogpa.storage.files import write_text
from videogpa.text_files import printable

DIRECTIONS = {"lower": "lower is better", "higher": "higher is better", None: "neither direction is better"}

_SCRIPTS = ("charts.js", "table.js", "player.js", "space.js")  # the table's before the players', which it puts into its order

# Decimals are fixed per measure, so that the decimal points of a column are aligned. All other measures have four.
_DECIMALS = {"psnr": 2, "seconds": 1, "points": 0, "registered": 0, "loo_coverage": 3, "epipolar": 3, "focal_widths": 2}


def write_page(path: Path, template: str, *, linked: bool = False, scripts: Sequence[str] = _SCRIPTS, **content: Any) -> None:
    """Render a template of this package into one self-contained file, atomically. The same content gives the same bytes.

    Args:
        path: The HTML file to write.
        template: The name of the template, in report/templates.
        linked: Whether the page may load pictures and videos from its own folder, besides those that it contains.
        scripts: The names of its scripts, in report/templates.
        **content: The template's variables.
    """
    environment = Environment(
        loader=PackageLoader("videogpa.report"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["signed"] = signed
    environment.filters["picture"] = picture
    environment.filters["embedded"] = embedded
    plotly, sources = Markup(get_plotlyjs()), [Markup(_source(environment, name)) for name in scripts]
    allowed = Markup(" ".join(map(_hash, [plotly, *sources])))
    media = Markup("data: 'self'" if linked else "data:")
    page = {"plotly": plotly, "scripts": sources, "allowed_scripts": allowed, "allowed_media": media, "linked": linked}
    shared = {"measures": MEASURES, "directions": DIRECTIONS, **page}
    write_text(path, environment.get_template(template).render(**shared, **content))


def _source(environment: Environment, name: str) -> str:
    source, _, _ = environment.loader.get_source(environment, name) if environment.loader else ("", None, None)
    return source


def _hash(script: str) -> str:
    """Return the name of a script in a Content-Security-Policy: no other one runs, whatever a name or a prompt holds."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _shown(value: Any) -> Any:
    """Return what an expression of a template shows: control characters of names as escapes. Markup is escaped after it."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def number(value: float | None, measure: str) -> str:
    """Format a value of a measure; a dash if it was not measured."""
    return "–" if value is None else f"{value:.{_DECIMALS.get(measure, 4)}f}"


def signed(value: float, measure: str) -> str:
    """Format a change of a measure, with its sign."""
    return f"{value:+.{_DECIMALS.get(measure, 4)}f}".replace("-", "−")


def picture(jpeg: bytes) -> str:
    """Return a JPEG as a data URI."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def embedded(json: str) -> Markup:
    """Escape JSON for use inside a script element, since names of clips may contain markup."""
    return Markup(json.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
