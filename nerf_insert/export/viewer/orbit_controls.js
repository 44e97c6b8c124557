// Turns, moves and zooms a camera around a point by mouse, touch and keys. `up` may be any direction.

class OrbitControls {
  // `start` has eye, target, up, and the `focal` length, `width` and `height` of the image that is to be seen
  // at first; `changed` is called after every move.
  constructor(element, start, changed) {
    Object.assign(this, {element, start, changed, pointers: new Map()});
    this.axes = OrbitCamera.axes(start.up);
    this.reset();
    const on = (name, act, options) => element.addEventListener(name, act, options);
    on('pointerdown', (event) => {
      element.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, event);
    });
    on('pointermove', (event) => this.drag(event));
    for (const name of ['pointerup', 'pointercancel']) on(name, (event) => this.pointers.delete(event.pointerId));
    on('contextmenu', (event) => event.preventDefault());
    on('wheel', (event) => {
      event.preventDefault();
      this.zoom(Math.exp(event.deltaY * (event.deltaMode ? 16 : 1) * (event.ctrlKey ? 0.01 : 0.0012)));
    }, {passive: false});
    window.addEventListener('keydown', (event) => this.press(event));
  }

  reset() {
    const away = OrbitCamera.add(this.start.eye, this.start.target, -1), distance = Math.hypot(...away);
    const [side, ahead, up] = this.axes.map((axis) => OrbitCamera.dot(away, axis));
    this.target = [...this.start.target];
    this.yaw = Math.atan2(ahead, side);
    this.pitch = Math.asin(Math.max(-1, Math.min(1, up / distance)));
    this.distance = this.first = distance;
    this.turn(0, 0);
  }

  turn(yaw, pitch) {
    const most = 89 * Math.PI / 180;
    this.yaw += yaw;
    this.pitch = Math.max(-most, Math.min(most, this.pitch + pitch));
    this.changed();
  }

  zoom(factor) {
    this.distance = Math.max(this.first * 1e-3, Math.min(this.first * 1e3, this.distance * factor));
    this.changed();
  }

  // Move what is seen by pixels of the page.
  move(dx, dy) {
    const {right, down, focal} = this.camera(), away = this.distance * (window.devicePixelRatio || 1);
    this.target = OrbitCamera.add(OrbitCamera.add(this.target, right, -dx * away / focal[0]), down, -dy * away / focal[1]);
    this.changed();
  }

  drag(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const [dx, dy] = [event.clientX - last.clientX, event.clientY - last.clientY];
    if (this.pointers.size === 1) {
      if (event.buttons & 6 || event.shiftKey) this.move(dx, dy);
      else this.turn(-dx * 0.006, dy * 0.006);
    } else {
      const other = [...this.pointers].find(([key]) => key !== event.pointerId)[1];
      const apart = (one) => Math.max(10, Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY));
      this.move(dx / 2, dy / 2);
      this.zoom(apart(last) / apart(event));
    }
    this.pointers.set(event.pointerId, event);
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    if (step && event.shiftKey) this.move(-30 * step[0], -30 * step[1]);
    else if (step) this.turn(-step[0] * Math.PI / 30, -step[1] * Math.PI / 36);
    else if (event.key === '+' || event.key === '=') this.zoom(0.9);
    else if (event.key === '-') this.zoom(1 / 0.9);
    else if (event.key === 'Home') this.reset();
    else return;
    event.preventDefault();
  }

  // The camera, for an image as large as the element in pixels of the device, which shows all that was to be
  // seen at first.
  camera() {
    const {width, height, focal} = this.start, size = OrbitCamera.pixels(this.element);
    const fit = Math.min(size[0] / width, size[1] / height);
    return OrbitCamera.camera(this.axes, this.target, this.yaw, this.pitch, this.distance, focal.map((v) => v * fit), size);
  }
}
