"""The class that people's plotting scripts use, over an aggregate CSV."""

import os
from typing import List, Optional, Union

from ._program import run

Path = Union[str, "os.PathLike[str]"]


class BenchmarkVisualizer:
    """Figures and reports of an aggregate CSV (`topobench aggregate`). Each method returns the files it wrote."""

    def __init__(self, csv_file: Path = "aggregate_results.csv", output_dir: Optional[Path] = None) -> None:
        self.csv_file = os.fspath(csv_file)
        self.output_dir = os.fspath(output_dir) if output_dir is not None else os.path.dirname(self.csv_file) or "."
        if not os.path.isfile(self.csv_file):
            raise FileNotFoundError(f"{self.csv_file}: `topobench aggregate DIR` writes such a table")

    def plot_throughput_analysis(self) -> List[str]:
        """Requests and output tokens a second over the load."""
        return self._plot("--throughput")

    def plot_latency_analysis(self) -> List[str]:
        """TTFT, TPOT and whole requests over the load."""
        return self._plot("--latency")

    def plot_interactive(self) -> List[str]:
        """A page that draws any column over any other."""
        return self._plot("--interactive")

    def generate_performance_report(self, ratings: bool = True) -> List[str]:
        """The performance report as Markdown, with ratings by TTFT and TPOT."""
        return self._plot("--report", *(["--ratings"] if ratings else []))

    def generate_all_charts(self) -> List[str]:
        """All of these."""
        return self._plot("--all", "--ratings")

    def _plot(self, *flags: str) -> List[str]:
        return run(["plot", "--csv", self.csv_file, "--output", self.output_dir, *flags])
