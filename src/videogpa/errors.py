"""Errors that are the user's to mend: the command line shows their message alone, without a traceback."""


class UserError(Exception):
    """Something in the input, the recipe or the machine is not as it has to be; the message says what to do."""
