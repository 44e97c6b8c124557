"""Mark: click on the object, paint on photographs, paint over scratches, place a mesh or a box.

Together they form one region.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from nerf_insert.app import mesh_overlay
from nerf_insert.app.drafts import MeshPose
from nerf_insert.app.form_values import parse_box, parse_mesh_pose
from nerf_insert.app.mesh_uploads import TAKEN, gathered
from nerf_insert.app.orbit_view import scene_radius
from nerf_insert.app.steps.common import (
    EVERY_EVENT,
    IN_TURN,
    LATEST_IN_TURN,
    PRIVATE,
    Context,
    Page,
    Session,
    show_errors,
    stage_value,
    stamped,
)
from nerf_insert.app.widgets import widget_event
from nerf_insert.geometry.up_axis import UpAxis, standard_up_axis

UP_AXES = [
    ("as in the file", "none"),
    *[(f"{sign or '+'}{axis}", f"{sign}{axis}") for axis in "xyz" for sign in ("", "-")],
]
METHODS = [
    ("Click", "click"),
    ("Paint on photographs", "paint"),
    ("Heal a small place", "heal"),
    ("Place a mesh", "mesh"),
    ("Place a box", "box"),
]
NEW_BOX = 0.15  # of the scene's radius: side length of a new box


def build(page: Page) -> None:
    """Lay out the step."""
    services, session = page.services, page.session
    how = gr.Radio(METHODS, value="paint", label="Mark the region", elem_id="how")
    with gr.Column(visible=False) as click:
        gr.Markdown(
            "Click on the object in a photograph: the region appears in all photographs. If a part is "
            "missing, click on it too, in any photograph; click on what does not belong to the object with "
            "**Not this** above the image."
        )
        forget_points = gr.Button("Remove all clicks", size="sm", elem_id="forget-points")
    with gr.Column(visible=True) as paint:
        gr.Markdown(
            "Choose a photograph and paint over the object, generously. Then paint it on a photograph from "
            "another side: the dashed line shows where to look for it. With two masks, the region appears "
            "in all photographs."
        )
        forget = gr.Button("Remove all masks", size="sm", elem_id="forget-masks")
    with gr.Column(visible=False) as heal:
        gr.Markdown(
            "Paint over a scratch, a tag, a cable or a scrap in the air, no wider than it is. One photograph "
            "is enough: the surface under the stroke continues what is around it."
        )
        forget_heal = gr.Button("Remove all strokes", size="sm", elem_id="forget-heal")
    with gr.Column(visible=False) as mesh:
        file = gr.File(
            label="Mesh (GLB, glTF, OBJ, PLY or STL), with its materials and textures, or a zip of them",
            file_count="multiple",
            file_types=list(TAKEN),
            type="filepath",
            elem_id="mesh-file",
            height=110,
        )
        about = gr.Markdown("", elem_id="about-mesh")
        gr.Markdown(
            "Click **Drop on a surface** above the image, then click where the mesh should stand. Drag the "
            "arrows to move it and the dotted ring to turn it."
        )
        with gr.Row():
            position = [
                gr.Number(0, label=f"Position {a}", step=0.01, elem_id=f"move-{a}", min_width=70)
                for a in "xyz"
            ]
        up_axis = gr.Dropdown(
            UP_AXES,
            value="none",
            label="Axis of the file that points up",
            elem_id="up-axis",
            info="It is turned to the scene's up. glTF files are y-up by their standard",
        )
        rotation = [
            gr.Slider(-180, 180, 0, step=1, label=f"Rotation about {a} (degrees)", elem_id=f"turn-{a}")
            for a in "xyz"
        ]
        with gr.Row():
            scale = gr.Number(1, label="Scale", minimum=1e-6, step=0.05, elem_id="scale", min_width=90)
            is_region = gr.Checkbox(
                True,
                label="The mesh marks the region",
                elem_id="mesh-region",
                info="If off, only masks and the box do",
            )
        remove_mesh = gr.Button("Remove the mesh", size="sm")
    with gr.Column(visible=False) as box:
        gr.Markdown(
            "Add a box, click **Drop on a surface** above the image, then click where the box should stand. "
            "The numbers are world coordinates."
        )
        with gr.Row():
            new_box = gr.Button("Add a box", size="sm", elem_id="new-box")
            remove_box = gr.Button("Remove the box", size="sm")
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
                gr.Number(0, label=f"Rotation {a} (°)", step=1, elem_id=f"spin-{a}", min_width=70)
                for a in "xyz"
            ]
    with gr.Accordion("Advanced", open=False):
        combine = gr.Radio(
            [("Everything marked", "union"), ("Only what all of them share", "intersection")],
            value="union",
            label="Masks, mesh and box together",
            info="What all share: a box cuts off what masks leave open behind the object",
            elem_id="combine",
        )
        dilate = gr.Number(
            None,
            label="Dilate the region by",
            info="World units. Empty: a small margin around a mesh, none otherwise",
            minimum=0,
            step=0.01,
        )
    pose_numbers = [*position, *rotation, scale]
    box_numbers = [*center, *size, *spin]

    def choose_method(chosen: str, session: Session) -> list[Any]:
        now = {**session, "how": chosen}
        return [now, stage_value(now), *(gr.Column(visible=chosen == method) for _, method in METHODS)]

    def take_mesh(paths: list[str] | None, session: Session) -> Any:
        context = Context(services, session)
        if not paths:
            return gr.skip()
        with gathered([Path(path) for path in paths]) as path:
            words = describe_mesh(path)  # raises what is wrong with the file
            pose = mesh_overlay.initial_pose(context.open_scene, path)
            words += " " + mesh_overlay.describe_size(context.open_scene, path, pose)
            context.drafts.set_mesh(context.key, path, pose)
            axis = standard_up_axis(path) or "none"
        return [*_shown(session, how="mesh"), words, axis, *_numbers(pose)]

    def stand_up(axis: UpAxis, session: Session) -> Any:
        context = Context(services, session)
        if not context.draft.mesh:
            return gr.skip()
        pose = mesh_overlay.stood_up(context.open_scene, context.draft.mesh_pose, axis)
        context.drafts.change(context.key, mesh_pose=pose)
        return [*_shown(session), *_numbers(pose)]

    def move_mesh(*values_and_session: Any) -> Any:
        *values, session = values_and_session
        context = Context(services, session)
        if not context.draft.mesh:
            return gr.skip()
        pose = parse_mesh_pose({"translate": values[:3], "rotate": values[3:6], "scale": values[6]})
        if pose == context.draft.mesh_pose:
            return gr.skip()
        context.drafts.change(context.key, mesh_pose=pose)
        return _shown(session)

    def forget_mesh(session: Session) -> list[Any]:
        context = Context(services, session)
        context.drafts.set_mesh(context.key, None, MeshPose())
        return [*_shown(session), None, "", *_numbers(MeshPose())]

    def set_box(*values_and_session: Any) -> Any:
        *values, session = values_and_session
        context = Context(services, session)
        if any(value is None for value in values[:6]):
            return gr.skip()
        changed = parse_box(values[:3], values[3:6], [value or 0.0 for value in values[6:]])
        if changed == context.draft.box:
            return gr.skip()
        context.drafts.change(context.key, box=changed)
        return _shown(session)

    def add_box(session: Session) -> list[Any]:
        context = Context(services, session)
        side = float(f"{NEW_BOX * scene_radius(context.open_scene):.3g}")
        capture = context.open_scene.capture
        middle = [*mesh_overlay.rounded(context.open_scene, capture.outside(capture.center_of_attention))]
        context.drafts.change(context.key, box=parse_box(middle, [side] * 3, [0.0] * 3))
        return [*_shown(session), *middle, *[side] * 3, *[0.0] * 3]

    def forget_box(session: Session) -> list[Any]:
        context = Context(services, session)
        context.drafts.change(context.key, box=None)
        return [*_shown(session), *[None] * 6, *[0.0] * 3]

    def forget_clicks(session: Session) -> list[Any]:
        context = Context(services, session)
        context.drafts.change(context.key, points={}, not_points={})
        return _shown(session)

    def forget_masks(session: Session) -> list[Any]:
        context = Context(services, session)
        context.drafts.change(context.key, masks={})
        return _shown(session)

    def forget_heals(session: Session) -> list[Any]:
        context = Context(services, session)
        context.drafts.change(context.key, heal={})
        return _shown(session)

    def set_options(around_mesh: bool, together: str, by: float | None, session: Session) -> list[Any]:
        context = Context(services, session)
        changes = {"mesh_is_region": bool(around_mesh), "combine": together, "dilate": by if by else None}
        context.drafts.change(context.key, **changes)
        return _shown(session)

    def undone(session: Session, event: gr.EventData) -> list[Any]:
        data = event._data or {}
        now = stamped(session, **{key: data.get(key) or session[key] for key in ("how", "view")})
        return [now, stage_value(now), *refresh(now, opened=False)]

    def refresh(session: Session, opened: bool = True) -> list[Any]:
        """Return the draft's values for all fields."""
        if not session["scene"]:
            return [gr.skip()] * len(fields)
        context = Context(services, session)
        draft = context.draft
        shown = draft.box
        box_values = [*shown.center, *shown.size, *shown.rotation] if shown else [*[None] * 6, *[0.0] * 3]
        return [
            describe_mesh(context.drafts.file(context.key, "mesh", draft.mesh)) if draft.mesh else "",
            draft.mesh_is_region,
            draft.combine,
            draft.dilate,
            _first_way(context, session["how"]) if opened else session["how"],
            gr.skip() if draft.mesh else None,
            *_numbers(draft.mesh_pose),
            *box_values,
        ]

    fields = [about, is_region, combine, dilate, how, file, *pose_numbers, *box_numbers]
    page.when_opened(refresh, fields)
    shown = [session, page.stage]
    how.change(show_errors(choose_method), [how, session], [*shown, click, paint, heal, mesh, box], **IN_TURN)
    file.upload(
        show_errors(take_mesh),
        [file, session],
        [*shown, about, up_axis, *pose_numbers],
        **{**PRIVATE, "show_progress": "minimal"},
    )
    up_axis.input(show_errors(stand_up), [up_axis, session], [*shown, *pose_numbers], **EVERY_EVENT)
    mesh_outputs = [*shown, file, about, *pose_numbers]
    gr.on([remove_mesh.click, file.clear], show_errors(forget_mesh), session, mesh_outputs, **IN_TURN)
    for number in pose_numbers:  # events that do not fire when the page fills the fields in
        event = number.release if isinstance(number, gr.Slider) else number.input
        event(show_errors(move_mesh), [*pose_numbers, session], shown, **EVERY_EVENT)
    for slider in rotation:
        slider.input(show_errors(move_mesh), [*pose_numbers, session], shown, **LATEST_IN_TURN)
    for number in box_numbers:
        number.input(show_errors(set_box), [*box_numbers, session], shown, **EVERY_EVENT)
    new_box.click(show_errors(add_box), session, [*shown, *box_numbers], **IN_TURN)
    remove_box.click(show_errors(forget_box), session, [*shown, *box_numbers], **IN_TURN)
    forget_points.click(show_errors(forget_clicks), session, shown, **IN_TURN)
    forget.click(show_errors(forget_masks), session, shown, **IN_TURN)
    forget_heal.click(show_errors(forget_heals), session, shown, **IN_TURN)
    options = [is_region, combine, dilate, session]
    changed = [is_region.input, combine.input, dilate.input]
    gr.on(changed, show_errors(set_options), options, shown, **EVERY_EVENT)
    widget_event(page.stage, "placed")(show_errors(refresh), session, fields, **LATEST_IN_TURN)
    widget_event(page.stage, "undone")(show_errors(undone), session, [*shown, *fields], **EVERY_EVENT)


def _first_way(context: Context, how: str) -> str:
    """Return how to mark in a scene that was opened: by clicks, where it has depth and no masks."""
    if how not in ("click", "paint"):
        return how
    draft = context.draft
    return "click" if draft.points or (context.location.trained and not draft.masks) else "paint"


def describe_mesh(path: Path) -> str:
    """Describe a mesh file in words.

    Raises:
        InputError: The file cannot be read.
    """
    mesh = mesh_overlay.read_mesh(path)
    return f"**{path.name}**, {len(mesh.faces)} faces." + "".join(f" {words}." for words in mesh.warnings)


def _shown(session: Session, **changes: Any) -> list[Any]:
    """Return the values of the session and the stage after a change that the stage has to show."""
    now = stamped(session, **changes)
    return [now, stage_value(now)]


def _numbers(pose: MeshPose) -> list[float]:
    return [*pose.translate, *pose.rotate, pose.scale]
