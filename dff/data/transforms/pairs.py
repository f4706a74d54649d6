"""One random draw for both frames of a pair; mask, flow and boxes of the current frame follow."""

import os
from dataclasses import dataclass

import numpy as np

from dff.data.samples import SampleError
from dff.data.transforms.windows import LARGEST_SIDE, SMALLEST_SIDE, Window, whole_frame

# albumentations asks the network for a newer release when it is imported, and waits 2 s for it
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

Arrays = dict[str, np.ndarray]
"""key, current, previous: (H, W, 3) uint8; mask: (h, w) uint8; flow: (h, w, 2) float32, with
flow_known and occluded: (h, w) bool; boxes: (N, 4) float32, with box_labels and tracks: (N,) int64.
All but key and current are optional. The transform of evaluation adds frame_size, and frame_boxes
where there are boxes; see `Pair`."""


class TrainingTransform:
    """A random window, mirroring and colour, drawn once from the seed of the sample.

    Args:
        size: Height and width of the output, at least 64 each; None keeps the size of the frame.
        scale: Smallest and largest zoom: output pixels for each frame pixel, drawn evenly. At a
            zoom at which the frame is smaller than the output, the rest is padding.
        flip: Probability of mirroring left to right.
        colour: Brightness, contrast and saturation are each multiplied by 1 - colour to 1 + colour.
        short_side: Instead of `size`: whole frames, resized to this shorter side times the zoom.
        max_side: With short_side, most pixels of the longer side, times the zoom.
        min_visibility: Boxes of which less than this share of the area is left are dropped.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        size: tuple[int, int] | None,
        scale: tuple[float, float] = (1.0, 1.0),
        flip: float = 0.5,
        colour: float = 0.0,
        short_side: int | None = None,
        max_side: int | None = None,
        min_visibility: float = 0.3,
    ) -> None:
        if size is not None:
            check_size(tuple(size))
        if size is not None and short_side is not None:
            raise ValueError(
                f"size {tuple(size)} and short_side {short_side}: a size cuts a window, a short "
                "side takes whole frames; set one of them to null"
            )
        _check_sides(short_side, max_side)
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale {tuple(scale)}: want two numbers, 0 < smallest <= largest")
        shares = {"flip": flip, "colour": colour, "min_visibility": min_visibility}
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} {value}: want a number from 0 to 1")
        self.size = None if size is None else (int(size[0]), int(size[1]))
        self.scale = (float(scale[0]), float(scale[1]))
        self.flip, self.min_visibility = flip, min_visibility
        self.short_side, self.max_side = short_side, max_side
        self.colour = ColourChange(colour) if colour else None

    def window(self, frame: tuple[int, int], rng: np.random.Generator) -> Window:
        """Draws the window for a frame of this height and width."""
        size = self.size or frame
        zoom = rng.uniform(*self.scale)
        if self.short_side is not None:
            max_side = None if self.max_side is None else self.max_side * zoom
            flip = bool(rng.random() < self.flip)
            return whole_frame(frame, self.short_side * zoom, max_side, flip)
        # chosen first and resized after: resizing a whole 1024x2048 frame is most of the cost
        height, width = (max(1, round(side / zoom)) for side in size)
        top, left = (
            int(rng.integers(min(0, have - want), max(0, have - want), endpoint=True))
            for have, want in ((frame[0], height), (frame[1], width))
        )
        return Window(left, top, width, height, size, bool(rng.random() < self.flip))

    def __call__(self, arrays: Arrays, seed: int) -> Arrays:
        """Returns the arrays of one pair, changed by one draw.

        Args:
            arrays: The pair; key and current may be one and the same array. Mask and flow have the
                size of the frames.
            seed: All that the draw depends on.

        Raises:
            SampleError: The frames are too small, or too long for their width.
        """
        current = arrays["current"]
        window = self.window(current.shape[:2], np.random.default_rng(seed))
        check_frame(current.shape[:2], window.size)
        changed = {"mask": window.labels(arrays["mask"])} if "mask" in arrays else {}
        names = [name for name in ("current", "key", "previous") if name in arrays]
        # two of them may be one and the same array
        frames = {id(arrays[name]): arrays[name] for name in names}
        seen = [window.image(frame) for frame in frames.values()]
        if self.colour is not None:
            seen = self.colour(seen, seed)
        shown = dict(zip(frames, seen, strict=True))
        changed |= {name: shown[id(arrays[name])] for name in names}
        if "flow" in arrays:
            moved = window.flow(arrays["flow"], arrays["flow_known"], arrays["occluded"])
            changed |= dict(zip(("flow", "flow_known", "occluded"), moved, strict=True))
        if "boxes" in arrays:
            boxes, left = window.boxes(arrays["boxes"])
            # a box that is wholly there may have lost a rounding
            kept = (left > 0) & (left >= self.min_visibility - 1e-6)
            changed["boxes"] = boxes[kept]
            changed |= {name: arrays[name][kept] for name in ("box_labels", "tracks")}
        return changed


@dataclass(frozen=True)
class EvaluationTransform:
    """Resizes both frames until the shorter side is `short_side`; masks and flow stay as they are.

    Args:
        short_side: Pixels, at least 64; None leaves the frames as they are. It is fewer where the
            longer side would have more than 16384.
        max_side: Most pixels of the longer side. With it frames are resized exactly as the authors
            do for detection: bilinear even where they shrink.

    Raises:
        ValueError: A side is too small or too large, or max_side is given alone.
    """

    short_side: int | None = None
    max_side: int | None = None

    def __post_init__(self) -> None:
        _check_sides(self.short_side, self.max_side)

    def __call__(self, arrays: Arrays, seed: int = 0) -> Arrays:
        """Returns the arrays of one pair; the seed changes nothing."""
        key, current = arrays["key"], arrays["current"]
        window = self.window(current.shape[:2])
        changed = {**arrays, "frame_size": np.array(current.shape[:2])}
        if "boxes" in arrays:
            zoom = np.ones(2, np.float32) if window is None else window.zoom
            changed["frame_boxes"] = arrays["boxes"]
            changed["boxes"] = (arrays["boxes"] * np.tile(zoom, 2)).astype(np.float32)
        if window is None:
            return changed
        resized = window.image(current)
        return changed | {
            "current": resized,
            "key": resized if key is current else window.image(key),
        }

    def window(self, frame: tuple[int, int]) -> Window | None:
        """Returns what resizes a frame of this height and width; None where it stays as it is."""
        if self.short_side is None:
            return None
        if self.max_side is not None:
            return whole_frame(frame, self.short_side, self.max_side)
        if self.short_side == min(frame):
            return None
        zoom = min(self.short_side / min(frame), LARGEST_SIDE / max(frame))
        size = (max(1, round(frame[0] * zoom)), max(1, round(frame[1] * zoom)))
        return Window(0, 0, frame[1], frame[0], size)


class ColourChange:
    """One random change of brightness, contrast and saturation for all frames of a pair.

    Args:
        strength: Each is multiplied by 1 - strength to 1 + strength.
    """

    def __init__(self, strength: float) -> None:
        import albumentations  # half a second to 3 s, and evaluation and prediction do without

        span = (1 - strength, 1 + strength)
        # no hue: it costs more than all else together
        jitter = albumentations.ColorJitter(
            brightness=span, contrast=span, saturation=span, hue=(0, 0), p=1
        )
        self._compose = albumentations.Compose([jitter])

    def __call__(self, frames: list[np.ndarray], seed: int) -> list[np.ndarray]:
        """Changes frames (H, W, 3) uint8 of one size by one draw."""
        # Compose has a generator of its own, which repeats itself in every worker and every epoch
        self._compose.set_random_seed(seed)
        # One tall image, not two targets: contrast is about the mean of the image, and two means
        # would make one colour of the scene two.
        tall = frames[0] if len(frames) == 1 else np.concatenate(frames)
        return np.split(self._compose(image=tall)["image"], len(frames))


def check_size(size: tuple[int, ...]) -> None:
    """Refuses an output size that is no height and width, or too small for the flow network."""
    if len(size) != 2:
        raise ValueError(f"size {size}: want height and width")
    if min(size) < SMALLEST_SIDE:
        raise ValueError(
            f"a size of {size[0]}x{size[1]} is too small: height and width must be at least "
            f"{SMALLEST_SIDE}, because the flow network halves the frame six times"
        )


def check_frame(frame: tuple[int, int], output: tuple[int, int]) -> None:
    """Refuses a frame that would be shown too small for the flow network, by a SampleError."""
    if min(output) < SMALLEST_SIDE:
        raise SampleError(
            f"a frame of {frame[0]}x{frame[1]} is too small: shown as {output[0]}x{output[1]}, and "
            f"the flow network wants {SMALLEST_SIDE} pixels on each side; set --data.size, or "
            "a larger short_side, max_side or scale, or leave such frames out with "
            "--data.skip_damaged true"
        )


def _check_sides(short_side: int | None, max_side: int | None) -> None:
    if short_side is not None and short_side < SMALLEST_SIDE:
        raise ValueError(
            f"a short side of {short_side} is too small: want at least {SMALLEST_SIDE}"
        )
    largest = max(short_side or 0, max_side or 0)
    if largest > LARGEST_SIDE:
        raise ValueError(
            f"a side of {largest} pixels is more than memory holds: want at most {LARGEST_SIDE}"
        )
    if max_side is not None and (short_side is None or max_side < short_side):
        raise ValueError(
            f"max_side {max_side} with short_side {short_side}: want a short side, and a max_side "
            "that is not smaller"
        )
