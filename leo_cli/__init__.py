"""leo: trained ReLU networks made smaller without changing what they compute."""

__version__ = "0.1.0"
