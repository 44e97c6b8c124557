"""Jobs: how they stand, and what they have made."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from nerf_insert.app import region_overlay
from nerf_insert.app.downloads import job_file
from nerf_insert.app.jobs import previews
from nerf_insert.app.services.common import Service, answering
from nerf_insert.app.workspace import SceneLocation
from nerf_insert.errors import InputError
from nerf_insert.runtime.progress_display import duration


class Working(Service):
    @answering
    def job_list(self, data: dict) -> dict:
        """{"jobs": [...]} of the scene, newest first, each with the stages that it went through."""
        page = self.place(data).page
        jobs = self.jobs.list(page)
        return {"jobs": [self._described(page, job) for job in jobs], "trained": self.place(data).trained}

    @answering
    def job_action(self, data: dict) -> dict:
        """{"action"}: pause, resume, stop or forget the job {"job"}."""
        page, action = self.place(data).page, str(data.get("action"))
        if action not in ("pause", "resume", "stop", "forget"):
            raise InputError("a job can be paused, resumed, stopped or forgotten")
        getattr(self.jobs, action)(page, str(data.get("job")))
        return self.job_list(data)

    @answering
    def job_pictures(self, data: dict) -> dict:
        """What the job {"job"} has made so far, as pictures: {"count", "pictures": [{"url", "label"}]}; only
        {"count"} where that is still {"have"}."""
        opened, key = self.opened(data), str(data.get("job"))
        count, pictures = previews.pictures(opened, self.jobs, key, int(data.get("have", -1)))
        return {"count": count} if pictures is None else {"count": count, "pictures": pictures}

    @answering
    def keep_picture(self, data: dict) -> dict:
        """Keep the picture that the preview {"job"} painted of the photograph {"view"}, or no longer, with
        {"keep": false}; without a {"view"} only say what is kept. The edit starts from these. {"kept":
        {view: file}}."""
        place = self.place(data)
        drafts, key, draft = self.draft(data)
        view = data.get("view")
        if view is not None and data.get("keep", True):
            picture = previews.previewed(place, self.jobs, str(data.get("job")), str(view))
            draft = drafts.keep(key, str(view), picture, f"{data['job']}-{picture.name}")
        elif view is not None:
            draft = drafts.keep(key, str(view), None)
        return {"kept": draft.kept}

    def finished(self, place: SceneLocation, kind: str) -> list[Path]:
        """The files that jobs of a kind, render or export, have made, newest first."""
        files = []
        for job in self.jobs.list(place.page):
            if job.kind == kind:
                with contextlib.suppress(InputError):  # none, or not yet
                    files.append(job_file(job, self.jobs.folder(place.page, job.key), self.downloads))
        return files

    def _described(self, page: Path, job) -> dict[str, Any]:
        stages, notes = stages_of(self.jobs.progress(page, job.key))
        waits = job.state == "waiting"
        ahead = self.jobs.waiting_before(page, job.key) if waits else 0
        paused = self.jobs.held_up_by() if waits else None
        took = (job.ended or time.time()) - job.started if job.started else 0.0
        return {
            "key": job.key,
            "kind": job.kind,
            "title": job.title,
            "state": job.state,
            "message": region_overlay.sentence(job.message) if job.message else "",
            "stages": stages,
            "notes": notes[-4:],
            "ahead": ahead,
            "held_up_by": paused.title if paused else None,
            "took": duration(took),
        }


def stages_of(events: list[dict]) -> tuple[list[dict], list[str]]:
    """A command's stages {"task", "share" 0..1, "left": words, "note", "done"}, and what it said."""
    stages: list[dict] = []
    notes: list[str] = []
    for event in events:
        kind, task = event.get("event"), event.get("task")
        if kind in ("message", "warning"):
            notes.append(
                ("Warning: " if kind == "warning" else "") + region_overlay.sentence(event.get("text", ""))
            )
        elif kind == "start":
            stages.append({"task": task, "share": 0.0, "left": "", "note": "", "done": False})
        elif stages and kind in ("progress", "end"):
            stage = next((s for s in reversed(stages) if s["task"] == task), stages[-1])
            stage["note"] = event.get("note") or stage["note"]
            if kind == "end":
                finished = bool(event.get("finished"))
                stage |= {"done": finished, "share": 1.0 if finished else stage["share"]}
                stage["left"] = duration(event.get("seconds") or 0.0) if finished else "stopped"
            else:
                left = event.get("left")
                stage |= {
                    "share": event.get("share", 0.0),
                    "left": f"{duration(left)} left" if left is not None else "",
                }
    return stages, notes
