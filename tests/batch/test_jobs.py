"""Lists of jobs: what they expand to, and what is wrong with them."""

import pytest

from nerf_insert.batch.jobs import read_jobs
from nerf_insert.errors import InputError


@pytest.fixture
def read(tmp_path):
    def made(text):
        file = tmp_path / "jobs.yaml"
        file.write_text(text)
        return read_jobs(file)

    return made


def test_a_matrix_makes_a_job_of_every_combination(read):
    jobs = read(
        "jobs:\n"
        "  - name: sweep\n"
        "    matrix: {recipe: [lamp, 'big fern'], seed: [0, 1]}\n"
        "    run: edit scene --recipe '{recipe}.yaml' --seed {seed} --copy-to out/{seed}\n"
        "  - {run: [render, scene, --orbit, --out, 'a b.mp4'], gpus: 1, needs: [sweep-lamp-0]}\n"
    )
    assert [job.name for job in jobs] == [
        "sweep-lamp-0", "sweep-lamp-1", "sweep-big_fern-0", "sweep-big_fern-1", "002-render"
    ]  # fmt: skip
    assert jobs[2].words == "edit|scene|--recipe|big fern.yaml|--seed|0|--copy-to|out/0".split("|")
    assert jobs[4].words[-1] == "a b.mp4" and jobs[4].gpus == 1 and jobs[4].needs == ["sweep-lamp-0"]


def test_parts_of_a_video_are_joined_and_those_of_images_are_not(read):
    (one, two, film), images = (
        read(f"jobs: [{{name: film, parts: 2, run: render scene --orbit --out {out}}}]")
        for out in ("film.mp4", "folder")
    )
    assert one.words[-2:] == ["--part", "1/2"] and two.words[-2:] == ["--part", "2/2"]
    assert film.name == "film" and film.words[-1] == "--join"
    assert film.needs == [one.name, two.name] == [job.name for job in images]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", 'needs "jobs:"'),
        ("jobs: []", 'needs "jobs:"'),
        ("jobs: [3]", "job 1 of"),
        ("jobs: [{name: a}]", "run"),
        ("jobs: [{run: train x, gpu: 1}]", "gpu"),
        ("jobs: [{run: ''}]", "run is empty"),
        ('jobs: [{run: "edit \'scene"}]', "check its quotes"),
        ("jobs: [{run: 'edit {scene}'}]", r"\{scene\} is not a key of its matrix"),
        ("jobs: [{run: 'edit {a}', matrix: {a: []}}]", "matrix.a must be a list"),
        ("jobs: [{run: 'edit {a}', matrix: {a: [[1]]}}]", "matrix.a must be a list"),
        ("jobs: [{run: edit a, name: x}, {run: edit b, name: x}]", "job 2 of .* that of an earlier job"),
        ("jobs: [{run: edit a, name: ..}]", "cannot be used"),
        ("jobs: [{run: edit a, needs: [b]}]", "needs b, which is not in the list"),
        ("jobs: [{run: edit a, parts: 2}]", "parts is for `render`"),
        ("jobs: [{run: edit a, cpus: -1}]", "cpus"),
    ],
)
def test_what_is_wrong_is_said(read, text, message):
    with pytest.raises(InputError, match=message):
        read(text)
