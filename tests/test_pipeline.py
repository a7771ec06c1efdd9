"""The orchestrator's promises: what is verified is what is written, and nothing else ever is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from leo_cli import candidate, pipeline
from leo_cli.errors import AnswerNo, VerificationFailed
from leo_cli.network import Network
from leo_cli.onnx_io import read_model
from leo_cli.report.assemble import report_of_analysis
from leo_cli.rewrite import RewriteOptions
from leo_cli.stability import Budget, ClassifyOptions
from leo_cli.verify import VerifyOptions

SAMPLES = Path(__file__).resolve().parents[1] / "sample_models"
QUICK = pipeline.CompressOptions(verify=VerifyOptions(samples=500))


@pytest.fixture
def problem():
    return pipeline.load(SAMPLES / "thermostat.onnx", SAMPLES / "thermostat.bounds.json")


def _wrong_bias(network: Network) -> Network:
    *before, last = network.layers
    moved = replace(last, bias=last.bias + 2.0**-7)
    return replace(network, layers=(*before, moved))


def _lost_unit(network: Network) -> Network:
    """The first hidden unit, an unstable one, wrongly taken for inactive."""
    first, second, *rest = network.layers
    kept = np.arange(1, first.width)
    (into,), (out_of,) = first.terms, second.terms
    smaller = replace(
        first,
        terms=(replace(into, map=into.map.take(rows=kept)),),
        bias=first.bias[kept],
        origin=first.origin[kept],
    )
    reader = replace(second, terms=(replace(out_of, map=out_of.map.take(columns=kept)),))
    return replace(network, layers=(smaller, reader, *rest))


@pytest.mark.parametrize("mutate", [_wrong_bias, _lost_unit])
def test_a_wrong_rewrite_is_never_written(monkeypatch, problem, tmp_path, mutate) -> None:
    right = candidate.shrink

    def wrong(*arguments):
        shrunk = right(*arguments)
        return replace(shrunk, network=mutate(shrunk.network))

    monkeypatch.setattr(candidate, "shrink", wrong)
    result = pipeline.compress(problem, QUICK, Budget())
    assert not result.verification.passed
    out = tmp_path / "out.onnx"
    with pytest.raises(VerificationFailed, match="nothing was written"):
        pipeline.save_compressed(result, out)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(VerificationFailed):
        pipeline.content_to_write(result)


def test_what_is_verified_is_read_from_the_rendered_bytes(monkeypatch, problem, tmp_path) -> None:
    """A writer that spoils the file is noticed, although the network in memory is right."""
    right = candidate.render

    def wrong(model, network, metadata):
        return right(model, _wrong_bias(network), metadata)

    monkeypatch.setattr(candidate, "render", wrong)
    assert not pipeline.compress(problem, QUICK, Budget()).verification.passed


def test_the_file_written_is_the_one_verified(problem, tmp_path) -> None:
    result = pipeline.compress(problem, QUICK, Budget())
    out = tmp_path / "out.onnx"
    pipeline.save_compressed(result, out)
    assert out.read_bytes() == pipeline.content_to_write(result)
    assert read_model(out).sha256 == result.output.model.sha256


def test_nothing_to_remove_is_a_plain_copy(problem, tmp_path) -> None:
    once = pipeline.content_to_write(pipeline.compress(problem, QUICK, Budget()))
    again = pipeline.load(once, SAMPLES / "thermostat.bounds.json")
    result = pipeline.compress(again, QUICK, Budget())
    assert result.unchanged and result.connections_removed == 0
    pipeline.save_compressed(result, tmp_path / "copy.onnx")
    assert (tmp_path / "copy.onnx").read_bytes() == once


def test_a_file_out_of_order_is_not_copied(tmp_path) -> None:
    """Some converters append nodes at the end; the output is a valid model all the same, and is
    copied from then on."""
    proto = onnx.load(SAMPLES / "thermostat.onnx")
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(reversed(nodes))
    (tmp_path / "in.onnx").write_bytes(proto.SerializeToString())
    bounds, nothing = SAMPLES / "thermostat.bounds.json", RewriteOptions(rewrites=())
    options = replace(QUICK, rewrite=nothing)
    for source, copied in (("in.onnx", False), ("out.onnx", True)):
        problem = pipeline.load(tmp_path / source, bounds)
        compressed = pipeline.compress(problem, options, Budget())
        assert compressed.unchanged == copied
        pipeline.save_compressed(compressed, tmp_path / "out.onnx")
        onnx.checker.check_model(onnx.load(tmp_path / "out.onnx"), full_check=True)


def test_no_time_is_no_error(problem) -> None:
    result = pipeline.compress(problem, QUICK, Budget(deadline=0.0))
    assert result.verification.passed


def test_an_interrupted_search_still_gives_a_verified_model(problem) -> None:
    budget = Budget()
    budget.stop.set()
    assert pipeline.compress(problem, QUICK, budget).verification.passed


def test_fail_under_is_met_or_raised(problem, tmp_path) -> None:
    result = pipeline.compress(problem, QUICK, Budget())
    pipeline.check_result(result, result.connections_removed)
    with pytest.raises(AnswerNo, match="--fail-under"):
        pipeline.save_compressed(result, tmp_path / "o.onnx", result.connections_removed + 0.01)
    assert list(tmp_path.iterdir()) == []


def test_bit_exact_gives_up_what_moves_bits(problem, monkeypatch) -> None:
    """With a verification that sees bits move whenever h1 is rewritten, h1 stays as it was."""
    right = candidate.verify_models

    def sensitive(original, rewritten, *rest):
        found = right(original, rewritten, *rest)
        width = rewritten.network.layers[0].width
        return replace(found, bit_identical=1.0 if width == 6 else 0.5)

    monkeypatch.setattr(candidate, "verify_models", sensitive)
    result = pipeline.compress(problem, replace(QUICK, bit_exact=True), Budget())
    assert result.verification.bit_identical == 1.0
    assert result.candidate.model.network.layers[0].width == 6
    assert any("gave up the rewrites of layer h1" in note for note in result.notes)


def test_stages_are_timed(problem) -> None:
    pipeline.compress(problem, QUICK, Budget())
    seconds = problem.watch.seconds()
    assert set(seconds) == {"total", "read", "classify", "rewrite", "verify"}
    assert seconds["total"] >= max(v for k, v in seconds.items() if k != "total") > 0


def test_analysis_alone_changes_nothing(problem) -> None:
    analysis = pipeline.analyze(problem, ClassifyOptions(), Budget())
    first, _ = analysis.stability.layers
    assert len(first.verdicts) == 6


def test_what_reading_the_domain_had_to_say_is_in_the_report(problem) -> None:
    domain = replace(problem.domain, notes=("a disjunction became its hull",))
    noted = replace(problem, domain=domain)
    report = report_of_analysis(pipeline.analyze(noted, ClassifyOptions(), Budget()))
    assert "a disjunction became its hull" in report.notes
