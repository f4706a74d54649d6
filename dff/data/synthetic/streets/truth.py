"""Exact flow and boxes of drawn videos: the file of a video's truth, written and read."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dff.data.datasets.cityscapes import LABEL_ID_TO_BOX_CLASS
from dff.data.samples import Boxes, SampleError
from dff.data.synthetic.streets.drawing import DrawnVideo
from dff.data.synthetic.streets.scene import THINGS

LEAST_SIDE = 8
"""Pixels: what shows less of itself in width or height has no box."""


@dataclass(frozen=True)
class StreetTruth:
    """Exact flow and boxes of one drawn video, read from its file at each call.

    Nothing is kept open or in memory, so it can be pickled and shared by worker processes.

    Args:
        path: truth/{split}/streets_000000.npz.
    """

    path: str

    def flow(self, current: int, key: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns flow (H, W, 2) float32, current -> key in image pixels, and occluded (H, W) bool.

        Occluded: what the pixel shows is outside the key frame there, or behind something.

        Args:
            current: Number of the frame on whose pixels the flow is defined.
            key: Number of another frame, or the same.

        Raises:
            FileNotFoundError: There is no file.
            SampleError: The file is damaged.
        """
        homographies, shown, there = self._arrays("homographies", _map(current), _map(key))
        height, width = shown.shape
        if key == current:  # not by the inverse, which is 1e-12 off and thus outside at the border
            return np.zeros((height, width, 2), np.float32), np.zeros((height, width), bool)
        moves = np.zeros((len(homographies), 3, 3))
        seen = np.unique(shown)
        moves[seen] = homographies[seen, key] @ np.linalg.inv(homographies[seen, current])
        x, y = np.arange(width, dtype=float), np.arange(height, dtype=float)[:, None]
        shown = shown.astype(np.intp)

        def carried(row: int) -> np.ndarray:
            # coefficient by coefficient: a map of 3x3 matrices would be slow to walk through
            a, b, c = (np.take(moves[:, row, column], shown) for column in range(3))
            a *= x
            b *= y
            a += b
            a += c
            return a

        ahead = carried(2)
        behind = ahead <= 1e-6  # the point was behind the camera
        ahead[behind] = 1
        key_x, key_y = carried(0) / ahead, carried(1) / ahead
        # the nearest pixel decides both, whether a point is inside and what is seen there
        column, row = np.floor(key_x + 0.5), np.floor(key_y + 0.5)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & ~behind
        column, row = (np.where(inside, part, 0).astype(np.intp) for part in (column, row))
        occluded = ~inside | (there[row, column] != shown)
        return np.stack([key_x - x, key_y - y], -1).astype(np.float32), occluded

    def boxes(self, frame: int) -> Boxes:
        """Returns the boxes of what is visible in a frame, in the classes of `cityscapes`.

        Things of which less than LEAST_SIDE is to be seen have none: nobody who draws boxes by hand
        would draw it.

        Raises:
            FileNotFoundError: There is no file.
            SampleError: The file is damaged.
        """
        (rows,) = self._arrays("boxes")
        rows = rows[rows[:, 0] == frame]
        corners = rows[:, 3:].astype(np.float32)
        corners[:, 2:] -= 1  # the file has the border outside the last pixel
        kept = (corners[:, 2:] - corners[:, :2] + 1).min(1) >= LEAST_SIDE
        rows, corners = rows[kept], corners[kept]
        labels = LABEL_ID_TO_BOX_CLASS[rows[:, 2]].astype(np.int64)
        return Boxes(corners, labels, rows[:, 1].astype(np.int64))

    def motion(self, frame: int) -> None:
        """Not asked for: the groups by motion are those of ImageNet VID."""

    def _arrays(self, *names: str) -> list[np.ndarray]:
        try:
            with np.load(self.path, allow_pickle=False) as file:
                return [file[name] for name in names]
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as error:  # numpy and zipfile raise whatever they stumble over
            raise SampleError(
                f"{self.path} is damaged ({error}): delete it and the file named finished beside "
                "the folder truth, and the video is drawn again"
            ) from error


def truth_for(root: str | Path, split: str, video_name: str) -> StreetTruth | None:
    """Returns the truth of a video, None where there is none (real data).

    Args:
        root: Folder of the data set.
        split: "train" or "val".
        video_name: As the snippet is called, "streets/streets_000003".
    """
    path = Path(root) / "truth" / split / f"{Path(video_name).name}.npz"
    return StreetTruth(str(path)) if path.is_file() else None


def write_truth(path: Path, drawn: DrawnVideo) -> None:
    """Writes homographies, boxes and one map of surfaces for each frame.

    Args:
        path: Ends in .npz.
        drawn: A video.
    """
    maps = {_map(frame): shown for frame, shown in enumerate(drawn.surfaces)}
    np.savez_compressed(path, homographies=drawn.homographies, boxes=_boxes(drawn), **maps)


def _map(frame: int) -> str:
    return f"surfaces_{frame:06d}"


def _boxes(drawn: DrawnVideo) -> np.ndarray:
    """Returns rows of frame, track, label id, x1, y1, x2, y2, int32."""
    rows = []
    for frame, shown in enumerate(drawn.surfaces):
        for number in np.unique(shown):
            if drawn.labels[number] in THINGS:
                y, x = np.nonzero(shown == number)
                corners = (x.min(), y.min(), x.max() + 1, y.max() + 1)
                rows.append((frame, number, drawn.labels[number], *corners))
    return np.array(rows, np.int32).reshape(-1, 7)
