"""The three commands on the sample models: files in, files out."""

import hashlib
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from leo_command import NAMES, bounds, leo, leo_from_scratch, model


def _interface(path) -> list:
    graph = onnx.load(path).graph
    return [
        (t.name, t.type.SerializeToString()) for part in (graph.input, graph.output) for t in part
    ]


@pytest.mark.parametrize("name", NAMES)
def test_compress_makes_a_smaller_equal_model(name, tmp_path) -> None:
    small, report = tmp_path / "small.onnx", tmp_path / "r.json"
    done = leo_from_scratch(
        "compress", model(name), small, "--bounds", bounds(name), "--report", report
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    onnx.checker.check_model(str(small), full_check=True)
    assert _interface(small) == _interface(model(name))
    if model(name).stat().st_size > 5000:  # smaller ones grow by the metadata
        assert small.stat().st_size < model(name).stat().st_size

    found = json.loads(report.read_text())
    assert found["verification"]["passed"] is True
    assert found["totals"]["undecided"] == 0 and found["totals"]["inactive"] > 0
    assert found["after"]["connections"] < found["before"]["connections"]
    assert found["fidelity"]["deviation"] <= found["fidelity"]["tolerance"]
    assert found["output"]["sha256"] == hashlib.sha256(small.read_bytes()).hexdigest()
    assert found["output"]["bytes"] == small.stat().st_size
    assert found["model"]["sha256"] == hashlib.sha256(model(name).read_bytes()).hexdigest()

    metadata = {p.key: p.value for p in onnx.load(small).metadata_props}
    assert metadata["leo.source_sha256"] == found["model"]["sha256"]
    assert metadata["leo.domain_sha256"] == found["domain"]["sha256"]
    assert metadata["leo.version"] == found["leo_version"]

    agree = leo("verify", model(name), small, "--bounds", bounds(name), "--quiet")
    assert agree.returncode == 0, agree.stderr


@pytest.mark.parametrize("name", ["digits", "cancer"])
def test_the_same_seed_gives_the_same_file_on_any_number_of_cores(name, tmp_path) -> None:
    for out, jobs in (("a.onnx", 1), ("b.onnx", 3)):
        options = ("--bounds", bounds(name), "-q", "-j", jobs)
        done = leo_from_scratch("compress", model(name), tmp_path / out, *options)
        assert done.returncode == 0 and done.stdout == b""
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_compressing_twice_changes_nothing_more(tmp_path) -> None:
    first, second = tmp_path / "1.onnx", tmp_path / "2.onnx"
    tolerance = ("--tolerance", "0")
    assert (
        leo("compress", model("digits"), first, "--bounds", bounds("digits"), *tolerance).returncode
        == 0
    )
    done = leo("compress", first, second, "--bounds", bounds("digits"), "--json", *tolerance)
    assert done.returncode == 0
    assert second.read_bytes() == first.read_bytes(), "nothing to remove: a plain copy"
    report = json.loads(done.stdout)
    assert report["rewrites"] == [] and any("plain copy" in note for note in report["notes"])


def test_a_constant_network_is_a_constant(tmp_path) -> None:
    small = tmp_path / "small.onnx"
    name = "alarm_constant"
    assert leo("compress", model(name), small, "--bounds", bounds(name)).returncode == 0
    session = onnxruntime.InferenceSession(str(small), providers=["CPUExecutionProvider"])
    (level,) = session.run(None, {"temperature_pressure": np.array([[10, 1], [80, 6]], np.float32)})
    assert level.tolist() == [[0.25], [0.25]]


def test_analyze_writes_nothing(tmp_path) -> None:
    done = leo(
        "analyze", model("thermostat"), "--bounds", bounds("thermostat"), "--json", cwd=tmp_path
    )
    assert done.returncode == 0 and done.stderr == b""
    report = json.loads(done.stdout)
    assert report["command"] == "analyze" and not {"after", "output", "rewrites"} & set(report)
    (layer,) = report["layers"]
    assert (layer["inactive"], layer["active"], layer["unstable"]) == ([2], [3, 4, 5], [0, 1])
    assert [unit["unit"] for unit in layer["units"]] == list(range(6))
    assert list(tmp_path.iterdir()) == []


def test_verify_tells_different_models_apart(tmp_path) -> None:
    proto = onnx.load(model("thermostat"))
    bias = next(t for t in proto.graph.initializer if t.name == "b2")
    bias.raw_data = np.array([-0.25], np.float32).tobytes()
    other = tmp_path / "other.onnx"
    onnx.save(proto, other)
    options = ("--bounds", bounds("thermostat"), "--json")
    done = leo("verify", model("thermostat"), other, *options)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["verification"]["passed"] is False
    assert report["verification"]["max_abs_diff"] == pytest.approx(0.25, abs=1e-4)
    assert done.stderr.count(b"\n") == 1 and b"differ" in done.stderr
    assert leo("verify", model("thermostat"), other, *options, "--tolerance", "0.3").returncode == 0


def test_fail_under_writes_nothing(tmp_path) -> None:
    out = tmp_path / "out.onnx"
    out.write_bytes(b"was here before")
    options = ("--bounds", bounds("digits"), "--fail-under", "99%")
    done = leo("compress", model("digits"), out, *options)
    assert done.returncode == 1
    assert b"--fail-under 99.0%" in done.stderr and done.stderr.count(b"\n") == 1
    assert out.read_bytes() == b"was here before" and list(tmp_path.iterdir()) == [out]


def test_bit_exact_keeps_every_bit(tmp_path) -> None:
    small = tmp_path / "small.onnx"
    done = leo(
        "compress", model("digits"), small, "--bounds", bounds("digits"), "--bit-exact", "--json"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verification"]["bit_identical"] == 1.0
    rows = np.random.default_rng(5).random((500, 8, 8), dtype=np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    before, after = (
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(
            None, {"pixels": rows}
        )[0]
        for path in (model("digits"), small)
    )
    assert before.tobytes() == after.tobytes()


def test_samples_are_used_and_those_outside_are_reported(tmp_path) -> None:
    rows = np.array([[20.0, 0.5], [4.0, 0.5], [39.0, 1.0]])
    np.save(tmp_path / "rows.npy", rows)
    options = ("--bounds", bounds("thermostat"), "--samples", tmp_path / "rows.npy")
    done = leo("analyze", model("thermostat"), *options, "--json")
    (note,) = [n for n in json.loads(done.stdout)["notes"] if "samples" in n]
    assert "1 of 3 samples lie outside the domain" in note


def test_output_may_replace_input(tmp_path) -> None:
    same = tmp_path / "m.onnx"
    same.write_bytes(model("thermostat").read_bytes())
    done = leo("compress", same, same, "--bounds", bounds("thermostat"), "-q")
    assert done.returncode == 0
    assert same.read_bytes() != model("thermostat").read_bytes()
    onnx.checker.check_model(str(same))


def test_a_journal_is_gone_on_with_and_never_mixed_up(tmp_path) -> None:
    journal = tmp_path / "journal"
    options = ("--bounds", bounds("cancer"), "--resume", journal, "--json")
    first, second = (leo("analyze", model("cancer"), *options) for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    one, two = (json.loads(done.stdout) for done in (first, second))
    assert [layer["inactive"] for layer in one["layers"]] == [
        layer["inactive"] for layer in two["layers"]
    ]
    (file,) = journal.iterdir()
    file.write_bytes(file.read_bytes() + b"half a li")
    third = leo("analyze", model("cancer"), *options)
    assert third.returncode == 0
    assert any("damaged last line" in note for note in json.loads(third.stdout)["notes"])
    other = leo("analyze", model("digits"), "--bounds", bounds("digits"), "--resume", journal)
    assert other.returncode == 2 and b"another model" in other.stderr


def _run(path, rows) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"state": np.array(rows, np.float32)})


OUTSIDE = [[4.0, 0.5], [100.0, 3.0], [20.0, -0.1], [np.nan, 0.5], [np.inf, 0.5]]
INSIDE = [[5.0, 0.0], [20.0, 0.5], [40.0, 1.0]]


def test_a_flag_is_never_true_outside_the_domain(tmp_path) -> None:
    out = tmp_path / "flag.onnx"
    options = ("--bounds", bounds("thermostat"), "--guard", "flag", "-q")
    assert leo("compress", model("thermostat"), out, *options).returncode == 0
    _, inside = _run(out, [*INSIDE, *OUTSIDE])
    assert inside.tolist() == [True] * 3 + [False] * 5


def test_clipped_inputs_give_the_nearest_answer_of_the_domain(tmp_path) -> None:
    out = tmp_path / "clip.onnx"
    options = ("--bounds", bounds("thermostat"), "--guard", "clip", "-q")
    assert leo("compress", model("thermostat"), out, *options).returncode == 0
    (heat,) = _run(out, [[-50.0, 0.5], [5.0, 0.5], [300.0, 9.0], [40.0, 1.0]])
    assert heat[0] == heat[1] and heat[2] == heat[3]


def test_clip_refuses_what_is_no_box(tmp_path) -> None:
    box = '{"state": {"lower": [5, 0], "upper": [40, 1], "integer": [0]}}'
    done = leo(
        *("compress", model("thermostat"), tmp_path / "o.onnx", "--bounds", "-", "--guard", "clip"),
        stdin=box.encode(),
    )
    assert done.returncode == 2 and b"--guard flag" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_latency_is_measured_on_request(tmp_path) -> None:
    options = ("--bounds", bounds("thermostat"), "--latency", "--json")
    done = leo("compress", model("thermostat"), tmp_path / "o.onnx", *options)
    latency = json.loads(done.stdout)["latency"]
    assert [entry["batch"] for entry in latency] == [1, 256]
    assert all(entry[key] > 0 for entry in latency for key in ("before", "after", "ratio"))
