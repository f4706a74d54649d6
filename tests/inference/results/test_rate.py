"""Whether the networks reached the rate that was asked of them."""

from types import SimpleNamespace

from dff.inference.results.rate import RateWatch


def clip(start, last, name="clip"):
    video = SimpleNamespace(name=name)
    return SimpleNamespace(start=start, first=start == 0, last=last, video=video)


class Kept(list):
    put = list.append


def test_a_video_that_stayed_below_is_told_and_others_are_not():
    kept = Kept()
    watch = RateWatch(kept, 25.0)
    for name, seconds in (("fast", 2.0), ("slow", 3.0), ("just", 2.05)):
        for start in (0, 30):
            watch.put(
                SimpleNamespace(
                    clip=clip(start, start == 30, name),
                    key_frames=[True] + 29 * [False],
                    seconds=seconds / 2 * 1.2,
                )
            )
    watch.put(SimpleNamespace(clip=clip(0, True, "short"), key_frames=[True], seconds=9.0))
    assert len(kept) == 7
    (told,) = watch.told
    assert told.startswith("slow: 16.7 frames per second with 2 key frames in 60, and 25 were")
