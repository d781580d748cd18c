"""`python -m videogpa.cli`, as `accelerate launch -m` needs it."""

from videogpa.cli.shell import main

main()
