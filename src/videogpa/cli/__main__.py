"""`python -m videogpa.cli`, as `accelerate launch -m` needs it."""

from videogpa.cli.commands import main

main()
