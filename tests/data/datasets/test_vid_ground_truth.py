import xml.etree.ElementTree as ET

import numpy as np
import pytest
import scipy.io
from small import SHARED
from vid_layout import write_boxes, write_motion

from dff.data.datasets.imagenet_vid.ground_truth import motion_iou, read_vid_ground_truth
from dff.data.samples import SampleError

VID = SHARED / "data" / "vid_mini"
BOXES = VID / "ILSVRC2015_vid_validation_ground_truth_whole.mat"
MOTION = VID / "vid_groundtruth_motion_iou.mat"
real = pytest.mark.skipif(not BOXES.is_file(), reason=f"no ground truth at {VID}: set DFF_SHARED")


@pytest.fixture
def files(tmp_path):
    boxes = [[[1, 2, 300, 400], [5, 6, 7, 8]], [], [[9, 9, 20, 20]]]
    return (
        write_boxes(tmp_path / "boxes.mat", [[27, 1], [], [30]], boxes),
        write_motion(tmp_path / "motion.mat", [[0.5, 1], [], [0.95]]),
    )


def test_boxes_labels_and_motion_of_all_frames(files):
    truth = read_vid_ground_truth(*files)
    assert truth.frames.tolist() == [1, 2, 3] and truth.frame.tolist() == [1, 1, 3]
    assert truth.label.tolist() == [26, 0, 29]
    assert truth.box.tolist() == [[1, 2, 300, 400], [5, 6, 7, 8], [9, 9, 20, 20]]
    assert truth.motion.tolist() == [0.5, 1, 0.95]
    assert read_vid_ground_truth(files[0]).motion is None


def test_what_cannot_be_read_is_said(files, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no ground truth at .*nowhere\.mat"):
        read_vid_ground_truth(tmp_path / "nowhere.mat")
    with pytest.raises(SampleError, match="has no gt_img_ids: this is another file"):
        read_vid_ground_truth(files[1])
    other = write_motion(tmp_path / "other.mat", [[0.5], [1], [0.95]])
    with pytest.raises(SampleError, match="the same number of boxes in each frame"):
        read_vid_ground_truth(files[0], other)
    files[0].write_bytes(files[0].read_bytes()[:150])
    with pytest.raises(SampleError, match=r"cannot be read .*download it again"):
        read_vid_ground_truth(files[0])


def test_labels_without_boxes_are_refused(tmp_path):
    path = write_boxes(tmp_path / "boxes.mat", [[1, 2]], [[[1, 1, 5, 5]]])
    with pytest.raises(SampleError, match="2 labels and 1 boxes: download it again"):
        read_vid_ground_truth(path)


def test_an_object_at_rest_has_motion_iou_1_and_one_seen_once_has_none():
    frame, track = np.array([0, 1, 2, 0]), np.array([0, 0, 0, 1])
    motion = motion_iou(frame, track, np.tile([0.0, 0, 9, 9], (4, 1)))
    assert motion[:3].tolist() == [1, 1, 1] and np.isnan(motion[3])


def test_motion_iou_by_hand():
    # Steps of 5 pixels: 10 x 10 boxes share 50 of 150 pixels with the next, none with the one after
    box = np.array([[5.0 * i, 0, 5 * i + 9, 9] for i in range(3)])
    order = np.array([2, 0, 1])
    motion = motion_iou(order, np.zeros(3), box[order])
    assert motion.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 3])


def test_only_ten_frames_before_and_after_count_though_frames_may_lack():
    frame = np.array([0, 10, 11])
    box = np.array([[0.0, 0, 9, 9], [0, 0, 9, 9], [50, 0, 59, 9]])
    assert motion_iou(frame, np.zeros(3), box).tolist() == [1, 0.5, 0]


def test_two_boxes_of_one_object_in_a_frame_are_refused():
    with pytest.raises(ValueError, match="track 3 has two boxes in frame 7"):
        motion_iou(np.array([7, 7]), np.array([3, 3]), np.zeros((2, 4)))


@real
def test_the_authors_motion_iou_of_a_real_snippet():
    name = "ILSVRC2015_val_00007010"
    lines = (VID / "ILSVRC2015" / "ImageSets" / "VID_val_videos.txt").read_text().splitlines()
    start = next(int(line.split()[1]) for line in lines if line.split()[0].endswith(name))
    rows = []
    for file in sorted((VID / "ILSVRC2015" / "Annotations" / "VID" / "val" / name).glob("*.xml")):
        for item in ET.parse(file).iterfind("object"):
            box = [float(item.find(f"bndbox/{side}").text) for side in _SIDES]
            rows.append((start + int(file.stem), int(item.find("trackid").text), *box))
    rows = np.array(rows)
    truth = read_vid_ground_truth(BOXES, MOTION)
    mine = (truth.frame >= start) & (truth.frame <= rows[-1, 0])
    np.testing.assert_array_equal(truth.frame[mine], rows[:, 0])
    np.testing.assert_array_equal(truth.box[mine], rows[:, 2:])
    motion = motion_iou(rows[:, 0], rows[:, 1], rows[:, 2:])
    print(f"{len(rows)} boxes, max abs error {np.abs(motion - truth.motion[mine]).max():.1e}")
    np.testing.assert_allclose(motion, truth.motion[mine], rtol=0, atol=1e-12)


_SIDES = ("xmin", "ymin", "xmax", "ymax")


@real
def test_the_whole_validation_set():
    truth = read_vid_ground_truth(BOXES, MOTION)
    assert len(truth.frames) == 176_126 and len(truth.frame) == 273_505
    stored = scipy.io.loadmat(BOXES)
    positives = np.bincount(truth.label, minlength=30)
    assert positives.tolist() == stored["num_pos_per_class"][0].tolist()


def test_boxes_without_a_track_have_no_motion():
    frame, track = np.array([0, 0, 1, 1, 1]), np.array([-1, -1, -1, 4, 5])
    box = np.tile([0.0, 0, 9, 9], (5, 1))
    assert np.isnan(motion_iou(frame, track, box)).all()
    known = motion_iou(np.array([0, 0, 1]), np.array([-1, 2, 2]), box[:3])
    assert np.isnan(known[0]) and known[1:].tolist() == [1.0, 1.0]
