"""Show what is in the prepared data, and stop the pipeline where a split leaks into another.

Reads the block `visualize` of params.yaml; writes reports/visualize.
"""

from pathlib import Path

from pneumonia.data.audit import audit
from pneumonia.data.manifest import digest, load_images, read_manifest
from pneumonia.errors import InputError
from pneumonia.params import Params
from pneumonia.stage import replaced, run, write_json

DATA = Path("data/prepared")


def main(params: Params) -> None:
    """Write reports/visualize: audit.json, the figures, index.html.

    Raises:
        InputError: the audit found leaks; all of them, one line each.
    """
    table = read_manifest(DATA)
    found = audit(table, DATA)
    if found.leaks:
        raise InputError(
            "\n".join([*found.leaks, f"{len(found.leaks)} leaks between splits: training stops"])
        )
    from pneumonia.reporting import data_figures, style
    from pneumonia.reporting.data_page import write_data_page

    style.apply()
    images = load_images(DATA, table)
    figures = {
        "films": data_figures.sample_grid(table, DATA, params.visualize.films_per_class),
        "balance": data_figures.balance(table),
        "source": data_figures.source_shapes(table),
        "intensities": data_figures.intensities(table, images),
    }
    with replaced(Path("reports/visualize")) as folder:
        for name, figure in figures.items():
            style.save(figure, folder / f"{name}.png")
        write_json(folder / "audit.json", {"data_digest": digest(DATA)} | found.as_dict())
        write_data_page(folder, found)
    print(f"visualize: {found.films} films, no leak between splits; reports/visualize/index.html")


if __name__ == "__main__":
    run("visualize", __doc__, main)
