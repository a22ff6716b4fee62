"""Records of a long table in little memory."""

import marshal
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

# Before version 3, which looks for values that it has met already: slower, and there are none in a record.
_MARSHAL_VERSION = 2


class PackedRecords:
    """Records by their token, like a dictionary of them; each is kept as bytes and found by its token's hash.

    A dictionary of dictionaries takes ten times the memory, and forked workers soon have a copy of it each: whoever
    reads a Python object writes its reference count. Here they share all but the record in hand.

    Args:
        fields: what every record has, its "token" among them; nothing else is kept.
        records: in the order in which `values` gives them back. No two have the same token.
    """

    def __init__(self, fields: Sequence[str], records: Iterable[dict[str, Any]]) -> None:
        self._fields = tuple(fields)
        self._packed, self._ends, hashes = bytearray(), array("q", [0]), array("q")
        for record in records:
            self._packed += marshal.dumps([record[field] for field in self._fields], _MARSHAL_VERSION)
            self._ends.append(len(self._packed))
            hashes.append(hash(record["token"]))
        rows = np.argsort(np.frombuffer(hashes, np.int64))
        # Arrays of Python, whose single numbers are read faster than numpy's.
        self._rows = array("q", rows.tobytes())
        self._hashes = array("q", np.frombuffer(hashes, np.int64)[rows].tobytes())

    def __len__(self) -> int:
        return len(self._rows)

    def values(self) -> Iterator[dict[str, Any]]:
        return (self._record(row) for row in range(len(self)))

    def __getitem__(self, token: str) -> dict[str, Any]:
        if (record := self.get(token)) is None:
            raise KeyError(token)
        return record

    def __contains__(self, token: str) -> bool:
        return self.get(token) is not None

    def get(self, token: str) -> dict[str, Any] | None:
        """A record, or None where there is none of that token."""
        key = hash(token)
        for place in range(bisect_left(self._hashes, key), len(self)):
            if self._hashes[place] != key:
                break
            record = self._record(self._rows[place])
            if record["token"] == token:
                return record
        return None

    def _record(self, row: int) -> dict[str, Any]:
        packed = self._packed[self._ends[row] : self._ends[row + 1]]
        return dict(zip(self._fields, marshal.loads(packed), strict=True))
