"""Whether the label files of Cityscapes hold what their names say."""

from collections.abc import Sequence

from dff.data.datasets.cityscapes import (
    FIRST_THING_ID,
    INSTANCES_CURE,
    LABEL_IDS_CURE,
    LABELS_TO_INSTANCES,
    LAST_LABEL_ID,
    LAST_TRAIN_ID,
)
from dff.data.files.images import read_labels, values_in
from dff.data.samples import IGNORED, SampleError

_SELDOM_ALONE = {9, 10, 14, 15, 16, 18}
"""As label ids parking, rail track, guard rail, bridge, tunnel and groups of poles; as train ids
terrain, sky, truck, bus, train and bicycle."""
_LOOKED_AT = 20  # files of a split


def check_label_ids(files: Sequence[str]) -> None:
    """Looks whether the labelIds files of a split hold train ids, which would be mapped again.

    One file may be a street without sky. So up to 20 are looked at, from all over the split: they
    hold train ids if none has an id above 18, and some have one that is common among train ids and
    seldom alone among label ids (sky is 10, which is also rail track).

    Raises:
        SampleError: They do.
    """
    present = _present(files)
    if present & _SELDOM_ALONE and max(present - {IGNORED}) <= LAST_TRAIN_ID:
        raise SampleError(
            f"no id above {LAST_TRAIN_ID} in files called labelIds, such as {files[0]}, as train "
            f"ids have none: {LABEL_IDS_CURE}"
        )


def check_instance_ids(files: Sequence[str]) -> None:
    """Looks whether the instanceIds files beside labelIds files hold label ids: then all are alike.

    Raises:
        SampleError: None of up to 20 has an instance, though things are in them.
    """
    files = [file.replace(*LABELS_TO_INSTANCES) for file in files]
    present = _present(files)
    if present & set(range(FIRST_THING_ID, LAST_LABEL_ID + 1)) and max(present) < 1000:
        raise SampleError(
            f"no instance in files called instanceIds, such as {files[0]}, but ids of things, as "
            f"label ids are: {INSTANCES_CURE}"
        )


def _present(files: Sequence[str]) -> set[int]:
    """The numbers in up to 20 of some files; one that cannot be read is told where it is used."""
    present: set[int] = set()
    for file in files[:: -(-len(files) // _LOOKED_AT) or 1]:
        try:
            present |= set(values_in(read_labels(file)).tolist())
        except (SampleError, FileNotFoundError):
            continue
    return present
