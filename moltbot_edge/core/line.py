"""A straight line through what was measured lately: a fixed cost, and a cost for each token.

Least squares with exponential forgetting, each point weighed so that relative errors count alike: a prompt of 50
tokens says as much as one of 5,000. One point, or many of one size, leave the fixed cost open; it is taken as nothing.
"""

from __future__ import annotations

import math

import msgspec

KEPT = 0.95  # of the weight of what came before; some twenty points count
RIDGE = 0.02  # of the weight, pulling the fixed cost to nothing where the points do not say otherwise


class Line(msgspec.Struct, frozen=True):
    """``y = base + slope * x``, neither of them negative. *weight* and the sums are what it was fitted from."""

    base: float = 0.0
    slope: float = 0.0
    weight: float = 0.0
    sum_x: float = 0.0
    sum_xx: float = 0.0
    sum_y: float = 0.0
    sum_xy: float = 0.0

    def at(self, x: float) -> float:
        return self.base + self.slope * x

    def plus(self, x: float, y: float) -> Line:
        """Fitted again with this point. *x* and *y* are positive; anything else teaches nothing."""
        if not (x > 0.0 and y > 0.0):
            return self
        expected = self.base + self.slope * x or y
        w = 1.0 / (expected * max(y, expected / 2))
        # What came before was small where all has become slow, so it would outweigh what comes now for a long time.
        kept = KEPT if y <= expected else KEPT * math.sqrt(expected / y)
        weight = self.weight * kept + w
        sum_x = self.sum_x * kept + w * x
        sum_xx = self.sum_xx * kept + w * x * x
        sum_y = self.sum_y * kept + w * y
        sum_xy = self.sum_xy * kept + w * x * y
        held = weight * (1.0 + RIDGE)
        spread = held * sum_xx - sum_x * sum_x  # positive by Cauchy and Schwarz, and the ridge
        base = (sum_y * sum_xx - sum_x * sum_xy) / spread
        slope = (held * sum_xy - sum_x * sum_y) / spread
        if base < 0.0:
            base, slope = 0.0, sum_xy / sum_xx
        elif slope < 0.0:
            base, slope = sum_y / weight, 0.0
        return Line(base, slope, weight, sum_x, sum_xx, sum_y, sum_xy)
