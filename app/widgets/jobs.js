// The scene's jobs: progress, pause, stop, resume, images as they arrive. Polls the server once a second while
// the list is visible; jobs run whether or not anybody polls.
// props.value = {scene, draft: where images of previews are kept, kinds: which jobs are shown, stamp}

const list = element.querySelector('.list');
let at = {}, known = {}, timer = null, asking = false, images = {}, kept = {};

const escape = (text) => String(text ?? '').replace(/[&<>"]/g, (c) => ({'&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;'}[c]));
const STATES = {waiting: 'waiting', running: 'running', paused: 'paused', stopping: 'stopping …', stopped: 'stopped', failed: 'failed', done: 'done'};
const ACTIONS = {waiting: ['stop'], running: ['pause', 'stop'], paused: ['resume', 'stop'], stopping: [], stopped: ['resume', 'forget'], failed: ['resume', 'forget'], done: ['forget']};
const ENDED = ['done', 'failed', 'stopped'];
const NAMES = {pause: 'Pause', stop: 'Stop', resume: 'Resume', forget: 'Remove from list'};

async function ask(name, extra) {
  try { return await server[name]({scene: at.scene, ...extra}); }
  catch (problem) { return {error: 'The server does not answer. Is nerf-insert app still running?'}; }
}

async function refresh(answer) {
  if (!at.scene) { list.innerHTML = ''; element.querySelector('.none').hidden = false; return; }
  if (asking && !answer) return;
  asking = true;
  const scene = at.scene;
  answer = answer || await ask('job_list', {});
  asking = false;
  clearTimeout(timer);
  timer = setTimeout(refresh, document.hidden || element.offsetParent === null ? 4000 : 1000);
  if (scene !== at.scene || answer.error) return;
  const jobs = answer.jobs.filter((job) => !at.kinds || at.kinds.includes(job.kind));
  element.querySelector('.none').hidden = jobs.length > 0;
  for (const job of jobs) {
    if (known[job.key] && known[job.key] !== job.state && ENDED.includes(job.state)) trigger('ended', {key: job.key, kind: job.kind, state: job.state});
    known[job.key] = job.state;
  }
  for (const card of [...list.children]) if (!jobs.some((job) => job.key === card.dataset.key)) card.remove();
  jobs.forEach((job, k) => {
    let card = [...list.children].find((c) => c.dataset.key === job.key);
    if (!card) { card = document.createElement('div'); card.dataset.key = job.key; card.className = 'job'; card.setAttribute('role', 'listitem');
      card.innerHTML = '<div class="top"></div><div class="stages"></div><div class="notes"></div><div class="images"></div><div class="buttons"></div>'; }
    if (list.children[k] !== card) list.insertBefore(card, list.children[k] || null);
    fill(card, job);
  });
  element.dataset.ready = '1';
}

function set(node, html) { if (node.dataset.html !== html) { node.innerHTML = html; node.dataset.html = html; } }

function fill(card, job) {
  card.dataset.state = job.state;
  const queue = job.state === 'waiting' ? (job.held_up_by ? ` until “${escape(job.held_up_by)}” is resumed or stopped` : job.ahead ? `, ${job.ahead} ahead` : ', starts next') : '';
  set(card.querySelector('.top'), `<b>${escape(job.title)}</b> <span class="state ${job.state}">${STATES[job.state]}${queue}</span> <span class="took">${job.state === 'waiting' ? '' : escape(job.took)}</span>`);
  const open = job.stages.slice(-6);
  const starting = job.state === 'running' && !open.length ? '<div class="stage-line">Starting …</div>' : '';
  set(card.querySelector('.stages'), job.state === 'done' ? '' : starting + open.map((s) =>
    `<div class="stage-line"><span>${escape(s.task)}</span><span class="left">${escape(s.note ? s.note + '  ' : '')}${s.done ? 'done, ' : Math.round(100 * s.fraction) + '%  '}${escape(s.left)}</span>
     <progress max="1" value="${s.fraction}" aria-label="${escape(s.task)}"></progress></div>`).join(''));
  set(card.querySelector('.notes'), (job.message ? `<div class="bad">${escape(job.message)}</div>` : '') + job.warnings.map((w) => `<div class="warning">Warning: ${escape(w)}</div>`).join('') + (job.state === 'done' ? '' : job.notes.map((n) => `<div>${escape(n)}</div>`).join('')));
  set(card.querySelector('.buttons'), ACTIONS[job.state].map((a) => `<button type="button" data-action="${a}">${NAMES[a]}</button>`).join(''));
  if (job.state !== 'waiting') showImages(card, job);
}

async function showImages(card, job) {
  const mine = images[job.key] = images[job.key] || {count: -1, busy: false, complete: false};
  const ended = ENDED.includes(job.state);
  if (mine.busy || (ended && mine.complete)) return;
  mine.busy = true;
  const answer = await ask('job_images', {job: job.key, have: mine.count});
  mine.busy = false;
  if (answer.error) return;
  mine.complete = ended;  // a job may write its last images after they were asked for
  if (!answer.images) return;
  mine.count = answer.count;
  set(card.querySelector('.images'), answer.images.map((p) => `<figure><img src="${p.url}" alt="${escape(p.label)}"><figcaption>${escape(p.label)}</figcaption>${p.view && at.draft ? keeper(p) : ''}</figure>`).join(''));
  showKept();
}

const keeper = (p) => `<button type="button" class="keep" data-view="${escape(p.view)}" data-file="${escape(p.file)}"></button>`;

function showKept() {
  list.querySelectorAll('button.keep').forEach((button) => {
    const on = kept[button.dataset.view] === button.dataset.file;
    button.setAttribute('aria-pressed', on);
    button.textContent = on ? 'Kept' : 'Keep';
    button.title = on ? 'The edit starts from this image; click to drop it' : 'Start the edit from this image';
  });
}

async function keep(button) {
  const {view} = button.dataset, on = button.getAttribute('aria-pressed') === 'true';
  const answer = await ask('keep_image', {draft: at.draft, job: button.closest('.job').dataset.key, view, keep: !on});
  if (answer.error) { button.title = button.textContent = answer.error; return; }
  kept = answer.kept;
  showKept();
}

element.addEventListener('click', async (event) => {
  const keepButton = event.target.closest('button.keep');
  if (keepButton) { keep(keepButton); return; }
  const button = event.target.closest('button[data-action]');
  if (!button) return;
  button.disabled = true;
  refresh(await ask('job_action', {job: button.closest('.job').dataset.key, action: button.dataset.action}));
});

function update() {
  const next = props.value || {};
  if (next.scene !== at.scene) { known = {}; images = {}; list.innerHTML = ''; }
  at = next;
  asking = false;
  if (at.scene && at.draft) ask('keep_image', {draft: at.draft}).then((answer) => { if (answer.kept) { kept = answer.kept; showKept(); } });
  refresh();
}
watch('value', update);
document.addEventListener('visibilitychange', () => refresh());
update();
