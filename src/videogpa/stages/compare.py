"""compare: which method's clips are more consistent? Clips of two or more methods, matched by name, without a run.

In: folders of clips, one per method; or one folder with a folder per prompt and a file per method; or a CSV of pairs. Out: the
scores, what judges say where some are asked, compare.json and compare.html.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import torch

from videogpa.config import JudgeConfig, ScoreConfig, WorkersConfig
from videogpa.errors import InvalidInput, MissingInput
from videogpa.findings import Comparison, MethodFindings, Relative, changes_by_name
from videogpa.maths.stats import paired_bootstrap
from videogpa.records import Diversity, Judgement, Score
from videogpa.report.comparison import ComparedClip, write_comparison_report
from videogpa.report.player_files import PLAYERS
from videogpa.report.players import keep_in_step
from videogpa.report.tables import cell_text
from videogpa.stages.clip_files import clip_name, find_videos
from videogpa.stages.diversity import diversity_by_prompt
from videogpa.stages.judge import judge_files, require_weights
from videogpa.stages.judged import compare_judgements
from videogpa.stages.paired import BOOTSTRAP_SEED, GEOMETRY, compare_scores
from videogpa.stages.score import ALONE, score_files
from videogpa.storage.files import write_text
from videogpa.storage.run_folder import RunFolder
from videogpa.text_files import plural, read_text
from videogpa.workers import map_items

LARGEST_TABLE = 64 << 20  # bytes
MOST_SHOWN = 2000  # clips that the report holds


@dataclass(frozen=True)
class Methods:
    """The clips of several methods: method -> name of the clip -> file. The first method is the one compared with."""

    clips: dict[str, dict[str, Path]]

    @property
    def base(self) -> str:
        """The method that the others are compared with."""
        return next(iter(self.clips))

    def matched(self, other: str) -> list[str]:
        """Return the names of the clips that both the base and another method have, in the base's order."""
        return [name for name in self.clips[self.base] if name in self.clips[other]]


def from_folders(folders: Sequence[str]) -> Methods:
    """Match the clips of folders by their path below the folder, whatever their suffix.

    Raises:
        InvalidInput: If there are fewer than two folders, or two clips of a folder have the same name.
        MissingInput: If one of them is no folder of videos.
    """
    if len(folders) < 2:
        raise InvalidInput("name two or more folders of clips, the base model's first; or one folder with --by-file, or a CSV")
    names = _method_names([Path(folder) for folder in folders])
    clips: dict[str, dict[str, Path]] = {}
    for name, folder in zip(names, map(Path, folders), strict=True):
        if not folder.is_dir():
            raise MissingInput(f"{folder} is no folder of clips")
        videos = find_videos([str(folder)])
        if folder in videos:
            raise InvalidInput(f"{folder} is one clip, of numbered pictures: name the folder that it and others lie in")
        clips[name] = _by_name({path: clip_name(_without_suffix(path).relative_to(folder).as_posix()) for path in videos})
    return Methods(clips)


def from_prompts(folder: str, base: str) -> Methods:
    """Take every folder below `folder` for a prompt, and every video in it for the clip of the method that it is named after.

    Args:
        folder: Such as a folder with a/base.mp4, a/aligned.mp4, b/base.mp4, ...
        base: The method that the others are compared with.

    Raises:
        MissingInput: If there is no folder or no clip of the base.
    """
    clips: dict[str, dict[str, Path]] = {base: {}}
    for path in find_videos([folder]):
        prompt = clip_name(path.parent.relative_to(folder).as_posix())
        clips.setdefault(clip_name(_without_suffix(path).name), {})[prompt] = path
    if not clips[base]:
        found = ", ".join(sorted(method for method in clips if clips[method]))
        raise MissingInput(f"{folder} holds no clips named {base}; name the base with --base, one of: {found}")
    return Methods(clips)


def from_csv(file: str) -> Methods:
    """Read a table whose columns are methods, the base first, and whose cells are clips; paths are relative to the file.

    Raises:
        InvalidInput: If the file is no such table.
        MissingInput: If a clip is not there.
    """
    try:
        rows = list(csv.reader(StringIO(read_text(Path(file), expected="a table of clips", budget=LARGEST_TABLE), newline="")))
    except csv.Error as error:
        raise InvalidInput(f"{file} is no table of comma-separated values: {error}") from None
    header, *rows = [[cell_text(cell.strip()) for cell in row] for row in rows if any(cell.strip() for cell in row)] or [[]]
    if len(header) < 2 or len(set(header)) < len(header):
        raise InvalidInput(f"{file}: expected a first line with two or more methods, each once, such as: base,aligned")
    clips: dict[str, dict[str, Path]] = {method: {} for method in header}
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise InvalidInput(f"{file}, line {number}: expected {len(header)} cells, one per method; got {len(row)}")
        for method, cell in zip(header, row, strict=True):
            path = Path(file).parent / cell
            if cell and not path.is_file():
                raise MissingInput(f"{file}, line {number}: no clip at {path}")
            if cell:
                clips[method][f"line {number}"] = path
    return Methods(clips)


def methods_of(paths: Sequence[str], base: str | None) -> Methods:
    """Match the clips that paths name.

    Args:
        paths: Folders, one per method, the base first; or one CSV of methods; or, with `base`, one folder of prompts.
        base: Which method the others are compared with, if there is a folder per prompt and a file per method.

    Raises:
        InvalidInput: If they are none of these.
        MissingInput: If there is nothing at one of them.
    """
    if base is not None:
        if len(paths) != 1:
            raise InvalidInput(f"--by-file takes one folder, which holds a folder per prompt; got {len(paths)} paths")
        return from_prompts(paths[0], base)
    if len(paths) == 1 and Path(paths[0]).is_file():
        return from_csv(paths[0])
    return from_folders(paths)


def _without_suffix(path: Path) -> Path:
    return path if path.is_dir() else path.with_suffix("")  # a folder of frames has none


def _method_names(folders: Sequence[Path]) -> list[str]:
    """Name methods after their folders, with as many parent folders as it takes to tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise InvalidInput("a folder is named twice: the clips of a method cannot be compared with themselves")


def _by_name(names: Mapping[Path, str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path, name in names.items():
        if name in found:
            raise InvalidInput(f"{found[name]} and {path} have the same name but for the suffix: keep one of them")
        found[name] = path
    return found


@dataclass(frozen=True)
class Asked:
    """The judges that are asked of the clips, and a file with the texts that these were made for."""

    judges: tuple[JudgeConfig, ...] = ()
    prompts: Path | None = None


def compare(
    methods: Methods,
    config: ScoreConfig,
    out: Path,
    workers: WorkersConfig = ALONE,
    *,
    by_folder: bool = False,
    masks: Path | None = None,
    asked: Asked = Asked(),
) -> Comparison:
    """Score the clips of all methods, and compare each method with the base, clip by clip.

    Args:
        methods: The clips. Those without a partner are left out, and named in the result.
        config: The critic, and which frames it judges.
        out: The folder of the scores, compare.json and compare.html. The same folder again continues where it was.
        workers: Who scores.
        by_folder: Whether the clips of one folder are samples of one prompt. By default every clip has its own.
        masks: A folder of masks, of what moves by itself; see `find_masks`.
        asked: The judges that are asked too.

    Returns:
        What compare.json holds.

    Raises:
        InvalidInput: If fewer than two clips of a method have a partner.
        RunFolderBusy: If another process writes to the folder.
    """
    matched = {other: methods.matched(other) for other in methods.clips if other != methods.base}
    partners = {name for names in matched.values() for name in names}
    for other, names in matched.items():
        if len(names) < 2:
            raise InvalidInput(
                f"of {other} {plural(len(names), 'clip')} can be matched with {methods.base} by name: a comparison takes two "
                f"or more. {other} has {_few(methods.clips[other])}; {methods.base} has {_few(methods.clips[methods.base])}"
            )
    paths = [str(path) for clips in methods.clips.values() for name, path in clips.items() if name in partners]
    require_weights(asked.judges)
    scores = {row.clip: row for row in score_files(paths, config, out, workers, masks)}
    judged = judge_files(paths, asked.judges, out, workers, prompts=asked.prompts) if asked.judges else []
    diversity = _diversity(methods, partners, out) if by_folder else None
    comparison = Comparison(
        base=methods.base,
        critic=config.critic,
        methods={other: _findings(methods, other, names, scores, judged, diversity) for other, names in matched.items()},
        unmatched={method: [name for name in clips if name not in partners] for method, clips in methods.clips.items()},
    )
    with RunFolder(out).lock(scores=True):
        write_text(out / "compare.json", comparison.model_dump_json(indent=1) + "\n")
        write_comparison_report(
            out / "compare.html", comparison, list(_shown(methods, partners, scores, out)), matched=len(partners)
        )
    return comparison


def _few(clips: Mapping[str, Path], most: int = 3) -> str:
    return ", ".join(list(clips)[:most]) + (", ..." if len(clips) > most else "")


def _diversity(methods: Methods, partners: Set[str], out: Path) -> dict[str, list[Diversity]]:
    """Return how much the clips of each folder, which are samples of one prompt, differ, by method."""
    groups: dict[str, list[Path]] = {}
    for method, clips in methods.clips.items():
        for name in sorted(partners & clips.keys()):
            groups.setdefault(f"{method}: {name.rpartition('/')[0]}", []).append(clips[name])
    with RunFolder(out).lock(scores=True):
        rows = {row.prompt: row for row in diversity_by_prompt(groups, RunFolder(out))}
    prompts = sorted({name.rpartition("/")[0] for name in partners})
    return {
        method: [
            rows[key].model_copy(update={"prompt": prompt}) for prompt in prompts if (key := f"{method}: {prompt}") in rows
        ]
        for method in methods.clips
    }


def _findings(
    methods: Methods,
    other: str,
    names: Sequence[str],
    scores: Mapping[str, Score],
    judged: Sequence[Judgement],
    diversity: Mapping[str, Sequence[Diversity]] | None,
) -> MethodFindings:
    """Compare a method with the base. With diversities the clips of a folder are samples of one prompt."""

    def called(method: str) -> dict[str, str]:
        return {clip_name(methods.clips[method][name]): f"{name}/0" if diversity is None else name for name in names}

    def rows(method: str) -> list[Score]:
        return [scores[clip].model_copy(update={"clip": name}) for clip, name in called(method).items()]

    def judgements(method: str) -> list[Judgement]:
        own = called(method)
        return [row.model_copy(update={"clip": own[row.clip]}) for row in judged if row.clip in own]

    base, aligned = rows(methods.base), rows(other)
    spread = ((), ()) if diversity is None else (diversity[methods.base], diversity[other])
    judges = compare_judgements(judgements(methods.base), judgements(other))
    findings = compare_scores(base, aligned, diversity=spread, judged=changes_by_name(judges))
    return MethodFindings(findings=findings, clips=len(names), geometric=relative_change(base, aligned), judges=judges)


def relative_change(base: Sequence[Score], other: Sequence[Score]) -> Relative | None:
    """Return the change of the geometric mean of the leave-one-out error, over clips that both could be scored.

    The mean of the error itself is carried by the few worst clips; in that of its logarithm every clip counts the same. The
    interval is over prompts, as in `compare_scores`.

    Returns:
        None if fewer than two prompts can be compared.
    """
    after = {row.clip: row.loo_error for row in other if row.status == "ok"}
    groups: dict[str, list[tuple[float, float]]] = {}
    for row in base:
        ours = after.get(row.clip)
        if row.status == "ok" and row.loo_error and ours:
            groups.setdefault(row.clip.rpartition("/")[0], []).append((row.loo_error, ours))
    if len(groups) < 2:
        return None
    means = torch.stack([torch.tensor(group, dtype=torch.float64).log().mean(0) for group in groups.values()])
    change, low, high = torch.tensor(paired_bootstrap(*means.T, seed=BOOTSTRAP_SEED), dtype=torch.float64).expm1().tolist()
    return Relative(change=change, low=low, high=high)


def _shown(methods: Methods, partners: Set[str], scores: Mapping[str, Score], out: Path) -> Iterator[ComparedClip]:
    """Return the clips that the report plays, with those first where the methods differ most."""

    def error(method: str, name: str) -> float | None:
        path = methods.clips[method].get(name)
        return None if path is None else getattr(scores.get(clip_name(path)), GEOMETRY, None)

    def spread(name: str) -> float:
        errors = [value for method in methods.clips if (value := error(method, name)) is not None]
        return max(errors) - min(errors) if errors else 0.0

    names = sorted((name for name in methods.clips[methods.base] if name in partners), key=spread, reverse=True)

    def shown(name: str) -> ComparedClip:
        paths = {method: clips[name] for method, clips in methods.clips.items() if name in clips}
        rows = {method: scores[clip_name(path)] for method, path in paths.items()}
        playing = {method: path for method, path in paths.items() if rows[method].status not in ("unreadable", "error")}
        player = Path(PLAYERS) / keep_in_step(out / PLAYERS, playing).name if playing else None
        return ComparedClip(name, rows, player)

    return map_items(shown, names[:MOST_SHOWN], label="report")
