"""What attends, as a config names it: the config group `attention`."""

from dataclasses import dataclass
from typing import Literal

from pydantic import PositiveInt

from ...errors import OctoberError
from ..causal_attention import Attention, full_attention
from .blockwise import BlockwiseAttention
from .layouts import Layout


@dataclass(frozen=True)
class AttentionChoice:
    """Which attention a decoder is given.

    Attributes:
        kind: "full" (torch's fused kernel) or "blockwise", both within one process, or "ring".
        block_size: Keys of a block of blockwise attention; None takes all keys at once.
        layout: How a ring deals out a sequence.

    Raises:
        OctoberError: A block size for another kind than blockwise.
    """

    kind: Literal["full", "blockwise", "ring"]
    block_size: PositiveInt | None = None
    layout: Layout = "zigzag"

    def __post_init__(self) -> None:
        if self.block_size is not None and self.kind != "blockwise":
            raise OctoberError(f"attention.block_size={self.block_size}: {self.kind} attention has no blocks to size")

    def within_process(self) -> Attention | None:
        """Return what `Transformer` and the steps of a ring of one process take; None for the ring."""
        if self.kind == "ring":
            return None
        return full_attention if self.kind == "full" else BlockwiseAttention(self.block_size)

    def check_processes(self, num_processes: int) -> None:
        """Raise `OctoberError` where attention within one process is asked for on several."""
        if self.kind != "ring" and num_processes > 1:
            raise OctoberError(
                f"attention={self.kind}: works within one process; give num_processes=1, or attention=ring"
            )
