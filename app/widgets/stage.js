// The stage: photographs to paint on and to place objects in, and the 3D view.
// props.value = {scene, draft, step, how, stamp}; every change of it updates the stage.
// Positions in images are fractions of their width and height, 0..1.

const $ = (selector) => element.querySelector(selector);
const frame = $('.frame'), canvas = $('.paint'), film = $('.film'), svg = $('.lines');
const pen = canvas.getContext('2d', {willReadFrequently: true});
const CANVAS = 1024;      // pixels of the mask's width, at most
const QUICK = 0.12;       // seconds per frame while the view is being turned
const SHARP = [384, 800]; // image widths once it rests
const TAB = Math.random().toString(36).slice(2);  // this window
const HOME = {yaw: 35, pitch: 30, distance: 1, target: null};

let at = {scene: null, draft: null, step: 'open', how: 'paint', stamp: 0};
let scene = null, views = [], index = 0, mode = 'photo', what = 'edited';
let tool = 'paint', size = 30, masks = [], cursor = {x: 0.5, y: 0.5}, keyed = false;
let orbit = {...HOME}, quickWidth = 160, frames = [], meshPose = null, handles = null, dropping = false;
let openings = 0, regionAsked = 0, photoAsked = 0, stroke = null, drag = null, loaded = false;
const warned = new Set();  // about the scene that is open
let points = {}, notPoints = {}, sign = 'plus', clicks = Promise.resolve();
let strokes = 0, keeping = Promise.resolve(), keyTimer = null, drawn = null;

const call = async (name, extra = {}) => {
  const sent = {scene: at.scene, draft: at.draft, ...extra};
  let answer;
  try { answer = await server[name](sent); }
  catch (problem) { answer = {error: 'The server does not answer. Is nerf-insert app still running?'}; }
  if (sent.scene !== at.scene) return {stale: true};
  (answer.warnings || []).forEach((text) => warned.add(text));
  $('.warnings').textContent = [...warned].join(' ');
  if (answer.error) showMessage(answer.error, true);
  return answer;
};
const showMessage = (text, problem = false) => {
  $('.words').textContent = text || '';
  $('.words').classList.toggle('problem', problem);
};
const view = () => views[index];
const healing = () => at.how === 'heal';
const painting = () => mode === 'photo' && at.step === 'mark' && (at.how === 'paint' || healing()) && views.length > 0;
const clicking = () => mode === 'photo' && at.step === 'mark' && at.how === 'click' && views.length > 0;
const isPlacing = () => at.step === 'mark' && (at.how === 'mesh' || at.how === 'box');
const showsMesh = () => at.step === 'mark' && at.how === 'mesh';

// --- layout

function arrange() {
  const photo = mode === 'photo';
  live.canvas.style.display = photo || !live.ready ? 'none' : '';
  if (photo || !live.ready) frame.classList.remove('moving');
  element.querySelectorAll('[data-mode]').forEach((b) => b.setAttribute('aria-pressed', b.dataset.mode === mode));
  element.querySelectorAll('[data-tool]').forEach((b) => b.setAttribute('aria-pressed', b.dataset.tool === tool));
  element.querySelectorAll('.only-photo').forEach((e) => e.hidden = !photo);
  element.querySelectorAll('.only-live').forEach((e) => e.hidden = photo);
  element.querySelectorAll('.only-paint').forEach((e) => e.hidden = !painting());
  element.querySelectorAll('[data-sign]').forEach((b) => b.setAttribute('aria-pressed', b.dataset.sign === sign));
  element.querySelectorAll('.only-click').forEach((e) => e.hidden = !clicking());
  element.querySelectorAll('.only-place').forEach((e) => e.hidden = !isPlacing());
  element.querySelectorAll('.only-mark').forEach((e) => e.hidden = at.step !== 'mark');
  $('[data-mode=live]').disabled = !(scene && scene.trained);
  $('[data-do=drop]').setAttribute('aria-pressed', dropping);
  canvas.style.display = painting() ? '' : 'none';
  $('.overlay').style.display = photo && $('.overlay').src && at.step !== 'results' ? '' : 'none';
  $('.mesh').style.display = showsMesh() && $('.mesh').src ? '' : 'none';
  frame.classList.toggle('painting', painting());
  frame.classList.toggle('dropping', dropping);
  frame.classList.toggle('clicking', clicking());
  frame.setAttribute('aria-label', painting() ? 'Photograph ' + view().name + (healing() ? ', paint over the scratch' : ', paint over the object')
    : clicking() ? 'Photograph ' + view().name + ', click on the object'
    : photo ? 'Photograph' : '3D view, turn with the arrow keys');
  const ratio = photo && view() ? view().width / view().height : 4 / 3;
  const width = Math.min($('.room').clientWidth, Math.max(220, window.innerHeight * 0.58) * ratio);
  frame.style.width = width + 'px';
  frame.style.height = width / ratio + 'px';
  $('.empty').textContent = at.scene ? '' : 'Open a scene to begin.';
  $('.name').textContent = view() ? view().name : '';
  film.querySelectorAll('button').forEach((b, k) => {
    b.setAttribute('aria-selected', k === index && photo);
    b.tabIndex = k === index ? 0 : -1;
    b.classList.toggle('painted', masks.includes(b.dataset.name));
  });
  drawLines();
  drawBrush();
}

async function open() {
  const turn = ++openings;  // only the latest one continues
  loaded = false;
  views = []; film.innerHTML = ''; masks = []; scene = null; handles = null; meshPose = null; drawn = null; points = {}; notPoints = {};
  ['.image', '.overlay', '.mesh'].forEach((name) => $(name).removeAttribute('src'));
  pen.clearRect(0, 0, canvas.width, canvas.height);
  warned.clear();
  live.close();
  if (!at.scene) { arrange(); return; }
  showMessage('Opening …');
  const answer = await call('scene');
  if (turn !== openings) return;
  if (answer.stale || answer.error) { arrange(); return; }
  scene = answer; views = answer.views;
  index = Math.min(index, views.length - 1);
  showMessage('');
  if (!scene.trained) mode = 'photo'; else if (mode === 'live') live.refresh();
  views.forEach((v, k) => film.append(thumbnail(v, k)));
  loaded = true;
  arrange();
  trigger('chosen', {view: view().name});
  await showPhoto();
  if (turn !== openings) return;
  if (mode === 'live') renderView();
  refreshRegion();
  for (let k = 0; k < views.length; k += 12) {
    const part = await call('photographs', {names: views.slice(k, k + 12).map((v) => v.name), width: 176});
    if (turn !== openings || !part.urls) return;
    for (const [name, url] of Object.entries(part.urls)) {
      const button = [...film.children].find((b) => b.dataset.name === name);
      if (button) button.querySelector('img').src = url;
    }
  }
}

function thumbnail(v, k) {
  const button = document.createElement('button');
  button.type = 'button'; button.setAttribute('role', 'option'); button.dataset.name = v.name;
  button.title = v.name; button.setAttribute('aria-label', 'Photograph ' + v.name);
  const across = v.turn % 180 ? [v.height, v.width] : [v.width, v.height];
  button.style.aspectRatio = across[0] + ' / ' + across[1];
  button.innerHTML = '<img alt=""><img class="over" alt="">';
  if (v.turn) button.querySelectorAll('img').forEach((image) => turnUpright(image, v, across));
  button.addEventListener('click', () => { mode = 'photo'; choose(k); });
  return button;
}

function turnUpright(image, v, across) {
  Object.assign(image.style, {
    inset: 'auto', left: '50%', top: '50%', transform: `translate(-50%, -50%) rotate(${v.turn}deg)`,
    width: 100 * v.width / across[0] + '%', height: 100 * v.height / across[1] + '%',
  });
}

async function choose(k) {
  if (!views.length) return;
  if (stroke || keyTimer) { stroke = null; keep(); }
  index = (k + views.length) % views.length;
  arrange();
  const chosen = film.children[index];
  if (chosen) chosen.scrollIntoView({block: 'nearest', inline: 'nearest'});
  trigger('chosen', {view: view().name});
  await showPhoto();
}

async function showPhoto() {
  if (mode !== 'photo' || !view()) return;
  const wanted = view().name, turn = ++photoAsked, painted = strokes, other = wanted !== drawn;
  delete element.querySelector('.stage').dataset.photograph;
  if (other) {
    const wide = Math.min(CANVAS, view().width);
    canvas.width = wide; canvas.height = Math.round(wide * view().height / view().width);
    $('.overlay').removeAttribute('src'); $('.mesh').removeAttribute('src'); handles = null; lines = [];
    drawn = wanted;
  }
  const photo = await call('photographs', {names: [wanted], width: 1280});
  if (turn !== photoAsked || !photo.urls) return;
  $('.image').src = photo.urls[wanted];
  arrange();
  if (at.step === 'mark' || masks.length) {
    const kept = await call('mask', {view: wanted, heal: healing()});
    if (turn !== photoAsked || kept.error || kept.stale) return;
    masks = kept.masks; lines = kept.lines;
    if (painted === strokes) { await load(kept.png); }
    else if (other && kept.png) { await load(kept.png, true); keep(); }  // painted before the answer
    if (overlays[wanted]) $('.overlay').src = overlays[wanted];
    arrange();
    large();
  }
  element.querySelector('.stage').dataset.photograph = wanted;  // shown, with its mask
  showMesh();
}

// Draw a mask onto the canvas, or below what was painted on it meanwhile.
async function load(png, under = false) {
  const image = new Image(), sheet = new OffscreenCanvas(canvas.width, canvas.height), ink = sheet.getContext('2d');
  if (png) {
    image.src = png;
    await image.decode();
    ink.drawImage(image, 0, 0, sheet.width, sheet.height);
    const data = ink.getImageData(0, 0, sheet.width, sheet.height);
    for (let k = 0; k < data.data.length; k += 4) data.data.set(data.data[k] > 127 ? [34, 211, 238, 255] : [0, 0, 0, 0], k);
    ink.putImageData(data, 0, 0);
  }
  if (!under) pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.globalCompositeOperation = 'destination-over';
  pen.drawImage(sheet, 0, 0);
}

// --- painting

const position = (event) => {
  const box = frame.getBoundingClientRect();
  return {x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height};
};
const radius = () => canvas.width * (0.001 + 0.0016 * size);

function dab(from, to) {
  strokes++;
  pen.globalCompositeOperation = tool === 'erase' ? 'destination-out' : 'source-over';
  pen.strokeStyle = pen.fillStyle = '#22d3ee';
  pen.lineCap = pen.lineJoin = 'round';
  pen.lineWidth = 2 * radius();
  pen.beginPath();
  pen.moveTo(from.x * canvas.width, from.y * canvas.height);
  pen.lineTo(to.x * canvas.width + 0.01, to.y * canvas.height);
  pen.stroke();
}

const isEmpty = () => {
  const data = pen.getImageData(0, 0, canvas.width, canvas.height).data;
  for (let k = 3; k < data.length; k += 4) if (data[k] > 127) return false;
  return true;
};

// Strokes are sent one after the other, so that none overtakes another.
function keep() {
  clearTimeout(keyTimer); keyTimer = null;
  const sent = {scene: at.scene, draft: at.draft, view: view().name, heal: healing(), png: isEmpty() ? null : canvas.toDataURL('image/png')};
  keeping = keeping.then(async () => {
    const answer = await call('mark', sent);
    if (answer.error || answer.stale) return;
    masks = answer.masks;
    arrange();
    refreshRegion();
  });
}
const keySave = () => { clearTimeout(keyTimer); keyTimer = setTimeout(keep, 250); };

async function undo() {
  if (keyTimer) keep();
  await keeping;
  await clicks;
  await moves;
  const answer = await call('undo');
  if (answer.error || answer.stale) return;
  if (answer.view) {
    index = Math.max(0, views.findIndex((v) => v.name === answer.view));
    if (mode !== 'photo') setMode('photo');
  }
  trigger('undone', answer);  // the page then updates all fields, and this stage
}

// --- clicking

// Clicks are sent one after the other, so that their order is that of the undo steps.
function clickAt(where) {
  const sent = {view: view().name, x: where.x, y: where.y, belongs: sign === 'plus'};
  clicks = clicks.then(async () => {
    const answer = await call('click', sent);
    if (answer.error || answer.stale) return;
    points = answer.points; notPoints = answer.not_points;
    showMessage('Finding what was clicked …');
    arrange();
    refreshRegion();
  });
}

// --- the region in all photographs

let overlays = {}, lines = [];

async function refreshRegion() {
  if (!at.scene || !loaded) return;
  const turn = ++regionAsked, name = mode === 'photo' && view() ? view().name : null;
  element.querySelector('.stage').classList.add('asking');
  const answer = await call('region', {view: name, heal: healing()});
  if (turn !== regionAsked) return;
  element.querySelector('.stage').classList.remove('asking');
  if (answer.error || answer.stale) return;
  overlays = answer.overlays; masks = answer.masks;
  points = answer.points || {}; notPoints = answer.not_points || {};
  for (const button of film.children) {
    const over = button.querySelector('.over'), url = overlays[button.dataset.name];
    if (url) over.src = url; else over.removeAttribute('src');
    button.classList.toggle('seen', !!url);
  }
  if (name && view() && view().name === name) {
    if (answer.large) $('.overlay').src = answer.large; else $('.overlay').removeAttribute('src');
  }
  showMessage(answer.words, answer.problem);
  element.querySelector('.stage').dataset.region = regionAsked;
  arrange();
  if (!answer.complete) setTimeout(() => { if (turn === regionAsked) refreshRegion(); }, 1500);
}

async function large() {
  if (!Object.keys(overlays).length || !view()) return;
  const name = view().name, turn = regionAsked;
  const answer = await call('region_in', {view: name});
  if (turn === regionAsked && view() && view().name === name && answer.large) { $('.overlay').src = answer.large; arrange(); }
}

// --- the mesh and its handles

async function showMesh() {
  if (!showsMesh() || mode !== 'photo' || !view()) return;
  const name = view().name, answer = await call('mesh', {view: name, width: 640});
  if (answer.error || answer.stale || !view() || view().name !== name) return;
  takeMesh(answer);
}

function takeMesh(answer) {
  if (answer.mesh) $('.mesh').src = answer.mesh; else $('.mesh').removeAttribute('src');
  handles = answer.handles && answer.handles.at ? answer.handles : null;
  meshPose = answer.mesh_pose || meshPose;
  arrange();
}

const COLORS = ['#ef4444', '#22c55e', '#3b82f6'];

function drawLines() {
  const w = frame.clientWidth, h = frame.clientHeight;
  svg.setAttribute('viewBox', `0 0 ${w} ${h}`);
  let marks = '';
  if (painting()) for (const line of lines) {
    marks += `<polyline class="guide" points="${line.points.map((p) => p[0] * w + ',' + p[1] * h).join(' ')}"><title>The object painted on ${line.from} lies on this line</title></polyline>`;
  }
  if (clicking()) for (const [kind, all] of [['', points], [' not', notPoints]]) {
    for (const [x, y] of all[view().name] || []) marks += `<circle class="click${kind}" cx="${x * w}" cy="${y * h}" r="5"></circle>`;
  }
  if (showsMesh() && handles) {
    const [x, y] = [handles.at[0] * w, handles.at[1] * h];
    marks += `<circle class="turn" data-turn="1" cx="${x}" cy="${y}" r="${Math.max(34, w * 0.07)}"></circle>`;
    for (const axis of handles.axes) {
      const [tx, ty] = [axis.to[0] * w, axis.to[1] * h];
      marks += `<line class="axis" data-axis="${axis.axis}" stroke="${COLORS[axis.axis]}" x1="${x}" y1="${y}" x2="${tx}" y2="${ty}"></line>` +
        `<circle class="tip" data-axis="${axis.axis}" fill="${COLORS[axis.axis]}" cx="${tx}" cy="${ty}" r="7"></circle>`;
    }
  }
  svg.innerHTML = marks;
}

function drawBrush() {
  const brush = $('.brush'), shown = painting() || (dropping && isPlacing()) || (clicking() && keyed);
  brush.style.display = shown ? '' : 'none';
  if (!shown) return;
  const r = dropping || clicking() ? 6 : radius() / canvas.width * frame.clientWidth;
  brush.style.width = brush.style.height = 2 * r + 'px';
  brush.style.left = cursor.x * frame.clientWidth - r + 'px';
  brush.style.top = cursor.y * frame.clientHeight - r + 'px';
}

// Moves are sent one after the other; of those that come meanwhile only the last one is.
let moves = null, nextMove = null, drags = 0;
function move(change) {
  nextMove = change;
  moves = moves || (async () => {
    try {
      while (nextMove) {
        const sent = nextMove;
        nextMove = null;
        const answer = await call('move', sent);
        if (answer.mesh_pose) meshPose = answer.mesh_pose;
        if (mode === 'live') { flying = null; await frameNow(quickWidth); } else await showMesh();
      }
    } finally { moves = null; }
  })();
}

async function dropAt(where) {
  dropping = false;
  showMessage('Placing …');
  const answer = await call('drop', {...where, what: at.how, ...(mode === 'photo' ? {view: view().name} : {orbit})});
  arrange();
  if (answer.error || answer.stale) return;
  showMessage('');
  meshPose = answer.mesh_pose;
  trigger('placed', {});
  if (mode === 'live') renderView(); else showMesh();
  refreshRegion();
}

// --- the 3D view

let flying = null, wanted = null, restTimer = null, turn = 0;

// Until an image is decoded the one before is seen, which must not be that of another view.
async function showImage(url) {
  $('.image').src = url;
  try { await $('.image').decode(); } catch (problem) { /* another one has taken its place */ }
}

async function frameNow(width) {
  const mine = ++turn, answer = await call('render', {orbit, width, what, mesh: showsMesh(), tab: TAB, turn: mine});
  if (mine !== turn || answer.error || answer.stale || mode !== 'live') return {stale: true, last: mine === turn};
  await showImage(answer.url);
  if (mine !== turn) return {stale: true, last: false};
  frame.classList.remove('moving');
  if (showsMesh()) takeMesh(answer);
  return answer;
}

// While the view moves, splats are drawn here, if the scene consists of them. The server draws the mesh that is
// placed, and depth.
const drawsSplats = () => mode === 'live' && live.ready && !showsMesh() && what !== 'depth';
const live = new LiveSplats($('.splats'), call, () => { arrange(); if (mode === 'live') renderView(); });
const firstSharp = () => drawsSplats() ? SHARP.length : 1;  // the first sharp image shows less than splats do
function rest() { clearTimeout(restTimer); restTimer = setTimeout(() => { if (!drag) renderView(firstSharp()); }, 180); }

// Layers may have changed: the server says so within this time, or its render is seen until it does.
let lateTimer = null;
function refreshView() {
  const known = live.ready;
  live.refresh();
  clearTimeout(lateTimer);
  if (known) lateTimer = setTimeout(() => { if (!live.ready) renderView(); }, 300); else renderView();
}

function drawSplats() {
  turn++; flying = null; wanted = null;  // images that are on their way show another view
  frame.classList.add('moving');
  live.look(orbit, what === 'edited');
  const rate = live.framesPerSecond;
  $('.badge').textContent = rate ? `${rate.toFixed(0)} frames/s` : '';
  rest();
}

// Sharp images are requested when the view rests; turning it again drops them.
async function renderView(sharp = 0) {
  if (mode !== 'live' || !at.scene) return;
  if (sharp === 0 && drawsSplats()) { drawSplats(); return; }
  if (flying !== null && !(sharp === 0 && flying > 0)) { wanted = wanted === null ? sharp : Math.min(wanted, sharp); return; }
  flying = sharp; wanted = null;
  clearTimeout(restTimer);
  const began = performance.now(), answer = await frameNow(sharp === 0 ? quickWidth : SHARP[sharp - 1]);
  if (answer.stale) { if (answer.last) flying = null; return; }
  flying = null;
  const took = (performance.now() - began) / 1000;
  if (sharp === 0) {
    frames.push(took); frames = frames.slice(-8);
    const mean = frames.reduce((a, b) => a + b, 0) / frames.length;
    quickWidth = Math.round(Math.min(480, Math.max(96, quickWidth * Math.min(1.3, Math.max(0.7, Math.sqrt(QUICK / took))))));
    $('.badge').textContent = `${(1 / mean).toFixed(1)} frames/s at ${answer.width} px`;
    element.querySelector('.stage').dataset.fps = (1 / mean).toFixed(2);
    if (wanted !== null) renderView(wanted);
    else rest();
  } else {
    $('.badge').textContent = `${answer.width} × ${answer.height}`;
    element.querySelector('.stage').dataset.sharp = sharp;
    if (wanted !== null) renderView(wanted);
    else if (sharp < SHARP.length && !drag) renderView(sharp + 1);
  }
}

async function fromHere() {
  if (!view()) return;
  const answer = await call('orbit_of', {view: view().name});
  if (answer.error || answer.stale) return;
  orbit = {yaw: answer.yaw, pitch: answer.pitch, distance: answer.distance, target: null};
  renderView();
}

function setMode(next) {
  if (next === 'live' && !(scene && scene.trained)) { showMessage('Build the 3D scene first (step Open).', true); return; }
  mode = next; handles = null; photoAsked++; turn++; flying = null; wanted = null;
  $('.overlay').removeAttribute('src'); $('.mesh').removeAttribute('src');
  $('.badge').textContent = '';
  arrange();
  if (mode === 'live') { showMessage(''); refreshView(); } else showPhoto().then(refreshRegion);
}

// --- pointer

frame.addEventListener('pointerdown', (event) => {
  if (event.button > 0) return;
  const p = position(event), target = event.target;
  if (dropping && isPlacing()) { dropAt(p); return; }
  if (target.dataset && (target.dataset.axis || target.dataset.turn) && meshPose) {
    const kind = target.dataset.axis ? 'axis' : 'turn';
    drag = {kind, axis: +target.dataset.axis, from: p, handles, meshPose, id: `${TAB} ${++drags}`};
  } else if (clicking()) {
    keyed = false; cursor = p;
    clickAt(p);
  } else if (painting()) {
    stroke = p; cursor = p;
    dab(p, p);
  } else if (mode === 'live') {
    drag = {kind: 'orbit', from: p, orbit: {...orbit}};
  } else return;
  frame.setPointerCapture(event.pointerId);
  event.preventDefault();
  frame.focus({preventScroll: true});
});

frame.addEventListener('pointermove', (event) => {
  const p = position(event);
  if (painting() || dropping) { cursor = p; drawBrush(); }
  if (stroke) { dab(stroke, p); stroke = p; return; }
  if (!drag) return;
  const dx = p.x - drag.from.x, dy = p.y - drag.from.y;
  if (drag.kind === 'orbit') {
    orbit.yaw = drag.orbit.yaw - 200 * dx; orbit.pitch = Math.max(-89, Math.min(89, drag.orbit.pitch + 140 * dy));
    renderView();
  } else if (drag.kind === 'axis') {
    const axis = drag.handles.axes[drag.axis], w = frame.clientWidth, h = frame.clientHeight;
    const ax = (axis.to[0] - drag.handles.at[0]) * w, ay = (axis.to[1] - drag.handles.at[1]) * h;
    const along = (dx * w * ax + dy * h * ay) / Math.max(ax * ax + ay * ay, 25) * axis.length;
    const translate = [...drag.meshPose.translate];
    translate[drag.axis] = +(translate[drag.axis] + along).toPrecision(6);
    move({translate, drag: drag.id});
  } else if (drag.kind === 'turn') {
    const c = drag.handles.at, turn = (q) => Math.atan2(-(q.y - c[1]) * frame.clientHeight, (q.x - c[0]) * frame.clientWidth);
    const rotate = [...drag.meshPose.rotate], angle = (turn(p) - turn(drag.from)) * 180 / Math.PI;
    const turned = rotate[drag.handles.up] + (mode === 'live' && orbit.pitch < 0 ? -angle : angle);
    rotate[drag.handles.up] = +(turned - 360 * Math.round(turned / 360)).toFixed(2);  // in the sliders' range
    move({rotate, drag: drag.id});
  }
});

const lift = () => {
  if (stroke) { stroke = null; keep(); }
  if (drag) {
    const kind = drag.kind;
    drag = null;
    if (kind === 'orbit') renderView(firstSharp());
    else Promise.resolve(moves).then(() => { trigger('placed', {}); if (mode === 'live') renderView(1); refreshRegion(); });
  }
};
frame.addEventListener('pointerup', lift);
frame.addEventListener('pointercancel', lift);
frame.addEventListener('wheel', (event) => {
  if (mode !== 'live') return;
  event.preventDefault();
  orbit.distance = Math.max(0.05, Math.min(20, orbit.distance * Math.exp(event.deltaY * 0.0012)));
  renderView();
}, {passive: false});

// --- keys

frame.addEventListener('keydown', (event) => {
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  let used = true;
  if (step && (painting() || dropping || clicking())) {
    keyed = true;
    const before = {...cursor};
    cursor = {x: Math.max(0, Math.min(1, cursor.x + 0.02 * step[0])), y: Math.max(0, Math.min(1, cursor.y + 0.02 * step[1]))};
    if (event.shiftKey && painting()) { dab(before, cursor); keySave(); }
    drawBrush();
  } else if (step && mode === 'live') {
    orbit.yaw -= 6 * step[0]; orbit.pitch = Math.max(-89, Math.min(89, orbit.pitch - 5 * step[1]));
    renderView();
  } else if (event.key === ' ' && dropping) dropAt(cursor);
  else if (event.key === ' ' && clicking()) clickAt(cursor);
  else if ((event.key === '+' || event.key === '-') && clicking()) { sign = event.key === '+' ? 'plus' : 'minus'; arrange(); }
  else if (event.key === ' ' && painting()) { dab(cursor, cursor); keySave(); }
  else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'z' && at.step === 'mark') undo();
  else if (event.ctrlKey || event.metaKey || event.altKey) used = false;
  else if (event.key === 'PageUp') choose(index - 1);
  else if (event.key === 'PageDown') choose(index + 1);
  else if (event.key === '[' || event.key === ']') setSize(size + (event.key === ']' ? 5 : -5));
  else if (event.key === 'b' || event.key === 'e') { tool = event.key === 'b' ? 'paint' : 'erase'; arrange(); }
  else if (event.key === 'p' && mode === 'live') fromHere();
  else if (event.key === 'f') setMode('photo');
  else if (event.key === 'v') setMode('live');
  else if (event.key === 'd' && isPlacing()) { dropping = !dropping; arrange(); }
  else if (event.key === 'Escape' && dropping) { dropping = false; arrange(); }
  else if ((event.key === '+' || event.key === '-') && mode === 'live') {
    orbit.distance = Math.max(0.05, Math.min(20, orbit.distance * (event.key === '+' ? 0.9 : 1.11))); renderView();
  } else if (event.key === 'Home' && mode === 'live') { orbit = {...HOME}; renderView(); }
  else used = false;
  if (used) { event.preventDefault(); event.stopPropagation(); }
});

film.addEventListener('keydown', (event) => {
  const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (!step) return;
  event.preventDefault();
  mode = 'photo';
  choose(index + step).then(() => film.children[index] && film.children[index].focus());
  if (film.children[index]) film.children[index].focus();
});

// --- the bar

function setSize(next) {
  size = Math.max(1, Math.min(100, next));
  $('[data-do=size]').value = size;
  drawBrush();
}
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button || film.contains(button)) return;
  if (button.dataset.mode) setMode(button.dataset.mode);
  if (button.dataset.sign) { sign = button.dataset.sign; arrange(); }
  if (button.dataset.tool) { tool = button.dataset.tool; arrange(); }
  const action = button.dataset.do;
  if (action === 'previous') choose(index - 1);
  if (action === 'next') choose(index + 1);
  if (action === 'undo') undo();
  if (action === 'clear') { strokes++; pen.clearRect(0, 0, canvas.width, canvas.height); keep(); }
  if (action === 'drop') { dropping = !dropping; arrange(); showMessage(dropping ? 'Click on the surface where it should stand.' : ''); }
  if (action === 'here') fromHere();
  if (action === 'home') { orbit = {...HOME}; renderView(); }
});
$('[data-do=size]').addEventListener('input', (event) => setSize(+event.target.value));
$('[data-do=what]').addEventListener('change', (event) => { what = event.target.value; renderView(); });
new ResizeObserver(arrange).observe($('.room'));

// --- from the server

function update() {
  const next = props.value || {};
  if (next.scene !== at.scene) index = 0;
  const trained = scene && 'trained' in next && next.trained !== scene.trained;
  const other = next.scene !== at.scene || next.draft !== at.draft || trained;
  const turned = next.step !== at.step || next.how !== at.how, newer = next.stamp !== at.stamp;
  if (keyTimer && painting()) keep();  // as what it was painted, and in its scene
  at = {...at, ...next};
  if (at.draft) element.querySelector('.stage').dataset.ready = '1';
  if (at.scene) history.replaceState(null, '', '?scene=' + encodeURIComponent(at.scene) + '&step=' + encodeURIComponent(at.step));
  if (at.how !== 'mesh' && at.how !== 'box') dropping = false;
  if (other) { open(); return; }
  if (turned) { arrange(); if (mode === 'photo') showPhoto(); else renderView(); }
  if (newer) { if (mode !== 'photo') refreshView(); else if (painting()) showPhoto(); else showMesh(); refreshRegion(); }
}
watch('value', update);
arrange();
if (props.value && props.value.scene) update();
