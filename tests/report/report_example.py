"""A small report with something of everything, for the tests of its two forms."""

from leo_cli.report.model import (
    Compression,
    DomainReport,
    Fidelity,
    LatencyReport,
    LayerReport,
    ModelReport,
    OutputReport,
    ProofReport,
    Report,
    RewriteReport,
    Size,
    Totals,
    UnitReport,
    VerificationReport,
)


def unit(index: int, state: str, by: str, claim: str = "") -> UnitReport:
    return UnitReport(index, state, by, -2.0, 1.5, 0.0, 0.001, claim)


def example() -> Report:
    first = LayerReport(
        "layer0.relu",
        3,
        inactive=(0,),
        active=(2,),
        unstable=(1,),
        undecided=(),
        units=(
            unit(0, "inactive", "linear"),
            unit(1, "unstable", "samples"),
            unit(2, "active", "interval"),
        ),
        width_after=2,
    )
    second = LayerReport(
        "a/very/long/module/path/of/an/exporter/that/goes/on/and/on/Relu_output_0",
        2,
        inactive=(),
        active=(),
        unstable=(0,),
        undecided=(1,),
        units=(
            unit(0, "unstable", "samples"),
            unit(1, "undecided", "", "solver claims inactive"),
        ),
        width_after=2,
    )
    return Report(
        command="compress",
        model=ModelReport("in.onnx", "ab" * 32, 1000, {"x": ("batch", 4)}, {"y": ("batch", 2)}),
        domain=DomainReport(4, 1, "cd" * 32),
        seconds={"total": 1.9, "read": 0.05, "classify": 1.1, "rewrite": 0.1, "verify": 0.4},
        layers=(first, second),
        totals=Totals(5, 1, 1, 2, 1, 3, 4),
        rewrites=(RewriteReport("drop_inactive", "layer0.relu", (0,), 0.0),),
        before=Size(5, 2, 22, 29, 4),
        after=Size(4, 2, 16, 22, 4),
        compression=Compression(6 / 22, 0.2, 0.25),
        fidelity=Fidelity(1e-9, 5.8e-7, 1.2e-4, None),
        verification=VerificationReport(10_000, 0.31, 1.4e-6, 3, 1.5, True),
        latency=(LatencyReport(1, 1.2e-5, 9e-6, 0.75),),
        proof=ProofReport("out.proof", 1234, 7, 0.25, 1, 1, 2, 2.5e-9),
        output=OutputReport("out.onnx", "ef" * 32, 750),
        notes=("some remark that is long enough to need more than one line of the table " * 2,),
    )
