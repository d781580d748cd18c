"""Critics, judges and video models by name. A plug-in is imported only when it is asked for.

The plug-ins of this package stand in the tables below; to add one, write its file and one entry here. Any other package adds
its own as entry points of the groups `videogpa.critics`, `videogpa.judges` and `videogpa.models`, in its pyproject.toml:

    [project.entry-points."videogpa.critics"]
    mine = "my_package.critic:MyCritic"

See docs/how-to/add-a-critic.md, docs/how-to/judges.md and docs/how-to/add-a-model.md.
"""

import inspect
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import ConfigDict, ValidationError, create_model

from videogpa.errors import UserError, problems

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plugin:
    """Where the class of a plug-in is found, and what is known of it without importing it."""

    target: str
    """`module:class`."""
    about: str
    """One sentence for `videogpa list`."""
    distribution: str | None = None
    """Name and version of the package that brought it; None for this one."""


class Registry(Mapping[str, Plugin]):
    """The plug-ins of one kind: those of this package, then those that other installed packages bring as entry points.

    Entry points are read when a name is not one of this package's, or when the names are listed.

    Args:
        group: The entry-point group in which other packages announce theirs.
        builtin: The plug-ins of this package.
        members: Attributes that a class from outside must have; what lacks one is refused.
    """

    def __init__(self, group: str, builtin: Mapping[str, Plugin], members: tuple[str, ...]) -> None:
        self.group = group
        self.members = members
        self._builtin = dict(builtin)

    def __getitem__(self, name: str) -> Plugin:
        return self._builtin[name] if name in self._builtin else self._outside[0][name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self._builtin, *self._outside[0]))

    def __len__(self) -> int:
        return len(self._builtin) + len(self._outside[0])

    def version_of(self, name: str) -> tuple[str, ...]:
        """Return name and version of the package that brought a plug-in; nothing for one of this package.

        It is part of the fingerprint of results, which another version may give differently.
        """
        brought_by = self[name].distribution
        return () if brought_by is None else (brought_by,)

    @property
    def refused(self) -> Mapping[str, str]:
        """Names that other packages announce and that cannot be used, with the reason."""
        return self._outside[1]

    @cached_property
    def _outside(self) -> tuple[dict[str, Plugin], dict[str, str]]:
        """The plug-ins of other packages, and the names that were refused. A name is given to one class or to none."""
        announced: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            announced.setdefault(point.name, []).append(point)
        found, refused = {}, {}
        for name, points in sorted(announced.items()):
            owners = " and ".join(sorted(_owner(point) for point in points))
            if name in self._builtin:
                refused[name] = f"{owners} announces {name!r} in {self.group}, which is a name of videogpa itself and stays so"
            elif len(points) > 1:
                refused[name] = f"{owners} both announce {name!r} in {self.group}: neither is used; uninstall one of them"
            else:
                summary = points[0].dist.metadata["Summary"] if points[0].dist and "Summary" in points[0].dist.metadata else ""
                found[name] = Plugin(points[0].value, summary, owners)
        for reason in refused.values():
            log.warning("plug-in refused: %s", reason)
        return found, refused


def _owner(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


CRITICS = Registry(
    "videogpa.critics",
    {
        "sfm": Plugin(
            "videogpa.critics.sfm:SfmCritic",
            "Structure from motion (COLMAP) and plane-sweep depth: no learned weights, runs on a CPU.",
        ),
        "vggt": Plugin(
            "videogpa.critics.vggt:VggtCritic",
            "VGGT, the paper's critic: cameras and depth of all frames in one pass of a network.",
        ),
        "da3": Plugin(
            "videogpa.critics.depth_anything:DepthAnythingCritic",
            "Depth Anything 3: cameras and depth of all frames in one pass of a network.",
        ),
        "oracle": Plugin(
            "videogpa.critics.oracle:OracleCritic",
            "The exact geometry of a synthetic scene: only for clips of `world:` prompts.",
        ),
        "mixed": Plugin(
            "videogpa.critics.mixed:MixedCritic",
            "Depth from one critic and cameras from another, for ablations.",
        ),
    },
    members=("CARDS", "frames_to_read", "reconstruct"),
)

JUDGES = Registry(
    "videogpa.judges",
    {
        "videoreward": Plugin(
            "videogpa.judges.videoreward.judge:VideoRewardJudge",
            "VideoAlign's reward: what people prefer in visual quality, motion and text.",
        ),
        "dino": Plugin(
            "videogpa.judges.dino:DinoJudge",
            "Subject consistency, VBench's rule: how alike the frames are to DINO.",
        ),
        "clip": Plugin(
            "videogpa.judges.clip:ClipJudge",
            "Background consistency, VBench's rule: how alike the frames are to CLIP.",
        ),
        "aesthetic": Plugin(
            "videogpa.judges.aesthetic:AestheticJudge",
            "Aesthetic quality, as in VBench: LAION's predictor, on CLIP.",
        ),
    },
    members=("CARDS", "MEASURES", "READS_TEXT", "judge"),
)

MODELS = Registry(
    "videogpa.models",
    {
        "cogvideox-t2v": Plugin(
            "videogpa.models.cogvideox:CogVideoXTextToVideo", "Text to video: CogVideoX-2B and -5B, CogVideoX1.5-5B."
        ),
        "cogvideox-i2v": Plugin(
            "videogpa.models.cogvideox:CogVideoXImageToVideo",
            "Text and a first frame to video: CogVideoX-5B-I2V, CogVideoX1.5-5B-I2V.",
        ),
        "wan-t2v": Plugin("videogpa.models.wan:WanTextToVideo", "Text to video: Wan2.1-T2V-1.3B and -14B, Wan2.2-T2V-A14B."),
        "wan-i2v": Plugin(
            "videogpa.models.wan:WanImageToVideo", "Text and a first frame to video: Wan2.1-I2V-14B, Wan2.2-I2V-A14B."
        ),
        "wan-ti2v": Plugin(
            "videogpa.models.wan:WanTextImageToVideo",
            "Text to video, with or without a first frame: Wan2.2-TI2V-5B.",
        ),
    },
    members=("published", "needs_image", "check_size", "load"),
)


def load(table: Registry, name: str) -> Any:
    """Import the class registered under `name`.

    Args:
        table: `CRITICS`, `JUDGES` or `MODELS`.
        name: A name in the table, such as `sfm`.

    Returns:
        The class, not an instance of it.

    Raises:
        KeyError: If nothing is registered under that name; the message lists what is.
        UserError: If the plug-in of another package cannot be imported, or lacks what the contract asks for.
    """
    if name not in table:
        why = f"; {table.refused[name]}" if name in table.refused else ""
        raise KeyError(f"unknown name {name!r}; registered: {', '.join(sorted(table))}{why}")
    plugin = table[name]
    module, _, attribute = plugin.target.partition(":")
    if plugin.distribution is None:
        return getattr(import_module(module), attribute)
    return _load_outside(name, plugin, module, attribute, table.members)


def _load_outside(name: str, plugin: Plugin, module: str, attribute: str, members: tuple[str, ...]) -> Any:
    origin = f"the plug-in {name!r} of {plugin.distribution} ({plugin.target})"
    try:
        loaded = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{origin} cannot be imported: {error}") from error
    lacking = [member for member in members if not hasattr(loaded, member)]
    if lacking:
        raise UserError(f"{origin} does not follow the contract: it lacks {', '.join(lacking)}")
    return loaded


def build(table: Registry, name: str, options: Mapping[str, Any]) -> Any:
    """Build the plug-in registered under `name`.

    Args:
        table: `CRITICS`, `JUDGES` or `MODELS`.
        name: A name in the table.
        options: Arguments of the constructor, by name; their types are checked first.

    Raises:
        KeyError: If nothing is registered under that name.
        ValueError: If an option is unknown or impossible; the message names it.
    """
    return load(table, name)(**check_options(table, name, options))


def check_options(table: Registry, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Check options against the signature of the plug-in's constructor, without building the plug-in.

    Args:
        table: `CRITICS`, `JUDGES` or `MODELS`.
        name: A name in the table.
        options: Arguments of the constructor, by name.

    Returns:
        The options converted to the annotated types, with the defaults filled in.

    Raises:
        KeyError: If nothing is registered under that name.
        ValueError: If an option is unknown or impossible; the message names it.
    """
    fields: dict[str, Any] = {
        option.name: (
            Any if option.annotation is option.empty else option.annotation,
            ... if option.default is option.empty else option.default,
        )
        for option in inspect.signature(load(table, name), eval_str=True).parameters.values()
    }
    try:
        return dict(
            create_model("Options", __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields).model_validate(
                dict(options)
            )
        )
    except ValidationError as error:
        known = ", ".join(fields) or "none"
        raise ValueError(f"options of {name} (it takes: {known}): {'; '.join(problems(error))}") from None
