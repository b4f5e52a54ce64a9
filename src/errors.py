"""The one kind of error a user is meant to see: a single line that says what to change."""


class OctoberError(Exception):
    """A mistake the user can mend: bad input, a missing piece, a full disk.

    The message is one line that names the field, the value and what is allowed. The command line
    prints it without a trace; everything else that escapes is a bug and keeps its trace.
    """


def reason_of(error: Exception) -> str:
    """Return the first line of an error's message that says something; the error's type where none does."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if any(map(str.isalpha, line))), type(error).__name__)
