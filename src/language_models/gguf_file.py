"""Reading a GGUF file: header, metadata and dequantised tensors.

    magic, version, counts | key, type, value ... | name, dims, type, offset ... | padding | tensor data

The `gguf` package's reader makes several numpy objects for each of Gemma's 262,144 tokens (11 s); reading the header
with `struct` takes a fraction of a second. The arithmetic of the quantised blocks is the package's own.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OctoberError

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True)
class _TensorInfo:
    name: str
    shape: tuple[int, ...]  # slowest dimension first, as in numpy
    kind: int
    offset: int


class GgufFile:
    """A memory-mapped GGUF file; `metadata` holds its keys, lists and strings as plain Python values.

    Raises:
        OctoberError: The file is not GGUF of version 2 or 3, or ends early.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if self._bytes[:4] != b"GGUF":
            raise OctoberError(f"{path} is not a GGUF file")
        self._position = 4
        try:
            self._read_header()
        except (struct.error, UnicodeDecodeError, KeyError) as error:
            raise OctoberError(f"{path} is damaged: its header cannot be read ({error})") from error

    @property
    def num_tensors(self) -> int:
        """How many tensors the file holds."""
        return len(self._tensors)

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each tensor's name and its values in float32, one at a time."""
        from gguf import GGMLQuantizationType, dequantize
        from gguf.quants import quant_shape_to_byte_shape

        for info in self._tensors:
            kind = GGMLQuantizationType(info.kind)
            byte_shape = quant_shape_to_byte_shape(info.shape, kind)
            start, count = self._data_start + info.offset, prod(byte_shape)
            if start + count > len(self._bytes):
                raise OctoberError(f"{self.path} is truncated: tensor {info.name} ends beyond it")
            raw = np.frombuffer(self._bytes, np.uint8, count, start).reshape(byte_shape)
            yield info.name, dequantize(raw.view(np.float32) if kind.name == "F32" else raw, kind)

    def _read_header(self) -> None:
        version, tensor_count, key_count = self._unpack("IQQ")
        if version not in (2, 3):
            raise OctoberError(f"{self.path} is GGUF version {version}; 2 and 3 can be read")
        self.metadata = {self._string(): self._value(*self._unpack("I")) for _ in range(key_count)}
        self._tensors = [self._tensor_info() for _ in range(tensor_count)]
        alignment = self.metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        self._data_start = -(-self._position // alignment) * alignment

    def _tensor_info(self) -> _TensorInfo:
        name = self._string()
        (dimensions,) = self._unpack("I")
        shape = self._unpack(f"{dimensions}Q")[::-1]
        return _TensorInfo(name, shape, *self._unpack("IQ"))

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array(*self._unpack("IQ"))
        return self._unpack(_SCALARS[kind])[0]

    def _array(self, kind: int, count: int) -> list[Any]:
        if kind in _SCALARS:
            return list(self._unpack(f"{count}{_SCALARS[kind]}"))
        return [self._value(kind) for _ in range(count)]

    def _string(self) -> str:
        (length,) = self._unpack("Q")
        text = self._bytes[self._position : self._position + length].decode()
        self._position += length
        return text

    def _unpack(self, layout: str) -> tuple[Any, ...]:
        layout = f"<{layout}"
        values = struct.unpack_from(layout, self._bytes, self._position)
        self._position += struct.calcsize(layout)
        return values
