"""One pool of real processes per world size for the whole test session."""

from contextlib import ExitStack

import pytest

from october.attention.processes import Processes


@pytest.fixture(scope="session")
def pool():
    """`pool(world_size)`: running processes that form a gloo group, started at the first use and shared by all tests.

    `pool(3).run(function, *arguments)` calls a function of the test module's top level on ranks 0, 1, 2 and returns
    the results by rank. The test modules need not be importable by name: a process that has never seen a function's
    module loads it from its file, under the name that it has here. A call that leaves a message unanswered must end
    in an error on some rank (`outcomes` tells it without raising): then a new group is formed before the next call.
    """
    pools = {}
    with ExitStack() as stack:

        def processes(world_size):
            if world_size not in pools:
                pools[world_size] = stack.enter_context(Processes(world_size))
            return pools[world_size]

        yield processes
