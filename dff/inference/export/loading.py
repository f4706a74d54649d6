"""A model on another runtime: from an export, or from a checkpoint that is exported first."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from dff.inference.engine import Engine
from dff.inference.export.description import Format
from dff.inference.export.export import Wish, export
from dff.inference.export.formats import open_graphs
from dff.inference.export.networks import check_schedule, exported_networks
from dff.inference.model import Model, read_model
from dff.models.names import FlowFrom
from dff.models.schedule import Schedule

SIZE = (256, 448)
"""At which a checkpoint is exported for frames of any size."""


class ExportedModel(Model):
    """A model whose networks run on another runtime."""

    def engine(self, schedule: Schedule) -> Engine:
        """See `Model.engine`.

        Raises:
            ValueError: The schedule looks at what stays in the graphs.
        """
        check_schedule(self.networks, schedule.wants)
        return super().engine(schedule)


def load_exported(
    source: str | Path,
    runtime: Format,
    *,
    flow_network: str | None = None,
    flow_from: FlowFrom | None = None,
    tell: Callable[[str], None] = print,
) -> Model:
    """A model whose networks run on another runtime, for the same engine.

    Args:
        source: A folder that `export` wrote; or for ONNX a checkpoint, which is exported for this
            process alone, for frames of any size, and compared with the model.
        runtime: Which.
        flow_network: See `dff.inference.model.load`; an export has its own.
        flow_from: Likewise.
        tell: Is told how far a checkpoint's export differs.

    Raises:
        FileNotFoundError: There is no such file, or no export of this format in the folder.
        ImportError: The runtime is not installed.
        ValueError: The folder holds something else, or the checkpoint cannot be exported.
    """
    source = Path(source)
    if source.is_dir():
        if flow_network is not None or flow_from is not None:
            raise ValueError(
                f"--flow_network and --flow_from with {source}: an export has its own flow; give "
                "them to dff export"
            )
        return ExportedModel(*exported_networks(open_graphs(source, runtime)), "cpu")
    if runtime == "pt2" and source.suffix != ".pt2":
        raise ValueError(
            f"{source} with --runtime pt2: that is compiled for one size of frames; export it "
            f"first (dff export {source} --format pt2 --size HEIGHT WIDTH --output DIR), and give "
            "DIR"
        )
    model, tasks, settings = read_model(source, flow_network, flow_from)
    place = tempfile.TemporaryDirectory(prefix="dff-export-")
    wish = Wish(runtime, SIZE, dynamic=True, steps=True)
    tell(f"exporting {source} for {runtime}; dff export would keep it")
    export(model, tasks, settings, Path(place.name) / "graphs", wish, tell)
    networks, tasks = exported_networks(open_graphs(Path(place.name) / "graphs", runtime))
    networks.__dict__["place"] = place  # removed with the model
    return ExportedModel(networks, tasks, "cpu")
