"""Masks in files as annotations: what their values mean, and which classes they have."""

from collections.abc import Mapping
from pathlib import Path

from dff.data.annotations import masks as mask_files
from dff.data.annotations.annotation_set import AnnotationSet
from dff.data.annotations.class_lists import class_file
from dff.data.annotations.findings import Findings
from dff.data.datasets import folder
from dff.data.samples import Snippets

_KINDS = {"numbers": "numbers of classes", "binary": "0 and 255", "colours": "colours of classes"}
_VOID = [224, 224, 192]
"""In Pascal VOC, the colour of pixels that do not count."""


def sets_of_masks(
    name: str,
    root: Path,
    found: Mapping[str, Snippets],
    places: Mapping[str, Path],
    kind: mask_files.MaskKind | None = None,
) -> dict[str, AnnotationSet]:
    """The annotations of frames with masks.

    Args:
        name: Of the format.
        root: Folder with the list of classes, which palettes of the masks may take the place of.
        found: Split -> frames and masks.
        places: Split -> folder of the masks, for messages.
        kind: What their values mean; None finds it out.

    Raises:
        SampleError: Nothing tells the classes, or a file cannot be used.
    """
    files = [f for snippets in found.values() for s in snippets for f in s.masks.values()]
    listed = class_file(root)
    if listed is not None:
        names, palette = folder.read_classes(root)
        colours = palette.tolist()
    else:
        names, colours = mask_files.classes_of_palettes(files)
    by_colours = listed is not None and listed.name != "classes.txt"
    told, why = mask_files.tell_kind(files, len(names), by_colours)
    kind = kind or told
    if kind == "colours" and by_colours and _VOID not in colours:
        names, colours = (*names, mask_files.IGNORED_NAME), [*colours, _VOID]
    classes, reader, colours = folder.mask_reader(kind, names, colours)
    sets = {}
    for split, snippets in found.items():
        findings = Findings()
        findings.note(f"masks hold {_KINDS[kind]}: {why}")
        if snippets.labels_left_out:
            findings.add(
                "masks belong to no frame",
                f"below {places[split]}",
                "call a mask by the name of its frame, or of a video file by the frame's number",
                count=snippets.labels_left_out,
            )
        sets[split] = AnnotationSet(
            name,
            snippets,
            classes=classes,
            palette=colours,
            read_mask=reader,
            findings=findings,
        )
    return sets
