"""Ctrl-C once and twice, SIGTERM and SIGKILL in the middle of a search that takes long."""

import signal
import subprocess
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from leo_command import command, environment
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture(scope="module")
def hard(tmp_path_factory) -> Path:
    """A deep random network on a wide box: bounds are loose, so the search does not end soon."""
    rng = np.random.default_rng(7)
    widths = [40, 80, 80, 80, 80, 80, 3]
    nodes, weights, value = [], [], "x"
    for k in range(1, len(widths)):
        matrix = rng.normal(size=(widths[k], widths[k - 1])) / np.sqrt(widths[k - 1])
        bias = rng.normal(size=widths[k])
        weights += [
            numpy_helper.from_array(matrix.astype(np.float32), f"W{k}"),
            numpy_helper.from_array(bias.astype(np.float32), f"b{k}"),
        ]
        last = k == len(widths) - 1
        nodes.append(
            helper.make_node(
                "Gemm", [value, f"W{k}", f"b{k}"], ["y" if last else f"z{k}"], transB=1
            )
        )
        if not last:
            nodes.append(helper.make_node("Relu", [f"z{k}"], [f"h{k}"]))
            value = f"h{k}"
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
        for name, width in (("x", widths[0]), ("y", widths[-1]))
    ]
    graph = helper.make_graph(nodes, "hard", tensors[:1], tensors[1:], weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    directory = tmp_path_factory.mktemp("hard")
    onnx.save(proto, directory / "hard.onnx")
    (directory / "bounds.json").write_text('{"lower": -1, "upper": 1}')
    return directory


class _Running:
    """`leo compress` at work, its stderr read line by line."""

    def __init__(self, hard: Path, out: Path) -> None:
        options = ("--bounds", hard / "bounds.json", "--progress", "--time-limit", "none")
        self.child = subprocess.Popen(
            command("compress", hard / "hard.onnx", out, *options, "--check-n", "200"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            text=True,
        )
        self.said: list[str] = []
        self._searching = threading.Event()
        self._noticed = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.child.stderr:
            self.said.append(line)
            if "units left" in line:
                self._searching.set()
            if "interrupted" in line:
                self._noticed.set()
        self._searching.set()  # nothing more will come
        self._noticed.set()

    def until_searching(self) -> None:
        assert self._searching.wait(60) and any("units left" in s for s in self.said), self.said

    def until_noticed(self) -> None:
        assert self._noticed.wait(60) and any("interrupted" in s for s in self.said), self.said

    def end(self) -> tuple[int, str, str]:
        if not self.child.stdout.closed:
            self.out = self.child.stdout.read()
            self.child.stdout.close()
        code = self.child.wait(120)
        self._reader.join(10)
        return code, self.out, "".join(self.said)


@pytest.fixture
def start(hard):
    """Start `leo compress` on the hard network; whatever still runs at the end is killed."""
    started: list[_Running] = []

    def begin(out: Path) -> _Running:
        started.append(_Running(hard, out))
        return started[-1]

    yield begin
    for run in started:
        run.child.kill()
        run.end()


def test_the_first_interrupt_writes_what_is_decided(start, tmp_path) -> None:
    out = tmp_path / "out.onnx"
    run = start(out)
    run.until_searching()
    run.child.send_signal(signal.SIGINT)
    code, report, said = run.end()
    assert code == 130, said
    assert "going on with what is decided" in said and "Traceback" not in said
    onnx.checker.check_model(str(out))
    assert "verified" in report and "undecided" in report
    assert [p.name for p in tmp_path.iterdir()] == ["out.onnx"]


def test_the_second_interrupt_stops_at_once(start, tmp_path) -> None:
    run = start(tmp_path / "out.onnx")
    run.until_searching()
    run.child.send_signal(signal.SIGINT)
    run.until_noticed()
    run.child.send_signal(signal.SIGINT)
    code, report, said = run.end()
    assert code == 130 and report == "", said
    assert "Traceback" not in said and said.rstrip().endswith("leo: interrupted")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_being_ended_leaves_an_old_output_alone(start, tmp_path, number, code) -> None:
    out = tmp_path / "out.onnx"
    out.write_bytes(b"old")
    run = start(out)
    run.until_searching()
    run.child.send_signal(number)
    ended, report, said = run.end()
    assert ended == code and report == "" and "Traceback" not in said
    assert out.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["out.onnx"]
