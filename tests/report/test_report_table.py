"""The table: never wider than 80 columns, ASCII where need be, and true to the report."""

from dataclasses import replace

import pytest
from report_example import example

from leo_cli.report.model import Fidelity, VerificationReport
from leo_cli.report.table import ASCII, UNICODE, WIDTH, render_table, signs_for

LONG = "x" * 200


@pytest.mark.parametrize("signs", [ASCII, UNICODE])
@pytest.mark.parametrize("verbose", [False, True])
def test_no_line_is_wider_than_80_columns(signs, verbose) -> None:
    report = example()
    wide = replace(
        report,
        model=replace(report.model, path=LONG, bytes=10**12),
        layers=tuple(
            replace(layer, name=LONG, width=65536, width_after=65535) for layer in report.layers
        ),
        notes=(LONG,),
    )
    for shown in (report, wide):
        lines = render_table(shown, signs, verbose=verbose).splitlines()
        assert max(map(len, lines)) <= WIDTH == 80


def test_ascii_is_ascii() -> None:
    assert render_table(example(), ASCII, verbose=True).isascii()
    assert not render_table(example(), UNICODE).isascii()


@pytest.mark.parametrize(
    ("encoding", "signs"),
    [("utf-8", UNICODE), ("ascii", ASCII), ("latin-1", ASCII), (None, ASCII), ("no-such", ASCII)],
)
def test_signs_follow_the_encoding(encoding, signs) -> None:
    assert signs_for(encoding) is signs


def test_colour_changes_nothing_but_colour() -> None:
    marked = render_table(example(), paint=lambda text, style: f"<{style}>{text}</{style}>")
    for style in ("title", "good", "warn", "dim"):
        marked = marked.replace(f"<{style}>", "").replace(f"</{style}>", "")
    assert [line.rstrip() for line in marked.splitlines()] == [
        line.rstrip() for line in render_table(example()).splitlines()
    ]


def test_figures_are_those_of_the_report() -> None:
    table = render_table(example(), ASCII)
    row = next(line for line in table.splitlines() if line.startswith("layer0.relu"))
    assert row.split() == ["layer0.relu", "3", "->", "2", "1", "1", "1", "0"]
    total = next(line for line in table.splitlines() if line.startswith("all units"))
    assert total.split() == ["all", "units", "5", "->", "4", "1", "1", "2", "1"]
    assert "27.3% fewer" in table and "samples 2" in table and "linear 1" in table
    assert "solver claims inactive: 1 unit, kept" in table


def test_a_failed_verification_stands_out() -> None:
    failed = replace(example(), verification=VerificationReport(10, 0.0, 3.0, 9, 9.0, passed=False))
    assert "NOT VERIFIED" in render_table(failed, ASCII)
    assert "NOT VERIFIED" not in render_table(example(), ASCII)


@pytest.mark.parametrize(("deviation", "exact"), [(0.0, True), (5e-324, False)])
def test_only_a_deviation_of_zero_is_called_exact(deviation, exact) -> None:
    fidelity = Fidelity(deviation, 1e-6, None, None)
    table = render_table(replace(example(), fidelity=fidelity), ASCII)
    assert ("exactly equal in real arithmetic" in table) == exact


def test_shares_that_are_not_quite_all_or_nothing_do_not_read_so() -> None:
    report = example()
    for share, text in ((0.99999, "99.9%"), (0.00001, "0.1%"), (1.0, "100%"), (0.0, "0%")):
        v = replace(report.verification, bit_identical=share)
        assert f"{text} bit-identical" in render_table(replace(report, verification=v), ASCII)


def test_lines_break_between_parts_not_within_them() -> None:
    table = render_table(example(), ASCII)
    assert "largest difference 1.4e-06 (1.5 ulp of the largest value)" in table
    stages = "read 50 ms, classify 1.1 s, rewrite 0.1 s, verify 0.4 s"
    assert all(part in table for part in stages.split(", "))


def test_a_proof_is_told_in_one_entry() -> None:
    table = render_table(example(), ASCII)
    assert "out.proof, 1,234 bytes in 0.2 s, 1 inactive, 1 active, 2 unstable" in table.replace(
        "\n" + 14 * " ", " "
    )
    assert "proof" not in render_table(replace(example(), proof=None, layers=()), ASCII)
