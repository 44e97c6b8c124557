// The splats of the scene in the 3D view, drawn here while it is moved. Without WebGL 2, or for scenes that do not
// consist of splats, it is never ready, and the server's renders are all there is.

class LiveSplats {
  // `ask` calls the server; `changed` is called when there is something else to be seen.
  constructor(canvas, ask, changed) {
    Object.assign(this, {canvas, ask, changed, key: null, on: 0, view: null, fresh: false, asked: 0, times: []});
    this.able = SplatView.supported() && 'DecompressionStream' in window;
  }

  // Not while the server is asked: layers may have changed.
  get ready() { return this.view !== null && this.fresh && this.canvas.dataset.state !== 'lost'; }

  close() {
    this.asked++;
    if (this.view) { this.view.end(); this.renew(); }
    this.view = this.key = null;
  }

  // A canvas whose view has ended has no graphics any more: another one takes its place.
  renew() {
    const next = this.canvas.cloneNode();
    delete next.dataset.state;
    this.canvas.replaceWith(next);
    this.canvas = next;
  }

  // Ask which splats the scene consists of and which layers are shown now; fetch those that are not here yet.
  async refresh() {
    if (!this.able) return;
    this.fresh = false;
    const mine = ++this.asked, answer = await this.ask('splats', {have: this.key});
    if (mine !== this.asked || answer.stale || answer.error) return;
    if (answer.key === null) { const had = this.view; this.close(); if (had) this.changed(); return; }
    if (answer.key !== this.key) {
      let number = 0;
      const parts = new ReadableStream({pull: async (controller) => {
        if (number === answer.parts || mine !== this.asked) { controller.close(); return; }
        const part = await this.ask('splats_part', {key: answer.key, number: number++});
        if (!part.data) { controller.error(new Error('other splats')); return; }
        const text = atob(part.data), bytes = new Uint8Array(text.length);
        for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
        controller.enqueue(bytes);
      }});
      try {
        const splats = await SplatView.read(answer.about, parts);
        if (mine !== this.asked) return;
        if (this.view) { this.view.end(); this.renew(); }
        this.view = new SplatView(this.canvas, answer.about, splats, () => this.changed());
        this.view.drawn = () => this.measure();
      } catch (problem) {  // the server's renders are still there
        console.warn(problem);
        if (mine === this.asked) this.close();
        return;
      }
      this.orbit = {...answer.orbit, axes: OrbitCamera.axes(answer.orbit.up)};
      this.key = answer.key;
    }
    this.on = answer.on;
    this.fresh = true;
    this.changed();
  }

  // Draw what an orbit of the 3D view shows, with its layers or without.
  look(orbit, layers) {
    const {axes, target, radius, fov} = this.orbit, size = OrbitCamera.pixels(this.canvas), degree = Math.PI / 180;
    const focal = size[1] / 2 / Math.tan(fov * degree / 2);
    this.view.show(layers ? this.on : 0);
    this.view.look(OrbitCamera.camera(axes, orbit.target || target, orbit.yaw * degree, orbit.pitch * degree,
      orbit.distance * radius, [focal, focal], size));
  }

  measure() {
    const now = performance.now();
    this.times = this.times.filter((time) => now - time < 1000);
    this.times.push(now);
  }

  get framesPerSecond() {
    const {times} = this;
    return times.length > 1 ? (times.length - 1) / (times[times.length - 1] - times[0]) * 1000 : 0;
  }
}
