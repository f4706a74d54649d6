"""The detections of a video to disk, as it is predicted: COCO's results format and VID's text."""

import json
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from torch import Tensor

from dff.inference.accuracy.seq_nms import seq_nms
from dff.models.contracts import FramesOfVideo

SUFFIXES = (".boxes.json", ".boxes.txt")


class DetectionFiles:
    """Writes NAME.boxes.json and NAME.boxes.txt; both have another name until `close`.

    JSON is COCO's results format: `image_id` is the number of the frame from 0, `category_id` the
    class from 1, `bbox` x, y, width, height; beside them stands `time`, when the frame is shown. A
    line of the text has frame from 0, class from 1, score, x1, y1, x2, y2, with the decimals of the
    official evaluation (4 and 2). Boxes are in pixels of the video; x2 and y2 belong to the box, so
    a width is x2 - x1 + 1.

    Args:
        folder: Where to write.
        name: Of the video.
        linked: Whether `seq_nms` rescores them: they are written when the video is whole.
    """

    def __init__(self, folder: Path, name: str, linked: bool = False) -> None:
        self.targets = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
        self.parts = [path.with_name(f".{path.name}.part") for path in self.targets]
        self.json, self.text = (path.open("w") for path in self.parts)
        self.first = True
        self.linked, self.rows, self.times = linked, [np.zeros((0, 7))], dict[int, float]()

    def write(self, clip: FramesOfVideo, found: Tensor) -> None:
        """Adds frames.

        Args:
            clip: The frames, shown at its times.
            found: (n, D, 6): x1, y1, x2, y2, score, class from 0; class -1 is an empty row.
        """
        shown = zip(clip.times, found.double().numpy(), strict=True)
        for frame, (time, rows) in enumerate(shown, clip.start):
            rows = rows[rows[:, 5] >= 0]
            numbers = np.full((len(rows), 1), frame)
            self.times[frame] = time
            self.rows.append(np.hstack([numbers, rows[:, [5, 4, 0, 1, 2, 3]]]))
        if not self.linked:
            self._write_rows(np.concatenate(self.rows))
            self.rows, self.times = [], {}

    def _write_rows(self, rows: np.ndarray) -> None:
        """Adds rows of frame, class, score, x1, y1, x2, y2."""
        for number, label, score, x1, y1, x2, y2 in rows.tolist():
            frame = int(number)
            box = [round(v, 2) for v in (x1, y1, x2 - x1 + 1, y2 - y1 + 1)]
            entry = {
                "image_id": frame,
                "category_id": int(label) + 1,
                "bbox": box,
                "score": round(score, 4),
                "time": round(self.times[frame], 6),
            }
            self.json.write(("[\n" if self.first else ",\n") + json.dumps(entry))
            self.first = False
            self.text.write(
                f"{frame} {int(label) + 1} {score:.4f} {x1:.2f} {y1:.2f} {x2:.2f} {y2:.2f}\n"
            )

    def close(self) -> None:
        """Gives both files their names."""
        if self.linked:
            self._write_rows(seq_nms(np.concatenate(self.rows)))
        self.json.write("[]\n" if self.first else "\n]\n")
        # What was held back is written only now, and may find the disk full.
        for stream in (self.json, self.text):
            stream.close()
        for part, target in zip(self.parts, self.targets, strict=True):
            os.replace(part, target)

    def abort(self) -> None:
        """Removes both files, as far as the disk allows it."""
        for stream, part in zip((self.json, self.text), self.parts, strict=True):
            with suppress(OSError):
                stream.close()
            with suppress(OSError):
                part.unlink(missing_ok=True)
