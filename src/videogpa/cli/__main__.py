"""`python -m videogpa.cli`, as `accelerate launch -m` needs it."""

from videogpa.cli.shell import main

if __name__ == "__main__":  # not where a process is started anew
    main()
