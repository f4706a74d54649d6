"""The metrics of a run as CSV, whole after each write."""

import shutil
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only

from dff.data.files.whole_files import whole_file


class MetricsFile(CSVLogger):
    """CSVLogger that loses no row when the disk is full.

    Lightning's writes into `metrics.csv`, all of it anew when a name comes first, and a write that
    fails leaves a part of it.
    """

    @rank_zero_only
    def save(self) -> None:
        """Adds what was logged since the last time to a copy, which then takes the file's place."""
        writer = self.experiment
        if not writer.metrics:
            super().save()
            return
        whole = Path(writer.metrics_file_path)
        try:
            with whole_file(whole) as part:
                if whole.exists():
                    shutil.copyfile(whole, part)
                writer.metrics_file_path = str(part)
                super().save()
        finally:
            writer.metrics_file_path = str(whole)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Saves the rest; of a run that has failed already, as far as that can be done."""
        try:
            super().finalize(status)
        except OSError:
            if status == "success":
                raise
