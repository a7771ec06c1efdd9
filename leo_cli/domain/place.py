"""Where in a file something was found, so that every error names the file, the key, and the way
out."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from leo_cli.errors import DomainError

_LONGEST = 60  # characters of a quoted key or value


@dataclass(frozen=True)
class Place:
    """file: as the user named it. parts: what leads to the place, outermost first."""

    file: str
    parts: tuple[str, ...] = ()

    def at(self, part: str) -> Place:
        return Place(self.file, (*self.parts, part))

    def error(self, message: str) -> DomainError:
        """A DomainError of one line."""
        return DomainError(" ".join(": ".join([self.file, *self.parts, message]).split()))

    def sentence(self, predicate: str) -> DomainError:
        """The same, with the innermost part as the subject: 'upper' and 'has 783 values'."""
        return Place(self.file, self.parts[:-1]).error(f"{self.parts[-1]} {predicate}")


def quoted(text: object) -> str:
    """A key or value for a message: on one line, in ASCII, and not too long."""
    whole = json.dumps(text) if isinstance(text, str) else str(text)
    return whole if len(whole) <= _LONGEST else f"{whole[: _LONGEST - 3]}..."


def suggestion(word: str, known: Iterable[str], introduction: str = "known") -> str:
    """'(did you mean "lower"?)', or the known words, for an error about an unknown one."""
    words = list(known)
    near = difflib.get_close_matches(word[:_LONGEST], words, n=1)
    if near:
        return f"did you mean {quoted(near[0])}?"
    shown = ", ".join(quoted(w) for w in words[:8]) + (", ..." if len(words) > 8 else "")
    return f"{introduction}: {shown}" if words else f"{introduction}: none"
