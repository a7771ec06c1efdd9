"""Training networks that compress well: `leo train`. PyTorch is imported only when training
starts.
"""

from leo_cli.train.dataset import Dataset, make_dataset, split
from leo_cli.train.export import bounds_text, model_bytes, report_json
from leo_cli.train.loop import Epoch, Trained, train
from leo_cli.train.options import TrainOptions
from leo_cli.train.perceptron import Perceptron, size_estimate
from leo_cli.train.read import read_data
from leo_cli.train.run import Run, run
from leo_cli.train.scores import constant_score, score
from leo_cli.train.search import Candidate, Found, search

__all__ = [
    "Candidate",
    "Dataset",
    "Epoch",
    "Found",
    "Perceptron",
    "Run",
    "TrainOptions",
    "Trained",
    "bounds_text",
    "constant_score",
    "make_dataset",
    "model_bytes",
    "read_data",
    "report_json",
    "run",
    "score",
    "search",
    "size_estimate",
    "split",
    "train",
]
