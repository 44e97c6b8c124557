"""Which job waits for which, found from their commands."""

from pathlib import Path

import pytest

from nerf_insert.batch.jobs import Job
from nerf_insert.batch.order import order_jobs
from nerf_insert.cli.commands.batch import uses_of
from nerf_insert.errors import InputError


def order(tmp_path, **commands):
    jobs = [Job(name, command.split()) for name, command in commands.items()]
    return order_jobs(jobs, lambda job: uses_of(job, tmp_path))


def test_jobs_wait_for_what_makes_or_changes_their_files(tmp_path):
    waits = order(
        tmp_path,
        train="train capture --out scenes/a",
        other="train capture --out scenes/b",
        edit="edit scenes/a --box 0,0,0,1,1,1",
        copy="edit ./scenes/../scenes/a --box 0,0,0,1,1,1 --copy-to copies/a",
        film="render copies/a --orbit --out film.mp4",
        again="edit scenes/a --box 0,0,0,1,1,1",
        all="layers scenes/b",
    )
    assert waits == {
        "train": set(),
        "other": set(),
        "edit": {"train"},
        "copy": {"train", "edit"},  # it reads the scene as it is after the edit
        "film": {"copy"},
        "again": {"train", "edit", "copy"},  # it changes what the copy reads
        "all": {"other"},
    }
    assert list(waits).index("film") > list(waits).index("copy")


def test_parts_of_a_video_run_beside_each_other(tmp_path):
    film = "render scene --orbit --out film.mp4"
    waits = order(tmp_path, one=f"{film} --part 1/2", two=f"{film} --part 2/2", all=f"{film} --join")
    assert waits == {"one": set(), "two": set(), "all": {"one", "two"}}


def test_a_circle_is_named(tmp_path):
    jobs = [Job("a", ["layers", "x"], needs=["b"]), Job("b", ["layers", "x"], needs=["a"])]
    with pytest.raises(InputError, match=r"a -> b -> a|b -> a -> b"):
        order_jobs(jobs, lambda job: uses_of(job, tmp_path))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("trian x", "invalid choice"),
        ("edit", "the job a: .*SCENE"),
        ("app", "cannot be run in a list"),
        ("batch x.yaml", "cannot be run in a list"),
        ("--version", "does not run a command"),
    ],
)
def test_a_wrong_command_is_found_before_anything_runs(tmp_path, command, message):
    with pytest.raises(InputError, match=message):
        order(tmp_path, a=command)


def test_paths_are_those_of_the_list(tmp_path):
    uses = uses_of(Job("a", ["edit", "scene", "--box", "0,0,0,1,1,1", "--recipe", "~/r.yaml"]), tmp_path)
    assert uses.writes == {tmp_path / "scene"} and uses.reads == {Path("~/r.yaml").expanduser().resolve()}
