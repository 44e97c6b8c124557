"""Mark: paint on photographs, place a mesh, set a box. What is marked together forms one region."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from nerf_insert.app import mesh_overlay
from nerf_insert.app.drafts import MeshPose
from nerf_insert.app.services import box_of, placing_of
from nerf_insert.app.steps.common import (
    IN_TURN,
    MANY,
    PRIVATE,
    Page,
    Session,
    Work,
    stage_value,
    stamped,
    told,
)
from nerf_insert.app.uploads import MESHES, check_mesh_file

WAYS = [("Paint on photographs", "paint"), ("Place a mesh", "mesh"), ("Set a box", "box")]
BOX = 0.15  # of the scene's radius: the side of a new box


def build(page: Page) -> None:
    services, session = page.services, page.session
    how = gr.Radio(WAYS, value="paint", label="Where is the edit?", elem_id="how")
    with gr.Column(visible=True) as paint:
        gr.Markdown(
            "Pick a photograph and paint over the thing, rather too wide than too narrow. Then do the same "
            "on one from another side: the dashed line shows where to look. As soon as there are two "
            "masks, the region appears in all photographs."
        )
        forget = gr.Button("Remove all masks", size="sm", elem_id="forget-masks")
    with gr.Column(visible=False) as mesh:
        file = gr.File(
            label="Mesh: GLB, glTF, OBJ, PLY or STL",
            file_types=list(MESHES),
            type="filepath",
            elem_id="mesh-file",
            height=110,
        )
        about = gr.Markdown("", elem_id="about-mesh")
        gr.Markdown(
            "**Drop on a surface** (above the picture) stands it where you click; the handles move and turn."
        )
        with gr.Row():
            move = [
                gr.Number(0, label=f"Move {a}", step=0.01, elem_id=f"move-{a}", min_width=70) for a in "xyz"
            ]
        turn = [
            gr.Slider(-180, 180, 0, step=1, label=f"Turn about {a} (degrees)", elem_id=f"turn-{a}")
            for a in "xyz"
        ]
        with gr.Row():
            scale = gr.Number(1, label="Scale", minimum=1e-6, step=0.05, elem_id="scale", min_width=90)
            region = gr.Checkbox(
                True,
                label="The region is around this mesh",
                elem_id="mesh-region",
                info="Otherwise only painted masks and the box say where",
            )
        drop_mesh = gr.Button("Remove the mesh", size="sm")
    with gr.Column(visible=False) as box:
        gr.Markdown("In world coordinates. **Drop on a surface** stands it where you click in the picture.")
        with gr.Row():
            center = [
                gr.Number(None, label=f"Center {a}", step=0.01, elem_id=f"center-{a}", min_width=70)
                for a in "xyz"
            ]
        with gr.Row():
            size = [
                gr.Number(None, label=f"Size {a}", step=0.01, elem_id=f"size-{a}", min_width=70)
                for a in "xyz"
            ]
        with gr.Row():
            spin = [
                gr.Number(0, label=f"Turn {a} (degrees)", step=1, elem_id=f"spin-{a}", min_width=70)
                for a in "xyz"
            ]
        with gr.Row():
            new_box = gr.Button("New box in the middle", size="sm", elem_id="new-box")
            drop_box = gr.Button("Remove the box", size="sm")
    with gr.Accordion("More", open=False):
        dilate = gr.Number(
            None,
            label="Widen the region by",
            info="In world units; empty: a little around a mesh, else not at all",
            minimum=0,
            step=0.01,
        )
    numbers = [*move, *turn, scale]
    box_numbers = [*center, *size, *spin]

    def ways(chosen: str, session: Session):
        now = {**session, "how": chosen}
        return [now, stage_value(now), *(gr.Column(visible=chosen == way) for _, way in WAYS)]

    def take_mesh(path: str | None, session: Session):
        work = Work(services, session)
        if path is None:
            return gr.skip()
        check_mesh_file(Path(path))
        words = about_mesh(Path(path))  # read by a child process; raises what is wrong with it
        first = mesh_overlay.first_placing(work.opened, Path(path))
        work.drafts.set_mesh(work.key, Path(path), first)
        now = stamped(session, how="mesh")
        return [now, stage_value(now), words, *_numbers(first)]

    def move_mesh(*given):
        *values, session = given
        work = Work(services, session)
        if not work.draft.mesh:
            return gr.skip()
        moved = placing_of({"translate": values[:3], "rotate": values[3:6], "scale": values[6]})
        if moved == work.draft.placing:
            return gr.skip()
        work.drafts.change(work.key, mesh_overlay=moved)
        now = stamped(session)
        return [now, stage_value(now)]

    def remove_mesh(session: Session):
        work = Work(services, session)
        work.drafts.set_mesh(work.key, None, MeshPose())
        now = stamped(session)
        return [now, stage_value(now), None, "", *_numbers(MeshPose())]

    def set_box(*given):
        *values, session = given
        work = Work(services, session)
        if any(value is None for value in values[:6]):
            return gr.skip()
        made = box_of(values[:3], values[3:6], [value or 0.0 for value in values[6:]])
        if made == work.draft.box:
            return gr.skip()
        work.drafts.change(work.key, box=made)
        now = stamped(session)
        return [now, stage_value(now)]

    def middle_box(session: Session):
        from nerf_insert.app.orbit_view import radius_of

        work = Work(services, session)
        side = float(f"{BOX * radius_of(work.opened):.3g}")
        middle = [float(f"{v:.4g}") for v in work.opened.capture.center_of_attention.tolist()]
        work.drafts.change(work.key, box=box_of(middle, [side] * 3, [0.0] * 3))
        now = stamped(session)
        return [now, stage_value(now), *middle, *[side] * 3, *[0.0] * 3]

    def remove_box(session: Session):
        work = Work(services, session)
        work.drafts.change(work.key, box=None)
        now = stamped(session)
        return [now, stage_value(now), *[None] * 6, *[0.0] * 3]

    def forget_masks(session: Session):
        work = Work(services, session)
        work.drafts.change(work.key, masks={})
        now = stamped(session)
        return [now, stage_value(now)]

    def other(around: bool, wider: float | None, session: Session):
        work = Work(services, session)
        work.drafts.change(work.key, mesh_is_region=bool(around), dilate=wider if wider else None)
        now = stamped(session)
        return [now, stage_value(now)]

    def undone(session: Session, event: gr.EventData):
        given = event._data or {}
        went = {key: given.get(key) or session[key] for key in ("how", "view")}
        now = stamped(session, **went)
        return [now, stage_value(now), *refresh(now)]

    def refresh(session: Session):
        """What the draft says, in all fields."""
        if not session["scene"]:
            return [gr.skip()] * len(fields)
        work = Work(services, session)
        draft = work.draft
        inside = draft.box
        boxed = [*inside.center, *inside.size, *inside.rotation] if inside else [*[None] * 6, *[0.0] * 3]
        return [
            about_mesh(work.drafts.file(work.key, "mesh", draft.mesh)) if draft.mesh else "",
            draft.mesh_is_region,
            draft.dilate,
            session["how"],
            gr.skip() if draft.mesh else None,
            *_numbers(draft.placing),
            *boxed,
        ]

    fields = [about, region, dilate, how, file, *numbers, *box_numbers]
    page.when_opened(refresh, fields)
    shown = [session, page.stage]
    how.change(told(ways), [how, session], [*shown, paint, mesh, box], **IN_TURN)
    file.upload(
        told(take_mesh), [file, session], [*shown, about, *numbers], **{**PRIVATE, "show_progress": "minimal"}
    )
    gr.on(
        [drop_mesh.click, file.clear], told(remove_mesh), session, [*shown, file, about, *numbers], **PRIVATE
    )
    for part in numbers:
        event = part.release if isinstance(part, gr.Slider) else part.input  # not when the page fills them in
        event(told(move_mesh), [*numbers, session], shown, trigger_mode="always_last", **PRIVATE)
    for part in turn:
        part.input(told(move_mesh), [*numbers, session], shown, trigger_mode="always_last", **PRIVATE)
    for part in box_numbers:
        part.input(told(set_box), [*box_numbers, session], shown, trigger_mode="always_last", **PRIVATE)
    new_box.click(told(middle_box), session, [*shown, *box_numbers], **PRIVATE)
    drop_box.click(told(remove_box), session, [*shown, *box_numbers], **PRIVATE)
    forget.click(told(forget_masks), session, shown, **PRIVATE)
    region.input(told(other), [region, dilate, session], shown, **PRIVATE)
    dilate.input(told(other), [region, dilate, session], shown, trigger_mode="always_last", **PRIVATE)
    page.stage.placed(told(refresh), session, fields, trigger_mode="always_last", **PRIVATE)
    page.stage.undone(told(undone), session, [*shown, *fields], **MANY)


def about_mesh(path: Path) -> str:
    """Raises InputError where the file cannot be read."""
    mesh = mesh_overlay.mesh_of(path)
    return f"**{path.name}**, {len(mesh.faces)} faces." + "".join(f" {words}." for words in mesh.warnings)


def _numbers(where: MeshPose) -> list[float]:
    return [*where.translate, *where.rotate, where.scale]
