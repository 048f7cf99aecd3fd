"""topobench from Python: its results as plain rows, and its figures. Everything is done by the program itself.

    import topobench, pandas
    pandas.DataFrame(topobench.load("results/random/simple_20261121_153022"))

    from topobench import BenchmarkVisualizer
    BenchmarkVisualizer("aggregate_results.csv").generate_all_charts()
"""

from ._program import TopobenchError, program
from ._rows import Row, load
from ._visualizer import BenchmarkVisualizer

__all__ = ["BenchmarkVisualizer", "Row", "TopobenchError", "load", "program"]
