// A camera on an orbit around a point, in a right-handed world in which any direction may be up.

const OrbitCamera = (() => {
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const add = (a, b, factor = 1) => a.map((v, k) => v + factor * b[k]);
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const unit = (a) => a.map((v) => v / (Math.hypot(...a) || 1));

  // Three axes: the first two lie level, the third is up.
  function axes(up) {
    const top = unit(up), least = top.map(Math.abs).indexOf(Math.min(...top.map(Math.abs)));
    const axis = [0, 1, 2].map((k) => +(k === least)), side = unit(add(axis, top, -dot(axis, top)));
    return [side, cross(top, side), top];
  }

  // Yaw turns about up, pitch lifts above the level; both are radians.
  function camera([side, ahead, up], target, yaw, pitch, distance, focal, size) {
    const level = add(side.map((v) => v * Math.cos(yaw)), ahead, Math.sin(yaw));
    const away = add(level.map((v) => v * Math.cos(pitch)), up, Math.sin(pitch));
    const forward = away.map((v) => -v), right = unit(cross(forward, up));
    return {
      eye: add(target, away, distance), right, down: cross(forward, right), forward,
      focal, middle: size.map((v) => v / 2),
    };
  }

  // The pixels of the device that an element takes up.
  const pixels = (element) =>
    [element.clientWidth, element.clientHeight].map((v) => Math.max(1, Math.round(v * (window.devicePixelRatio || 1))));

  return {dot, add, axes, camera, pixels};
})();
