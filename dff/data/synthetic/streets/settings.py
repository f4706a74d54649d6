"""What is drawn as Streets; nothing heavy is imported here, so that command lines can offer it."""

from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "val"]


@dataclass(frozen=True)
class StreetSettings:
    """What is drawn. The same settings always give the same videos.

    Args:
        train_videos: Videos in the training split.
        val_videos: Videos in the validation split.
        frames: Frames in each training video: many short ones show more streets than few long ones.
        val_frames: Frames in each validation video.
        height: Of a frame.
        width: Of a frame.
        speed: Of all that moves, camera included.
        seed: Source of chance.
        stops: How often the camera stops in each video, as at a light, for a fifth of its frames;
            all others go on.
        turns: How often it turns sharply in each video, within six frames.
        cuts: How often each video cuts to another street.
        static_share: Share of the videos in which the camera stands throughout.
    """

    train_videos: int = 180
    val_videos: int = 8
    frames: int = 11
    val_frames: int = 30
    height: int = 192
    width: int = 384
    speed: float = 1.15
    seed: int = 0
    stops: int = 0
    turns: int = 0
    cuts: int = 0
    static_share: float = 0.0

    @property
    def mixed(self) -> bool:
        """Whether anything is asked for that the even streets have not."""
        return bool(self.stops or self.turns or self.cuts or self.static_share)

    def videos(self) -> list[tuple[Split, int]]:
        """Returns split and number of each video."""
        train: list[tuple[Split, int]] = [("train", video) for video in range(self.train_videos)]
        return train + [("val", video) for video in range(self.val_videos)]
