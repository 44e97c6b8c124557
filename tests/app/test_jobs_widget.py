"""The list of jobs alone in Chromium, with a server whose answers the test decides."""

import browsing
import pytest

from nerf_insert.app.widgets import HERE

pytestmark = pytest.mark.skipif(browsing.CHROMIUM is None, reason=browsing.NO_BROWSER)
WIDGET = """([html, script, states, images]) => {
  document.body.innerHTML = `<div id="widget">${html}</div>`;
  const job = (state) => ({key: 'a', kind: 'edit', title: 'An edit', state, message: '', stages: [],
    notes: [], warnings: [], ahead: 0, held_up_by: null, took: '1 s'});
  const next = (answers) => answers.length > 1 ? answers.shift() : answers[0];
  const server = {
    job_list: async () => ({jobs: [job(next(states))]}),
    job_images: async ({have}) => {
      const count = next(images);
      if (count === null) return {error: 'The server does not answer.'};
      return have === count ? {count} : {count, images: Array(count).fill({url: 'data:,', label: 'view'})};
    },
  };
  new Function('element', 'props', 'server', 'trigger', 'watch', script)(
    document.querySelector('#widget'), {value: {scene: 'one'}}, server, () => {}, () => {});
}"""


@pytest.fixture(scope="module")
def page():
    with browsing.browser() as chromium:
        yield chromium.new_page()


@pytest.mark.parametrize("end", ["done", "stopped", "failed"])
@pytest.mark.parametrize(
    "images",
    [
        [0, 4],  # none yet when they were asked for while it ran
        [2, 4],
        [2, None, 4],  # the first question after its end is lost
    ],
)
def test_the_last_images_of_a_job_are_shown(page, end, images):
    html, script = ((HERE / f"jobs.{kind}").read_text() for kind in ("html", "js"))
    page.evaluate(WIDGET, [html, script, ["running", end], images])
    page.wait_for_function("() => document.querySelectorAll('.job .images img').length === 4")
    assert page.locator(".job").get_attribute("data-state") == end
