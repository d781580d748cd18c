"""Commands that need no run, one function each: see `videogpa.cli.run_commands` for what a command's function is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from videogpa.cli.score_flags import reading_of, refuse_run_folders, score_settings
from videogpa.defaults import ANCHORS, CRITIC, FRAMES, LPIPS_NET, OVERLAP, WINDOW, Cuts, Overlays, Reading, Settings

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from videogpa.cli.check_critic import Finding
    from videogpa.findings import Comparison
    from videogpa.records import Score


def score_files(
    paths: str | Path | Sequence[str | Path],
    *,
    critic: str = CRITIC,
    weights: str | None = None,
    options: Settings = (),
    paper: bool = False,
    frames: int | Literal["all"] = FRAMES,
    window: int = WINDOW,
    overlap: int = OVERLAP,
    anchors: int = ANCHORS,
    lpips_net: Literal["alex", "vgg"] = LPIPS_NET,
    scene: Reading | None = None,
    masks: str | Path | None = None,
    overlays: Overlays = "leave_out",
    cuts: Cuts = "decline",
    shots: bool = False,
    out: str | Path = "scores",
    workers: int | None = None,
    ray: str | None = None,
) -> "list[Score]":
    """Score video files: how consistent is what they show with one 3D scene?

    Writes scores.jsonl (one row per clip and critic), scores.csv, columns.json (what each number means and which direction is
    better) and report.html into the folder --out. Clips that cannot be scored are rows with a reason, not numbers. Rows of
    other clips that the folder holds already stay.

    In folders, files with the usual endings of videos and animated pictures are clips; hidden ones are left out. A folder
    without such files, whose PNG or JPEG pictures are named alike but for their number (frame_0001.png), is one clip.

        videogpa score clips/ --out scores/
        videogpa score a.mp4 'more/*.mp4' --critic sfm --frames 10
        videogpa score long.mp4 --frames all

    The candidates of a run are scored by `videogpa score-run`.

    Args:
        paths: Video files, folders of them or of a clip's frames, and globs.
        critic: Which critic reconstructs the clips: see `videogpa list critics`.
        weights: Weights of a learned critic: a folder, a file, or a hub id. Default: see `videogpa list critics`.
        options: Another setting of the critic, such as crop=centre (see docs/how-to/choose-a-critic.md). May be repeated.
        paper: Score as the paper did: its 10 frames, centre crop, points and LPIPS of VGG, in place of --lpips-net.
        frames: How many frames of a clip are judged, evenly spread, first and last included; or `all`.
        window: More frames than that are reconstructed in windows of so many, one after the other, and joined: memory stays
            that of one window, time grows with the length.
        overlap: Frames that a window shares with the next. They are what joins the two.
        anchors: Frames of a clip of several windows, evenly spread, with which all its frames are compared.
        lpips_net: The network of the LPIPS distance. The paper's is vgg, which does not ship with the package (29 MB).
        scene: Name every pixel still, moving, broken or unseen, and measure background and subjects apart: dynamic where
            something may move, static where whatever moves is broken.
        masks: A folder of masks of what moves, in place of what would be found: pictures, videos or folders of numbered
            pictures, named as the clips, black where nothing moves. Implies --scene dynamic.
        overlays: What to do with what is burnt in: bars are cut off, and logos, subtitles and watermarks leave the cloud and
            all errors; or keep it all, as the paper does.
        cuts: What to do with a clip that is cut to another shot: decline it; or keep it, as the paper does. The critic sfm
            finds cuts itself, and declines them always.
        shots: Score each shot of a clip that is cut by itself: its row is named CLIP#FIRST-LAST, after its frames in the file.
        out: The folder of the results. The same folder again continues where it was.
        workers: Score with that many workers, each with a GPU of its own where there are GPUs. Several need Ray.
        ray: The address of a running Ray cluster, or auto.

    Returns:
        A row for each file or shot, best first; those that cannot be ranked follow. `videogpa.MEASURES` says what numbers mean.

    Raises:
        FileNotFoundError: If a path names nothing.
        ValueError: If a setting is unknown or impossible, or a path is a run folder.

    Examples:
        >>> rows = videogpa.score_files(["clips/"], out="scores")
        >>> [(row.clip, row.loo_error, row.flow) for row in rows if row.status == "ok"]
    """
    from videogpa.config import workers_config
    from videogpa.stages import score

    names = [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    refuse_run_folders(names)
    config = score_settings(
        critic=critic,
        weights=weights,
        options=options,
        paper=paper,
        frames=frames,
        window=window,
        overlap=overlap,
        anchors=anchors,
        lpips_net=lpips_net,
        scene=reading_of(scene, masks),
        overlays=overlays,
        cuts=cuts,
    )
    count = 1 if workers is None else workers
    own = None if masks is None else Path(masks)
    return score.score_files(names, config, Path(out), workers_config(count, ray), own, shots=shots)


def compare(
    paths: str | Path | Sequence[str | Path],
    *,
    by_file: bool = False,
    base: str = "base",
    by_folder: bool = False,
    judge: Settings = (),
    prompts: str | Path | None = None,
    critic: str = CRITIC,
    weights: str | None = None,
    options: Settings = (),
    paper: bool = False,
    frames: int | Literal["all"] = FRAMES,
    window: int = WINDOW,
    overlap: int = OVERLAP,
    anchors: int = ANCHORS,
    lpips_net: Literal["alex", "vgg"] = LPIPS_NET,
    scene: Reading | None = None,
    masks: str | Path | None = None,
    overlays: Overlays = "leave_out",
    cuts: Cuts = "decline",
    out: str | Path = "comparison",
    workers: int | None = None,
    ray: str | None = None,
) -> "Comparison":
    """Compare the clips of two or more methods: whose clips are more consistent, at which motion?

    Clips are matched by name, scored where they have no score yet, and compared in pairs. Writes compare.json, compare.html, in
    which matching clips play in step, and the scores into the folder --out.

        videogpa compare base/ aligned/ another/
        videogpa compare clips/ --by-file --base base      # clips/a/base.mp4, clips/a/aligned.mp4, clips/b/base.mp4, ...
        videogpa compare pairs.csv                         # base,aligned in the first line, two clips in every other one
        videogpa compare base/ aligned/ --judge dino=models/dino-vitb16   # and how clips look: share of wins

    Args:
        paths: Folders of clips, the base first; or one folder with --by-file; or one CSV, whose columns are methods.
        by_file: The folder has a folder per prompt, which holds a clip per method, named after the method.
        base: With --by-file: the method that the others are compared with.
        by_folder: The clips of one folder are samples of one prompt. By default every clip has a prompt of its own, and the
            intervals are over clips.
        judge: A judge of how clips look and its weights, NAME=WEIGHTS or NAME.OPTION=VALUE: see `videogpa judge`. May be
            repeated.
        prompts: A file of prompts, for judges that read what a clip was asked to show: see `videogpa judge`.
        critic: Which critic reconstructs the clips: see `videogpa list critics`.
        weights: Weights of a learned critic: a folder, a file, or a hub id. Default: see `videogpa list critics`.
        options: Another setting of the critic, such as crop=centre (see docs/how-to/choose-a-critic.md). May be repeated.
        paper: Score as the paper did: its 10 frames, centre crop, points and LPIPS of VGG, in place of --lpips-net.
        frames: How many frames of a clip are judged, evenly spread, first and last included; or `all`.
        window: More frames than that are reconstructed in windows of so many, one after the other, and joined: memory stays
            that of one window, time grows with the length.
        overlap: Frames that a window shares with the next. They are what joins the two.
        anchors: Frames of a clip of several windows, evenly spread, with which all its frames are compared.
        lpips_net: The network of the LPIPS distance. The paper's is vgg, which does not ship with the package (29 MB).
        scene: Name every pixel still, moving, broken or unseen, and measure background and subjects apart: dynamic where
            something may move, static where whatever moves is broken.
        masks: A folder of masks of what moves, in place of what would be found: pictures, videos or folders of numbered
            pictures, named as the clips, black where nothing moves. Implies --scene dynamic.
        overlays: What to do with what is burnt in: bars are cut off, and logos, subtitles and watermarks leave the cloud and
            all errors; or keep it all, as the paper does.
        cuts: What to do with a clip that is cut to another shot: decline it; or keep it, as the paper does. The critic sfm
            finds cuts itself, and declines them always.
        out: The folder of the results. The same folder again continues where it was.
        workers: Score with that many workers, each with a GPU of its own where there are GPUs. Several need Ray.
        ray: The address of a running Ray cluster, or auto.

    Returns:
        For every method but the base the change of each measure, with its interval, and the verdict.

    Raises:
        FileNotFoundError: If a path names nothing.
        ValueError: If fewer than two clips have a partner, or a setting is unknown or impossible.

    Examples:
        >>> found = videogpa.compare(["base/", "aligned/"], out="comparison").methods["aligned"]
        >>> found.geometric.change, found.findings.changes["flow"].difference
    """
    from videogpa.config import judge_configs, workers_config
    from videogpa.stages import compare as stage

    names = [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    refuse_run_folders(names)
    config = score_settings(
        critic=critic,
        weights=weights,
        options=options,
        paper=paper,
        frames=frames,
        window=window,
        overlap=overlap,
        anchors=anchors,
        lpips_net=lpips_net,
        scene=reading_of(scene, masks),
        overlays=overlays,
        cuts=cuts,
    )
    methods = stage.methods_of(names, base if by_file else None)
    count = 1 if workers is None else workers
    own = None if masks is None else Path(masks)
    judges = judge_configs(judge)
    texts = None if prompts is None else Path(prompts)
    asked = stage.Asked(judges, texts)
    return stage.compare(methods, config, Path(out), workers_config(count, ray), by_folder=by_folder, masks=own, asked=asked)


def table(
    folder: str | Path,
    *,
    format: Literal["markdown", "latex", "csv"] = "markdown",
    measures: Sequence[str] = (),
    out: str | Path | None = None,
) -> str:
    """Print the numbers of an evaluation or a comparison as a table for a paper: methods by measures, with intervals.

        videogpa table runs/mine
        videogpa table comparison --format latex --out table.tex
        videogpa table runs/mine --measures loo_error flow sharpness diversity

    Args:
        folder: A run that was evaluated, or the folder of a comparison.
        format: markdown; latex, for the package booktabs; or csv, with a row for each method and measure.
        measures: The columns: see `videogpa list measures`. Default: those of the paper's tables that are known, and flow.
        out: Write the table into that file in place of printing it.

    Returns:
        The table.

    Raises:
        FileNotFoundError: If the folder has no evaluation and no comparison.
        ValueError: If a measure is unknown, or no method has one of them.
    """
    from videogpa.stages import table as stage
    from videogpa.storage.files import write_text

    text = stage.table(Path(folder), format, measures)
    if out is not None:
        write_text(Path(out), text)
    return text


def view(
    clip: str | Path,
    *,
    critic: str = CRITIC,
    weights: str | None = None,
    options: Settings = (),
    frames: int | Literal["all"] = FRAMES,
    save: str | Path | None = None,
) -> "Score":
    """Look at a clip in 3D: score it, and open what it was reconstructed as in rerun's viewer.

    The viewer shows the coloured points, the cameras with their frames and, over time, frame, leave-one-out render, error,
    depth and confidence. It needs the extra `view`: pip install 'videogpa[view]'. The command ends when its window is closed.
    Nothing is sent anywhere, and the viewer listens on this machine alone.

        videogpa view clip.mp4
        videogpa view clip.mp4 --save clip.rrd     # writes a file, and opens nothing

    Args:
        clip: A video file, or a folder of a clip's frames.
        critic: Which critic reconstructs the clip: see `videogpa list critics`.
        weights: Weights of a learned critic: a folder, a file, or a hub id.
        options: Another setting of the critic, such as crop=centre. May be repeated.
        frames: How many frames are judged, evenly spread, first and last included; or `all`.
        save: Write the recording into that file (.rrd) in place of opening it.

    Returns:
        The row that `videogpa score` would write.

    Raises:
        FileNotFoundError: If there is no such clip.
        ValueError: If it cannot be reconstructed, or a setting is unknown or impossible.
        UserError: If rerun is not installed, or there is no display.
    """
    from videogpa.config import parse_settings, score_config
    from videogpa.stages import view as stage

    given = parse_settings(options) | ({"weights": weights} if weights else {})
    config = score_config(critic=critic, frames=frames, options=given)
    return stage.view(str(clip), config, None if save is None else Path(save))


def list_what(
    what: Literal["critics", "judges", "models", "recipes", "measures", "settings"], name: str | None = None
) -> "RenderableType":
    """List critics, judges, models, recipes, measures or settings, an entry in a line or two; or show all about one of them.

        videogpa list critics
        videogpa list critics vggt
        videogpa list judges
        videogpa list settings train

    Args:
        what: What to list.
        name: One entry, such as `vggt` or `train.beta`; or a section of the settings, such as `train`.

    Returns:
        A table or a text for the terminal.
    """
    from videogpa.cli.catalogue import show

    return show(what, name)


def check_critic(
    critic: str,
    *,
    weights: str | None = None,
    options: Settings = (),
    seeds: int = 1,
    world: Literal["detailed", "plain"] = "detailed",
) -> "list[Finding]":
    """Test a critic with negative controls: clips without a consistent 3D scene, which it must not score well.

    The controls are noise, one repeated frame, frames of different scenes, a camera that only turns, a zoom, a cut and a
    mirrored half. Beside them the critic scores consistent clips. It passes if it declines each control, or scores it worse
    than every consistent clip. Exit status 1 if it does not.

        videogpa check-critic sfm
        videogpa check-critic vggt --weights path/to/VGGT-1B-Commercial
        videogpa check-critic vggt --weights tiny:vggt --world plain

    Args:
        critic: Its name: see `videogpa list critics`.
        weights: Weights of a learned critic: a folder, a file, or a hub id.
        options: Another setting of the critic, such as crop=centre. May be repeated.
        seeds: How many scenes, each with all controls: eleven clips a scene.
        world: How the clips are rendered. detailed: 25 frames of 480 x 288; plain: 9 of 32 x 32, all that the miniatures
            were trained on.

    Returns:
        For every clip the score, and whether it is right.
    """
    from videogpa.cli.check_critic import check_critic
    from videogpa.config import parse_settings, score_config

    given = parse_settings(options) | ({"weights": weights} if weights else {})
    return check_critic(score_config(critic=critic, options=given), seeds, world)


def doctor() -> "list[Table]":
    """Show what this machine has, and which recipes fit it.

        videogpa doctor

    Returns:
        Tables for the terminal: versions, machine, weights, recipes.
    """
    from videogpa.cli.doctor import report

    return list(report())
