"""Commands of a study with people: see `videogpa.cli.run_commands` for what a command's function is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videogpa.defaults import Settings
from videogpa.errors import InvalidInput

if TYPE_CHECKING:
    from videogpa.study.plan import Plan
    from videogpa.study.records import Key
    from videogpa.study.results import Results


def study() -> None:
    """Ask people which of two clips is better: make a blind study, collect the votes, and read what they say.

    Raters see two clips of the same prompt and seed in step, and answer two questions: whose space holds together better, and
    which is better overall. Sides and order are random, nothing on the page tells whose clip is whose, and hidden repeats and
    scrambled clips measure attention. docs/how-to/ask-people.md explains all of it.

        videogpa study plan --win-rate 0.62                # how many prompts and raters?
        videogpa study make runs/first --pairs 50 --raters 5
        videogpa study serve study                         # or send the page to the raters
        videogpa study read study                          # or the files that they send back
    """


def make(
    paths: str | Path | Sequence[str | Path],
    *,
    by_file: bool = False,
    base: str = "base",
    by_folder: bool = False,
    pairs: int = 50,
    raters: int = 5,
    seed: int | None = None,
    out: str | Path = "study",
) -> "Key":
    """Make a study of a run's evaluation, or of clips of two or more methods that are matched by name.

    Writes page/study.html, which raters open without a network or a server (above 64 MB of videos with the folder page/clips
    beside it), and key.json, which says whose clips are whose. Give raters page/, and keep the key from them: who has looked
    into it cannot be a rater.

        videogpa study make runs/first                     # base against aligned, on the held-out prompts
        videogpa study make base/ aligned/ --pairs 50 --raters 5
        videogpa study make clips/ --by-file --base base   # clips/a/base.mp4, clips/a/aligned.mp4, clips/b/base.mp4, ...
        videogpa study make pairs.csv                      # base,aligned in the first line, two clips in every other one

    Args:
        paths: An evaluated run; or folders of clips, the base first; or one folder with --by-file; or one CSV of methods.
        by_file: The folder has a folder per prompt, which holds a clip per method, named after the method.
        base: With --by-file: the method that the others are compared with.
        by_folder: The clips of one folder are samples of one prompt. By default every clip has a prompt of its own.
        pairs: How many pairs of clips each rater judges. A tenth of them comes twice, and some with a scrambled clip are added.
        raters: How many raters there are. Each has a code.
        seed: From which pairs, order and sides are drawn. Default: a secret one, which key.json records.
        out: The study's folder, which must be new.

    Returns:
        The key.

    Raises:
        FileNotFoundError: If a path names nothing, or the run has no evaluation.
        ValueError: If there is nothing to compare, a number is impossible, or the folder is in use.
    """
    from videogpa.stages import compare
    from videogpa.study import make as study_make

    names = [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    run = [name for name in names if (Path(name) / "recipe.yaml").is_file()]
    if run and (len(names) > 1 or by_file):
        raise InvalidInput(f"{run[0]} is a run, whose evaluation has the clips of both models: name it alone")
    if run:
        sources = study_make.from_run(Path(run[0]))
    else:
        methods = compare.methods_of(names, base if by_file else None)
        sources = study_make.Sources(methods, study_make.prompt_of_name if by_folder else study_make.own_prompt)
    return study_make.make(sources, Path(out), pairs=pairs, raters=raters, seed=seed)


def serve(folder: str | Path, *, port: int = 8437) -> "Key":
    """Serve a study on this machine alone, and collect the answers after every pair. Ctrl-C ends.

    Prints an address for each rater. Answers are kept in the study's folder, in answers/, where `videogpa study read` finds
    them; a killed server loses none, and pages send what it has missed once it is back. Nothing listens beyond this machine:
    raters at other machines get the page as a file, or a tunnel such as `ssh -L 8437:127.0.0.1:8437 this-machine`.

        videogpa study serve study
        videogpa study serve study --port 9000

    Args:
        folder: The study's folder.
        port: The port on 127.0.0.1; 0 for any that is free. Browsers keep answers by port: stay with one.

    Returns:
        The study's key.

    Raises:
        FileNotFoundError: If there is no study.
        ValueError: If the port is taken.
        UserError: If the study is being served already.
    """
    from videogpa.study import serve as study_serve

    return study_serve.serve(Path(folder), port)


def read(
    paths: str | Path | Sequence[str | Path],
    *,
    key: str | Path | None = None,
    scores: Settings = (),
    unfinished: bool = False,
    out: str | Path | None = None,
) -> "Results":
    """Read the answers of a study: who is preferred, how far raters agree, and which score agrees with them.

    Win rates are over votes that are no ties, with 95 % intervals over prompts and raters together; raters who fail the
    scrambled clips are named and left out. With --scores, every critic and measure is shown with how often it prefers the clip
    that people prefer: the number that says which score to believe. Writes results.json.

        videogpa study read study                          # all that `study serve` has collected
        videogpa study read answers-*.json --key study/key.json
        videogpa study read study --scores comparison      # of `videogpa compare` or `videogpa score`

    Args:
        paths: Files of answers, folders of them, or the study's folder.
        key: The study's key.json. Default: that of the study's folder, if it is named.
        scores: A folder of scores of the study's clips. May be repeated. A run's own are found without it.
        unfinished: Count the answers of raters who have not finished.
        out: The file of the results. Default: results.json beside the key.

    Returns:
        What results.json holds.

    Raises:
        FileNotFoundError: If a path names nothing.
        ValueError: If a file holds no answers to this study, or two are of the same rater, or no rater's answers count.
    """
    from videogpa.storage.files import write_text
    from videogpa.study import answers, results
    from videogpa.study import scores as study_scores
    from videogpa.study.records import KEY

    files = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    keys = [Path(key)] if key is not None else [path / KEY for path in files if (path / KEY).is_file()]
    if not keys:
        raise InvalidInput("which study? Name its key with --key study/key.json, or the study's folder in place of the files")
    known = answers.read_key(keys[0])
    given = answers.read_answers(answers.find_answers(files), known, unfinished=unfinished)
    folders = [Path(folder) for folder in ([scores] if isinstance(scores, str) else scores)]
    found = results.evaluate(known, given, study_scores.read_scores(known, folders))
    write_text(Path(out) if out is not None else keys[0].parent / "results.json", found.model_dump_json(indent=1) + "\n")
    return found


def plan(
    *,
    win_rate: float = 0.6,
    pairs: int = 50,
    raters: int = 5,
    power: float = 0.8,
    ties: float = 0.2,
    of_prompts: float = 0.3,
    of_raters: float = 0.02,
) -> "Plan":
    """Say how many prompts and raters it takes to find an effect, and what a study of a size finds.

    An effect is found if the 95 % interval of the win rate, over prompts and raters, leaves one half out. Votes on one prompt
    resemble each other, and so do those of one rater: the defaults of these correlations are guesses for clips like ours, and
    `study read` gives those of a study that was made.

        videogpa study plan --win-rate 0.6
        videogpa study plan --pairs 100 --raters 8

    Args:
        win_rate: The effect: the share of wins among votes that are no ties. One half is none.
        pairs: Prompts of the study that is looked at, one pair of clips each.
        raters: Its raters.
        power: The wanted probability of finding the effect.
        ties: The share of votes that prefer neither clip.
        of_prompts: The correlation of two raters' votes on the same prompt.
        of_raters: The correlation of a rater's votes on two prompts.

    Returns:
        The plan.

    Raises:
        ValueError: If a number is impossible.
    """
    from videogpa.study import plan as study_plan

    votes = study_plan.Votes(ties=ties, of_prompts=of_prompts, of_raters=of_raters)
    return study_plan.plan(win_rate, pairs, raters, power, votes)
