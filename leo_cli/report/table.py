"""The report as a table for people, at most 80 columns wide.

Layout only: every figure comes from the report. Signs outside ASCII are used where the stream's
encoding has them, colour where the caller asks for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from leo_cli.report.model import LayerReport, Report

WIDTH = 80
_LABEL = 14  # columns of the labels under the table of layers
_TIE = "\N{NO-BREAK SPACE}"  # between words that stay on one line
_NAME = 25  # columns of a layer's name

Paint = Callable[[str, str], str]
"""(text, style) -> text; style is "title", "good", "warn" or "dim"."""


@dataclass(frozen=True)
class Signs:
    arrow: str
    line: str
    dot: str
    dots: str


UNICODE = Signs(arrow="→", line="─", dot="·", dots="…")
ASCII = Signs(arrow="->", line="-", dot=",", dots="...")


def signs_for(encoding: str | None) -> Signs:
    """The signs that a stream of this encoding can carry."""
    try:
        "".join(vars(UNICODE).values()).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def plain(text: str, style: str) -> str:
    return text


def render_table(
    report: Report, signs: Signs = UNICODE, paint: Paint = plain, verbose: bool = False
) -> str:
    """The whole report in lines of at most WIDTH columns, colours not counted."""
    table = _Table(signs, paint)
    table.title(report)
    if report.layers:
        table.layers(report)
    table.summary(report)
    if verbose:
        table.details(report)
    return "\n".join(table.lines)


class _Table:
    def __init__(self, signs: Signs, paint: Paint) -> None:
        self.signs, self.paint = signs, paint
        self.lines: list[str] = []

    def title(self, report: Report) -> None:
        paths = [report.model.path]
        if report.other is not None:
            paths.append(report.other.path)
        elif report.output is not None:
            paths.append(report.output.path)
        head, between = f"leo {report.command}  ", f"  {self.signs.arrow}  "
        room = (WIDTH - len(head) - len(between) * (len(paths) - 1)) // len(paths)
        text = head + between.join(self._cut(path, room) for path in paths)
        self.lines += [self.paint(text, "title"), ""]

    def layers(self, report: Report) -> None:
        shown = report.layers or ()
        heads = ("layer", "width", "inactive", "active", "unstable", "undecided")
        self._row(heads, lambda text, column: self.paint(text, "dim"))
        self.lines.append(self.paint(self.signs.line * _row_width(), "dim"))
        for layer in shown:
            width = self._change(layer.width, layer.width_after)
            self._row((self._cut(layer.name, _NAME), width, *_counts(layer)), self._stress)
        if report.totals is not None and len(shown) > 1:
            t = report.totals
            after = report.after.units if report.after is not None else None
            self.lines.append(self.paint(self.signs.line * _row_width(), "dim"))
            counts = (str(t.inactive), str(t.active), str(t.unstable), str(t.undecided))
            self._row(("all units", self._change(t.units, after), *counts), self._stress)
        self.lines.append("")

    def summary(self, report: Report) -> None:
        self._settled(report)
        self._sizes(report)
        self._fidelity(report)
        self._verification(report)
        if report.proof is not None:
            p = report.proof
            shown = f"{p.inactive} inactive, {p.active} active, {p.unstable} unstable"
            size = f"{p.bytes:,} bytes in {_time(p.seconds)}"
            same = f"outputs within {_number(p.deviation)}" if p.deviation else "outputs equal"
            self._entry("proof", self._joined([p.path, size, shown, same]))
        for speed in report.latency or ():
            times = f"{_time(speed.before)} {self.signs.arrow} {_time(speed.after)}"
            batch = f"batch {speed.batch}: {times}"
            self._entry("latency", self._joined([batch, f"{speed.ratio:.2f} of the time"]))
        stages = [f"{key} {_time(s)}" for key, s in report.seconds.items() if key != "total"]
        self._entry("time", f"{_time(report.seconds['total'])}: " + self._joined(stages))
        for note in report.notes:
            self._entry("note", note)

    def details(self, report: Report) -> None:
        """Every unit and every rewrite, one a line."""
        for rewrite in report.rewrites or ():
            units = f"{len(rewrite.units)} units" if rewrite.units else ""
            moved = f"deviation {_number(rewrite.deviation)}"
            parts = (f"{rewrite.layer}: {rewrite.rewrite}", units, moved, rewrite.note)
            self._entry("rewrite", self._joined([part for part in parts if part]))
        for layer in report.layers or ():
            for unit in layer.units:
                bounds = f"[{_number(unit.lower)}, {_number(unit.upper)}]"
                by = f"by {unit.by}" if unit.by else ""
                word = "trusted, no proof" if unit.trusted else unit.claim
                parts = (f"{layer.name} {unit.unit}: {unit.state}", by, bounds, word)
                self._entry("unit", self._joined([part for part in parts if part]))

    def _settled(self, report: Report) -> None:
        units = [unit for layer in report.layers or () for unit in layer.units]
        by = Counter(unit.by for unit in units if unit.by)
        if by:
            self._entry("settled by", self._joined([f"{name} {n}" for name, n in by.items()]))
        claims = Counter(unit.claim for unit in units if unit.claim and not unit.trusted)
        for claim, count in claims.items():
            self._entry("no proof", f"{claim}: {_units(count)}, kept", "warn")
        trusted = sum(unit.trusted for unit in units)
        if trusted:
            self._entry("no proof", f"{_units(trusted)} rest on the solver's word", "warn")

    def _sizes(self, report: Report) -> None:
        before, after = report.before, report.after
        if before is None or after is None:
            return
        rows = [
            ("connections", before.connections, after.connections),
            ("parameters", before.parameters, after.parameters),
            ("inputs used", before.inputs_used, after.inputs_used),
        ]
        if report.output is not None:
            rows.append(("bytes", report.model.bytes, report.output.bytes))
        room = max(len(f"{number:,}") for row in rows for number in row[1:])
        for label, old, new in rows:
            if old == new and label != "connections":
                continue
            change = "as before" if old == new else f"{_percent(abs(1 - new / old))} "
            change += "" if old == new else ("fewer" if new < old else "more")
            numbers = f"{old:>{room},} {self.signs.arrow} {new:>{room},}"
            self._line(label, f"{numbers}   {change}", "good" if new < old else "")

    def _fidelity(self, report: Report) -> None:
        if report.fidelity is None:
            return
        f = report.fidelity
        if f.deviation == 0:
            self._entry("outputs", "exactly equal in real arithmetic on the whole domain", "good")
        else:
            allowed = f"(allowed {_number(f.tolerance)})"
            self._entry("outputs", f"move by at most {_number(f.deviation)} {allowed}")
        if f.rounding_bound_before is not None and f.rounding_bound_after is not None:
            pair = (_number(f.rounding_bound_before), _number(f.rounding_bound_after))
            self._entry("rounding", f"at most {f' {self.signs.arrow} '.join(pair)}")

    def _verification(self, report: Report) -> None:
        v = report.verification
        if v is None:
            return
        same = f"{_percent(v.bit_identical)} bit-identical"
        ulps = f"{v.scaled_ulp:,.2g} ulp of the largest value"
        most = f"largest difference {_number(v.max_abs_diff)} ({ulps})"
        text = self._joined([f"{v.samples:,} points", same, most])
        if v.passed:
            self._entry("verified", text, "good")
        else:
            self._entry("NOT VERIFIED", f"{v.failure} {self.signs.dot} {text}", "warn")
        for note in v.notes:
            self._entry("", note)

    def _entry(self, label: str, text: str, style: str = "") -> None:
        """`label  text`, wrapped at words; later lines are indented as far as the text."""
        room = WIDTH - _LABEL
        for number, line in enumerate(self._wrapped(text, room)):
            self._line(label if number == 0 else "", line, style)

    def _line(self, label: str, text: str, style: str = "") -> None:
        """`label  text` on one line."""
        painted = self.paint(text, style) if style else text
        self.lines.append(self.paint(f"{label:<{_LABEL}}", "dim") + painted)

    def _wrapped(self, text: str, room: int) -> list[str]:
        lines = [""]
        for word in filter(None, text.split(" ")):
            piece = self._cut(word, room).replace(_TIE, " ")
            if len(lines[-1]) + len(piece) + 1 > room and lines[-1].strip():
                lines.append(piece)
            else:
                lines[-1] = f"{lines[-1]} {piece}" if lines[-1] else piece
        return lines

    def _row(self, cells: Sequence[str], paint: Callable[[str, int], str]) -> None:
        padded = [f"{cells[0]:<{_NAME}}", f"{cells[1]:>14}", *(f"{c:>9}" for c in cells[2:])]
        self.lines.append(" ".join(paint(cell, k) for k, cell in enumerate(padded)).rstrip())

    def _stress(self, cell: str, column: int) -> str:
        undecided = column == 5 and cell.strip() != "0"
        return self.paint(cell, "warn") if undecided else cell

    def _change(self, before: int, after: int | None) -> str:
        return str(before) if after is None else f"{before} {self.signs.arrow} {after}"

    def _cut(self, text: str, room: int) -> str:
        """The end of a name tells layers apart better than its start."""
        if len(text) <= room:
            return text
        return self.signs.dots + text[-(room - len(self.signs.dots)) :]

    def _joined(self, parts: Sequence[str]) -> str:
        """Parts with a sign between them; lines are broken between parts only where they fit."""
        between = f" {self.signs.dot} " if self.signs.dot != "," else ", "
        room = WIDTH - _LABEL
        tied = [p.replace(" ", _TIE) if len(p) <= room - 2 else p for p in parts]
        return between.join(tied)


def _row_width() -> int:
    return _NAME + 1 + 14 + 4 * 10


def _counts(layer: LayerReport) -> tuple[str, str, str, str]:
    groups = (layer.inactive, layer.active, layer.unstable, layer.undecided)
    a, b, c, d = (str(len(group)) for group in groups)
    return a, b, c, d


def _units(count: int) -> str:
    return f"{count} unit" if count == 1 else f"{count} units"


def _percent(share: float) -> str:
    """Never "100%" or "0%" where it is not quite that."""
    text = f"{100 * share:.1f}"
    if text == "100.0" and share < 1:
        text = "99.9"
    if text in ("0.0", "-0.0") and share > 0:
        text = "0.1"
    return f"{text}%".replace(".0%", "%") if share in (0, 1) else f"{text}%"


def _number(value: float) -> str:
    return f"{value:.2g}"


def _time(seconds: float) -> str:
    if seconds >= 100:
        return f"{seconds:.0f} s"
    if seconds >= 0.1:
        return f"{seconds:.1f} s"
    milliseconds = 1000 * seconds
    if milliseconds < 1:
        return f"{1000 * milliseconds:.3g} us"
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.2g} ms"
