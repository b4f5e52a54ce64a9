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


def check_text(value: object, what: str) -> None:
    """Check that a value is text that UTF-8 can hold.

    Args:
        value: Should be text.
        what: It is called in the error, say `query 3`.

    Raises:
        OctoberError: It is something else, or text with half of a pair of surrogates, as a wrong decoding leaves it.
    """
    if not isinstance(value, str):
        raise OctoberError(f"{what} is {type(value).__name__}, not text; decode it as UTF-8")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise OctoberError(f"{what} is not UTF-8 (character {error.start} is half of a pair)") from error
