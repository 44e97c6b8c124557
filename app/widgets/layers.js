// The scene's layers, topmost first: switch, rename, reorder, delete, undo.
// props.value = {scene, stamp}

const list = element.querySelector('.list'), words = element.querySelector('.words');
let at = {}, shown = [];
const escape = (text) => String(text ?? '').replace(/[&<>"]/g, (c) => ({'&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;'}[c]));

async function ask(name, extra = {}) {
  let answer;
  try { answer = await server[name]({scene: at.scene, ...extra}); }
  catch (problem) { answer = {error: 'The server does not answer. Is nerf-insert app still running?'}; }
  words.textContent = answer.error || '';
  return answer;
}

function show(answer) {
  if (!answer || answer.error) return;
  shown = answer.layers;
  element.querySelector('[data-do=undo]').disabled = !answer.can_undo;
  list.innerHTML = shown.length ? '' : '<li class="nothing">No layers yet. The scene is as it was captured.</li>';
  [...shown].reverse().forEach((layer) => {
    const item = document.createElement('li');
    item.value = layer.number;
    item.dataset.number = layer.number;
    item.className = layer.enabled ? '' : 'off';
    item.innerHTML = `<label class="switch" title="Show this layer"><input type="checkbox" data-do="enable" ${layer.enabled ? 'checked' : ''} aria-label="Show ${escape(layer.name)}"></label>
      <input class="name" data-do="rename" value="${escape(layer.name)}" aria-label="Name of layer ${layer.number}" maxlength="60">
      <span class="about">${escape(layer.about)}${layer.strength == null ? '' : ` <input class="fade" type="range" min="0" max="2" step="0.05" value="${+layer.strength}" data-do="fade" aria-label="Strength of ${escape(layer.name)}" title="Strength: ${+layer.strength}">`}</span>
      <span class="buttons"><button type="button" data-do="up" aria-label="Move ${escape(layer.name)} up" ${layer.number === shown.length ? 'disabled' : ''}>&#9650;</button>
      <button type="button" data-do="down" aria-label="Move ${escape(layer.name)} down" ${layer.number === 1 ? 'disabled' : ''}>&#9660;</button>
      <button type="button" data-do="remove" aria-label="Delete ${escape(layer.name)}">Delete</button></span>`;
    list.append(item);
  });
  element.dataset.count = shown.length;
}

async function act(action, number, extra = {}) {
  const answer = await ask('layer_action', {action, number, ...extra});
  if (answer.error) { await ask('layers').then(show); words.textContent = answer.error; return; }
  show(answer);
  trigger('changed', {});
}

element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-do]');
  if (!button || button.disabled) return;
  const item = button.closest('li'), number = item ? +item.dataset.number : 0, what = button.dataset.do;
  if (what === 'undo') act('undo', 0);
  if (what === 'remove') act('remove', number);
  if (what === 'up') act('move', number, {to: number + 1});
  if (what === 'down') act('move', number, {to: number - 1});
});
element.addEventListener('change', (event) => {
  const item = event.target.closest('li');
  if (!item) return;
  if (event.target.dataset.do === 'enable') act(event.target.checked ? 'enable' : 'disable', +item.dataset.number);
  if (event.target.dataset.do === 'fade') act('fade', +item.dataset.number, {strength: +event.target.value});
  if (event.target.dataset.do === 'rename') act('rename', +item.dataset.number, {name: event.target.value});
});

async function update() {
  at = props.value || {};
  if (at.scene) show(await ask('layers')); else list.innerHTML = '';
}
watch('value', update);
update();
