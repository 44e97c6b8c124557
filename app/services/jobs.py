"""Jobs: their state, their progress and what they have produced so far."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from nerf_insert.app.downloads import job_file
from nerf_insert.app.jobs import previews
from nerf_insert.app.jobs.job import Job
from nerf_insert.app.messages import as_sentence
from nerf_insert.app.services.common import Answer, Service, answer_errors
from nerf_insert.app.workspace import SceneLocation
from nerf_insert.errors import InputError
from nerf_insert.runtime.progress import duration

SHOWN_NOTES = 4  # newest messages of a job


class JobService(Service):
    """Calls about jobs."""

    @answer_errors
    def job_list(self, data: Answer) -> Answer:
        """List the scene's jobs, newest first, with their stages: {"jobs": [...], "trained"}."""
        location = self.location(data)
        jobs = self.jobs.list_jobs(location.page)
        return {"jobs": [self._describe(location.page, job) for job in jobs], "trained": location.trained}

    @answer_errors
    def job_action(self, data: Answer) -> Answer:
        """Pause, resume, stop or forget ({"action"}) the job {"job"}; answers as `job_list` does."""
        page, key = self.location(data).page, str(data.get("job"))
        actions = {
            "pause": self.jobs.pause,
            "resume": self.jobs.resume,
            "stop": self.jobs.stop,
            "forget": self.jobs.forget,
        }
        action = actions.get(str(data.get("action")))
        if action is None:
            raise InputError(f"a job has these actions: {', '.join(actions)}")
        action(page, key)
        return self.job_list(data)

    @answer_errors
    def job_images(self, data: Answer) -> Answer:
        """Return the images that the job {"job"} has produced so far.

        Answers {"count", "images": [{"url", "label"}]}; only {"count"} if that is what callers {"have"}.
        """
        open_scene, key = self.open_scene(data), str(data.get("job"))
        count, images = previews.job_images(open_scene, self.jobs, key, int(data.get("have", -1)))
        return {"count": count} if images is None else {"count": count, "images": images}

    @answer_errors
    def keep_image(self, data: Answer) -> Answer:
        """Keep the image that the preview {"job"} painted of the photograph {"view"} for the edit.

        {"keep": false} drops it again; without a {"view"} nothing changes. Answers {"kept": {view: file}}.
        """
        location = self.location(data)
        drafts, key, draft = self.draft(data)
        view = data.get("view")
        if view is not None and data.get("keep", True):
            image = previews.preview_image(location, self.jobs, str(data.get("job")), str(view))
            draft = drafts.keep(key, str(view), image, f"{data['job']}-{image.name}")
        elif view is not None:
            draft = drafts.keep(key, str(view), None)
        return {"kept": draft.kept}

    def finished_files(self, location: SceneLocation, kind: str) -> list[Path]:
        """Return the files that finished jobs of a kind (render or export) produced, newest first."""
        files = []
        for job in self.jobs.list_jobs(location.page):
            if job.kind == kind:
                with contextlib.suppress(InputError):  # no file, or not yet
                    files.append(job_file(job, self.jobs.folder(location.page, job.key), self.downloads))
        return files

    def _describe(self, page: Path, job: Job) -> dict[str, Any]:
        events = self.jobs.progress(page, job.key)
        stages, notes = job_stages(events)
        waiting = job.state == "waiting"
        blocking = self.jobs.held_up_by() if waiting else None
        return {
            "key": job.key,
            "kind": job.kind,
            "title": job.title,
            "state": job.state,
            "message": as_sentence(job.message) if job.message else "",
            "stages": stages,
            "notes": notes[-SHOWN_NOTES:],
            "warnings": job_warnings(events),
            "ahead": self.jobs.waiting_before(page, job.key) if waiting else 0,
            "held_up_by": blocking.title if blocking else None,
            "took": duration((job.ended or time.time()) - job.started if job.started else 0.0),
        }


def job_warnings(events: list[dict[str, Any]]) -> list[str]:
    """Return what a command warned of, as sentences, each once: also a resumed one, which warns again."""
    texts = (event.get("text", "") for event in events if event.get("event") == "warning")
    return [*dict.fromkeys(map(as_sentence, texts))]


def job_stages(events: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Summarize a command's progress events.

    Returns:
        The stages, each with "task", "fraction" (0..1), "left" (time left, in words), "note" and "done"; and
        the messages other than warnings, as sentences.
    """
    stages: list[dict[str, Any]] = []
    notes: list[str] = []
    for event in events:
        kind, task = event.get("event"), event.get("task")
        if kind == "message":
            notes.append(as_sentence(event.get("text", "")))
        elif kind == "start":
            stages.append({"task": task, "fraction": 0.0, "left": "", "note": "", "done": False})
        elif stages and kind in ("progress", "end"):
            stage = next((s for s in reversed(stages) if s["task"] == task), stages[-1])
            stage["note"] = event.get("note") or stage["note"]
            if kind == "end":
                finished = bool(event.get("finished"))
                stage |= {"done": finished, "fraction": 1.0 if finished else stage["fraction"]}
                stage["left"] = duration(event.get("seconds") or 0.0) if finished else "stopped"
            else:
                left = event.get("left")
                fraction = event.get("fraction", event.get("share", 0.0))
                stage |= {"fraction": fraction, "left": f"{duration(left)} left" if left is not None else ""}
    return stages, notes
