"""``make bench``: both tables, into results.md and on the screen, with a plot of availability.

``--quick``: figures beside their bounds, in about a minute, and no verdict.
"""

import sys
from pathlib import Path

import availability
import cost

HERE = Path(__file__).parent


def main():
    quick = "--quick" in sys.argv
    scale, played = availability.play(quick)
    answers = availability.table(scale, played)
    costs, met = cost.measured(quick)
    method = [f"Measured on {cost.machine()}.", "", "## Availability", "", " ".join(availability.__doc__.split()), "", *answers, "",
              "## Cost", "", " ".join(cost.__doc__.split()), "", *costs, ""]
    print("\n".join(method))
    if not quick:
        availability.plot(scale, played, HERE / "availability.png")
        (HERE / "results.md").write_text("# Benchmarks\n\n" + "\n".join(method), encoding="utf-8")
    return 0 if met or quick else 1


if __name__ == "__main__":
    sys.exit(main())
