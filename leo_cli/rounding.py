"""Rigorous a-priori bounds on rounding errors of float64 arithmetic.

Sources: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1
(gamma_n, any order of summation) and section 2.1 (model with underflow):
    fl(x op y) = (x op y)(1 + d) + e,   |d| <= u,  |e| <= eta/2 (only products underflow).
An inner product of n terms, in any order and with or without fused operations, is within
gamma_n * sum |x_i||y_i| + n * eta of its real value.

All functions return values that are themselves rounded so that the bound holds.
"""

import numpy as np

from leo_cli.arrays import Floats

UNIT_ROUNDOFF = 2.0**-53  # u of IEEE float64, round to nearest
SMALLEST = 2.0**-1074  # eta, the smallest positive float64


def gamma(n: int) -> float:
    """Upper bound of gamma_n = n u / (1 - n u), with room for evaluating the bound itself.

    The factor 2 covers the rounding of every non-negative sum that the result multiplies: a sum of
    m non-negative products computed in float64 is at least (1 - gamma_m) of its real value, and (1
    - gamma_m) * 2 >= 1 for every m below 2**51.
    """
    return 2.0 * (n + 2) * UNIT_ROUNDOFF


def down(x: Floats) -> Floats:
    """The next float64 below (a computed x within half an ulp of its real value becomes a lower
    bound).
    """
    return np.nextafter(x, -np.inf)


def up(x: Floats) -> Floats:
    """The next float64 above."""
    return np.nextafter(x, np.inf)
