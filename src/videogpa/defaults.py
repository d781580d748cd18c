"""What recipes, the command line and the Python interface share: the defaults of scoring, and how settings are given.

Light to import: `--help` shows the defaults. The paper (arXiv 2601.23286) judges 10 frames; its LPIPS is `vgg`, which does not
ship with the package.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

CRITIC = "sfm"
FRAMES = 10
WINDOW = 32
OVERLAP = 8
ANCHORS = 64
LPIPS_NET: Literal["alex", "vgg"] = "alex"

Reading = Literal["static", "dynamic"]
"""How a clip's scene is read: whether whatever moves is broken, or may move."""

Overlays = Literal["leave_out", "keep"]
"""What is done with bars, logos, subtitles and watermarks that are found burnt into a clip."""

Cuts = Literal["decline", "keep"]
"""What is done with a clip that is cut to another shot, where the critic does not find cuts itself."""

Settings = Mapping[str, Any] | Sequence[str]
"""Settings by name: `{"train.steps": 20}`, or as on the command line, `["train.steps=20"]`, with values in YAML."""
