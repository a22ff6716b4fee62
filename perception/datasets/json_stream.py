"""A JSON array of records read one record at a time, however long the file is."""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20
_MAX_RECORD = 4 << 20  # characters; what a damaged file can make the reader hold


def stream_array(path: str | Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON file that is an array of objects.

    Raises FileNotFoundError; ValueError naming the file and the number of the record where the text is not that, holds
    NaN or Infinity, which JSON has not, or a record is longer than four million characters.
    """
    path = Path(path)
    number = 0
    try:
        with open(path, "rb") as file:
            for record in _records(_text(file)):
                yield record
                number += 1
    except FileNotFoundError:
        raise FileNotFoundError(f"no file {path}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON after {number} records ({error}); unpack it again") from error


def _text(file: Any) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    while chunk := file.read(_CHUNK_BYTES):
        yield decoder.decode(chunk)
    decoder.decode(b"", final=True)


def _records(chunks: Iterator[str]) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder(parse_constant=_refuse)
    buffer = _Buffer(chunks)
    buffer.expect("[")
    if buffer.peek() == "]":
        buffer.expect("]")
    else:
        while True:
            record = buffer.decode(decoder)
            if not isinstance(record, dict):
                raise ValueError(f"a {type(record).__name__} stands where a record should")
            yield record
            if buffer.peek() == "]":
                buffer.expect("]")
                break
            buffer.expect(",")
    if buffer.peek():
        raise ValueError("there is more after the array's end")


class _Buffer:
    """Text that arrives in chunks, from a place that moves on."""

    def __init__(self, chunks: Iterator[str]) -> None:
        self.chunks, self.text, self.at = chunks, "", 0

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more():
                return ""

    def expect(self, character: str) -> None:
        if (found := self.peek()) != character:
            raise ValueError(f"{character!r} is expected where {found!r} stands" if found else "it ends early")
        self.at += 1

    def decode(self, decoder: json.JSONDecoder) -> Any:
        self.peek()
        while True:
            try:
                value, self.at = decoder.raw_decode(self.text, self.at)
                return value
            except json.JSONDecodeError as error:
                # The record may only be cut by the chunk's end.
                if len(self.text) - self.at > _MAX_RECORD:
                    raise ValueError(f"a record of more than {_MAX_RECORD} characters, or {error.msg}") from error
                if not self._more():
                    raise ValueError(error.msg) from error

    def _more(self) -> bool:
        chunk = next(self.chunks, None)
        if chunk is None:
            return False
        self.text, self.at = self.text[self.at :] + chunk, 0
        return True


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
