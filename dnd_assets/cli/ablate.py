"""The command that asks what units are for: what the network loses without them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from dnd_assets.cli.app import StudyOption, TableOrJson, app, asking, out, print_json, told
from dnd_assets.lineage.records import Payload
from dnd_assets.methods.ablation.settings import AblationSettings
from dnd_assets.study.study import load_study


@app.command()
def ablate(
    units: Annotated[
        list[str] | None,
        typer.Argument(help="Units that are ablated together: keys, prefixes or ranges."),
    ] = None,
    study: StudyOption = None,
    group: Annotated[
        str | None, typer.Option(help="A group of `dnd groups`, by its name or a label in it.")
    ] = None,
    asset: Annotated[str, typer.Option(help="With --group: whose labels.")] = "labels",
    how: Annotated[
        Literal["zero", "mean", "resample"] | None,
        typer.Option(help="What stands in their place. Default: the study's, else the mean."),
    ] = None,
    images: Annotated[
        int | None, typer.Option(help="Probing images. Default: the study's, else 256.", min=2)
    ] = None,
    random: Annotated[
        int, typer.Option(help="Random groups of the same size to compare with.", min=0)
    ] = 20,
    seed: Annotated[int, typer.Option(help="Of the random groups.")] = 0,
    top: Annotated[int, typer.Option(help="Classes shown, the largest changes first.", min=1)] = 10,
    form: TableOrJson = "table",
) -> None:
    """What the classes of a network lose without some units, beside random groups of as many.

    Units of one layer are ablated together. Intervals are over images, those of random groups over
    groups. What was worked out before is read back.

    Example: dnd ablate resnet50/layer4/12    or: dnd ablate --group almonds --how zero
    """
    if group is None and not units:
        raise typer.BadParameter("name units, or --group")
    chosen = load_study(study)
    from dnd_assets.analysis.group_ablation import ablate as run
    from dnd_assets.analysis.group_ablation import units_of_group
    from dnd_assets.engine.context_builder import find_units

    context = asking(chosen, told)
    keys = list(units or [])
    if group is not None:
        keys = units_of_group(context, group, asset, keys)
    overrides = {name: value for name, value in (("how", how), ("images", images)) if value}
    setting = (chosen.ablation or AblationSettings()).model_copy(update=overrides)
    effects = run(context, find_units(context).select(keys), setting, random, seed)
    if form == "json":
        print_json(effects)
        return
    for effect in effects:
        _show(effect, top)


def _show(effect: Payload, top: int) -> None:
    units = effect["units"]
    first_units = ", ".join(units[:3]) + (", …" if len(units) > 3 else "")
    out.print(
        f"{effect['layer']}: {effect['how']} ablation of {len(units):,} units ({first_units}) on "
        f"{effect['images']:,} images" + (", classes by a linear probe" if effect["probe"] else ""),
        markup=False,
    )
    _show_overall(effect)
    parts = {"score": ("logit", "scores"), "accuracy": ("accuracy", "accuracies")}
    for title, (part, random_part) in parts.items():
        entries = [entry for entry in effect["classes"] if entry[part] is not None]
        entries.sort(key=lambda entry, part=part: -abs(entry[part]["change"]))  # type: ignore[misc]
        if entries:
            randoms = {entry["name"]: entry for entry in effect[random_part]}
            out.print(_table(title, part, entries[:top], randoms))
    for name, count in effect["left_out"].items():
        out.print(f"{name}: {count} images are too few for the probe", markup=False)


def _show_overall(effect: Payload) -> None:
    """The line on the whole network: changed best classes, and accuracy where it is known."""
    text = f"the best class changes on {effect['chosen']:.1%} of the images"
    overall = effect["accuracy"]
    if overall is not None:
        text += (
            f"; accuracy {overall['before']:.1%}, change {overall['change']:+.1%} "
            f"[{overall['low']:+.1%}, {overall['high']:+.1%}]"
        )
    out.print(text, markup=False)


def _table(title: str, part: str, entries: list[Payload], randoms: Payload) -> Table:
    table = Table(box=None, pad_edge=False)
    names = ["class", "images", title, "change", "95 %"]
    names += ["random groups", "95 % of them", "beyond them", "95 %"] if randoms else []
    for name in names:
        table.add_column(name, justify="left" if name == "class" else "right", overflow="fold")
    for entry in entries:
        change = entry[part]
        row = [escape(entry["class"]), f"{entry['images']:,}", f"{change['before']:.3f}",
               f"{change['change']:+.3f}", _ends(change)]  # fmt: skip
        random = randoms.get(entry["class"])
        if random is not None:
            spread = {"low": random["random_low"], "high": random["random_high"]}
            row += [f"{random['random']:+.3f}", _ends(spread), f"{random['beyond']['change']:+.3f}",
                    _ends(random["beyond"])]  # fmt: skip
        table.add_row(*row)
    return table


def _ends(change: Mapping[str, object]) -> str:
    return "-" if change["low"] is None else f"{change['low']:+.3f} to {change['high']:+.3f}"
