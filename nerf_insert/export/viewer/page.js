// The page of one scene: reads the splats that it holds, and draws them.

(async () => {
  const canvas = document.querySelector('canvas'), words = document.querySelector('#words');
  const say = (text) => {
    words.textContent = '';
    if (text) words.append(Object.assign(document.createElement('p'), {textContent: text}));
  };
  const parts = [...document.querySelectorAll('script.splats')];
  const data = new ReadableStream({pull(controller) {
    const part = parts.shift();
    if (!part) { controller.close(); return; }
    const text = atob(part.textContent), bytes = new Uint8Array(text.length);
    for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
    part.remove();
    controller.enqueue(bytes);
  }});
  try {
    if (!SplatView.supported()) throw new Error(SplatView.NO_WEBGL);
    if (!window.DecompressionStream) throw new Error('This browser is too old to unpack the splats. Use a current Chrome, Edge, Firefox or Safari.');
    const {splats: about, start} = JSON.parse(document.querySelector('#description').textContent);
    const view = new SplatView(canvas, about, await SplatView.read(about, data), say);
    const look = () => {
      view.look(controls.camera());
    };
    let wanted = null;  // one look for all moves before the next frame
    const controls = new OrbitControls(canvas, start, () => {
      wanted = wanted || requestAnimationFrame(() => { wanted = null; look(); });
    });
    new ResizeObserver(() => look()).observe(canvas);
    window.addEventListener('resize', look);  // also when the page is moved to a screen with other pixels
    document.querySelector('#about').textContent = `${about.count.toLocaleString('en')} splats`;
    say('');
  } catch (problem) {
    canvas.dataset.state = 'failed';
    say(problem.message);
  }
})();
