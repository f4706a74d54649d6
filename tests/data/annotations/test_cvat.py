"""CVAT's XML: frames of a task, objects that leave, several tasks, polygons and masks."""

import cv2
import numpy as np
import pytest
from clips import write_clip

from dff.data.annotations.formats.cvat import read_cvat
from dff.data.pair_files import read_pair
from dff.data.samples import SampleError

SIZE = (64, 96)


def task(name="t", source="clip.mp4", size=8, start=0, filter="", number=0):
    return (
        f"<task><id>{number}</id><name>{name}</name><size>{size}</size><start_frame>{start}"
        f"</start_frame><frame_filter>{filter}</frame_filter><source>{source}</source><labels>"
        "<label><name>car</name><color>#102030</color></label>"
        "<label><name>dog</name></label></labels></task>"
    )


def box(frame, x, outside=0, key=1):
    return (
        f'<box frame="{frame}" outside="{outside}" keyframe="{key}" occluded="0" '
        f'xtl="{x}" ytl="5" xbr="{x + 20}" ybr="25"/>'
    )


def write(root, body, meta=None):
    file = root / "annotations.xml"
    file.write_text(f"<annotations><meta>{meta or task()}</meta>{body}</annotations>")
    return file


@pytest.fixture
def clip(tmp_path):
    write_clip(tmp_path / "clip.mp4", count=8)
    return tmp_path


def corners(snippet, frame):
    return snippet.boxes.boxes(frame).corners.tolist()


def test_boxes_are_interpolated_between_key_frames_until_the_object_leaves(clip):
    track = "".join([box(1, 10), box(3, 10, key=0), box(5, 30, outside=1), box(6, 40)])
    found = read_cvat(write(clip, f'<track id="4" label="dog">{track}</track>'), clip)
    (snippet,) = found.snippets
    assert found.box_classes == ("car", "dog")
    assert list(snippet.labelled) == list(range(8))
    assert corners(snippet, 0) == corners(snippet, 5) == corners(snippet, 7) == []
    # edges in the file, and half way to where it leaves: the export repeats the key frame there
    assert corners(snippet, 1) == [[10, 5, 29, 24]]
    assert corners(snippet, 3) == [[20, 5, 39, 24]]
    assert corners(snippet, 6) == [[40, 5, 59, 24]]
    assert snippet.boxes.boxes(3).tracks.tolist() == [4]
    assert snippet.boxes.boxes(3).labels.tolist() == [1]
    pair = read_pair(snippet, 3, 2, None, False, True)
    assert pair["key"].shape == (*SIZE, 3)
    np.testing.assert_array_equal(pair["current"], snippet.video.read([3])[0])


def test_a_task_that_takes_every_second_frame_is_counted_in_the_video(clip):
    track = f'<track id="0" label="car">{box(0, 10)}{box(2, 30)}</track>'
    meta = task(size=3, start=2, filter="step=2")
    found = read_cvat(write(clip, track, meta), clip)
    (snippet,) = found.snippets
    assert list(snippet.labelled) == [2, 4, 6] and list(snippet.frames) == list(range(8))
    assert [corners(snippet, n)[0][0] for n in (2, 4, 6)] == [10, 20, 30]
    assert "frame 1 is 4 there" in found.findings.notes[0]
    # the other way of counting, which some versions have
    track = f'<track id="0" label="car">{box(2, 10)}{box(6, 30)}</track>'
    (snippet,) = read_cvat(write(clip, track, meta), clip).snippets
    assert [corners(snippet, n)[0][0] for n in (2, 4, 6)] == [10, 20, 30]


def test_the_frames_of_a_projects_tasks_run_on(clip):
    write_clip(clip / "other.mp4", count=4)
    tasks = task("clip", "", 8, number=5) + task("other", "", 4, number=7)
    meta = f"<project><tasks>{tasks}</tasks><labels><label><name>car</name></label></labels>"
    body = f'<track id="0" label="car">{box(8, 10)}{box(9, 10)}</track>'
    first, second = read_cvat(write(clip, body, f"{meta}</project>"), clip).snippets
    assert (first.name, second.name) == ("clip", "other")
    assert corners(second, 0) and corners(second, 1) and not corners(second, 2)
    assert not any(corners(first, n) for n in range(8))


def test_frames_that_the_video_does_not_have_are_told_with_the_offset(clip):
    body = f'<track id="0" label="car">{box(0, 10)}{box(9, 10)}</track>'
    found = read_cvat(write(clip, body, task(size=10)), clip)
    with pytest.raises(SampleError, match=r"has 8 frames, .* annotates frame 9, 2 beyond the last"):
        found.findings.refuse()


def test_polygons_and_masks_become_boxes_and_masks(clip):
    polygon = '<polygon frame="0" points="10,10;20,10;20,20;10,20" keyframe="1" outside="0"/>'
    mask = '<mask frame="0" rle="1,2,1" top="30" left="40" width="2" height="2" keyframe="1"/>'
    body = f'<track id="0" label="car">{polygon}</track><track id="1" label="dog">{mask}</track>'
    file = write(clip, body, task(size=1))
    assert not read_cvat(file, clip).classes
    found = read_cvat(file, clip, with_masks=True)
    (snippet,) = found.snippets
    assert found.classes == ("background", "car", "dog")
    assert [list(c) for c in found.palette][1] == [16, 32, 48]
    wanted = np.zeros(SIZE, np.uint8)
    wanted[10:20, 10:20] = 1
    wanted[30, 41] = wanted[31, 40] = 2
    pair = read_pair(snippet, 0, 0, found.read_mask, False, True)
    np.testing.assert_array_equal(pair["mask"], wanted)
    assert corners(snippet, 0) == [[10, 10, 19, 19], [40, 30, 41, 31]]


def test_images_of_an_export_of_images_are_grouped_by_their_names(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / "a" / f"f{i}.png"), np.zeros((*SIZE, 3), np.uint8))
    boxes = '<box label="car" xtl="1" ytl="2" xbr="11" ybr="12"/><points label="car" points="1,2"/>'
    images = "".join(
        f'<image id="{i}" name="a/f{i}.png" width="96" height="64">{boxes if i else ""}</image>'
        for i in (0, 2)
    )
    found = read_cvat(write(tmp_path, images), tmp_path)
    (snippet,) = found.snippets
    assert list(snippet.labelled) == [0, 2] and sorted(snippet.frames) == [0, 1, 2]
    assert corners(snippet, 2) == [[1, 2, 10, 11]] and not corners(snippet, 0)
    assert [p.what for p in found.findings] == ["shapes are points and are left out"]


@pytest.mark.parametrize(
    ("body", "meta", "said"),
    [
        ('<track id="0" label="car"><box frame="0" xtl="a"/></track>', None, "has xtl='a' in a <b"),
        (f'<track id="x" label="car">{box(0, 1)}</track>', None, "has id='x' in a <track>"),
        (f'<track id="0" label="cat">{box(0, 1)}</track>', None, "'cat' in annotations.xml"),
        (f'<track id="0" label="car">{box(0, 1)}</track>', task(source="x.mp4") * 2, "'x.mp4'"),
        ("", None, "holds no image and no track"),
        ('<track id="0" label="car"><mask frame="0" rle="9" top="0" left="0" width="2" height="2"/>'
         "</track>", None, "add up to 9 pixels, for 2x2"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told_in_one_sentence(body, meta, said, clip):
    with pytest.raises((SampleError, FileNotFoundError), match=said) as told:
        read_cvat(write(clip, body, meta), clip).findings.refuse()
    assert "\n" not in str(told.value)


def test_entities_are_refused(tmp_path):
    (tmp_path / "annotations.xml").write_text("<!DOCTYPE a [<!ENTITY b 'c'>]><annotations/>")
    with pytest.raises(SampleError, match="declares a document type or entities"):
        read_cvat(tmp_path / "annotations.xml", tmp_path)
