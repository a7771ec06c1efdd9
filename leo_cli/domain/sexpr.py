"""S-expressions: nested lists of words, read without recursion.

Comments run from ";" to the end of the line. Only what VNN-LIB uses is known: no texts, no quoted
symbols.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from leo_cli.domain.place import Place

_TOKEN = re.compile(r"[()]|;[^\n\r]*|[^\s();]+")
_DEEPEST = 100


@dataclass
class Form:
    """A list. line: where it starts."""

    line: int
    parts: list[Form | str] = field(default_factory=list)

    @property
    def head(self) -> str:
        """The first word; "" if there is none."""
        first = self.parts[0] if self.parts else ""
        return first if isinstance(first, str) else ""


def parse(text: str, place: Place) -> list[Form]:
    """The forms at the top. Raises DomainError with the line."""
    top: list[Form] = []
    open_forms: list[Form] = []
    line, seen = 1, 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        line += text.count("\n", seen, match.start())
        seen = match.start()
        if token[0] == ";":
            continue
        here = place.at(f"line {line}")
        if token == "(":
            if len(open_forms) == _DEEPEST:
                raise here.error(f"nested more than {_DEEPEST} levels deep")
            form = Form(line)
            (open_forms[-1].parts if open_forms else top).append(form)
            open_forms.append(form)
        elif token == ")":
            if not open_forms:
                raise here.error('")" without "("')
            open_forms.pop()
        elif not open_forms:
            raise here.error(f"{token[:40]!a} outside of any parentheses; this is no VNN-LIB file")
        else:
            open_forms[-1].parts.append(token)
    if open_forms:
        raise place.at(f"line {open_forms[-1].line}").error('"(" is never closed')
    return top
