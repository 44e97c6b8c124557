// Draws Gaussian splats with WebGL 2, as the rasterizer of nerf_insert.kernels does: projected with a blur of
// 0.3 square pixels, composited in the order of their depth, opacities from 1/255 to 0.999.
//
//     const splats = await SplatView.read(about, stream);   // as written by nerf_insert/export/web_splats.py
//     const view = new SplatView(canvas, about, splats, say);
//     view.look({eye, right, down, forward, focal: [fx, fy], middle: [cx, cy]});
//
// World coordinates are right-handed, with any direction up; a camera's axes are right, down and forward, its
// focal lengths and middle are in pixels of the device, of which the canvas gets as many as it takes up there.
// Nothing is drawn unless something has changed. `canvas.dataset.state` is "drawn" once what is seen is sorted for the camera.

const SplatView = (() => {
  const NEAR = 0.01;       // z below which splats are left out, world units
  const WIDTH = 2048;      // texels of a row: what every device can have
  const WORDS = 8;         // 32-bit words of a splat, without its harmonics
  const NO_WEBGL = 'Gaussian splats are drawn with WebGL 2, which this browser lacks or has switched off. Turn on ' +
    'hardware acceleration in its settings, or use a current Chrome, Edge, Firefox or Safari.';

  const VERTEX = `#version 300 es
    precision highp float; precision highp int; precision highp usampler2D;
    uniform usampler2D splats, harmonics, order;
    uniform int texels;                 // of a splat's harmonics: 0, 1, 2 or 4 for the degrees 0 to 3
    uniform vec3 bands;                 // the largest coefficient of each degree from 1
    uniform vec3 eye, right, down, forward;
    uniform vec2 focal, middle, size;   // pixels
    out vec2 place;                     // in standard deviations from the center
    flat out vec4 color;

    uvec4 texel(usampler2D from, uint k) { return texelFetch(from, ivec2(k % ${WIDTH}u, k / ${WIDTH}u), 0); }

    vec3 coefficient(uint word) {
      vec3 v = vec3(int(word << 24) >> 24, int(word << 16) >> 24, int(word << 8) >> 24);
      return v * abs(v) / 16129.0;
    }

    mat3 rotation(uint word) {
      vec3 three = (vec3(word & 1023u, (word >> 10) & 1023u, (word >> 20) & 1023u) - 511.0) / (511.0 * sqrt(2.0));
      float most = sqrt(max(0.0, 1.0 - dot(three, three)));
      uint which = word >> 30;
      vec4 q = which == 0u ? vec4(most, three) : which == 1u ? vec4(three.x, most, three.yz)
        : which == 2u ? vec4(three.xy, most, three.z) : vec4(three, most);
      float w = q.x, x = q.y, y = q.z, z = q.w;
      return mat3(
        1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
        2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
        2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));
    }

    vec3 directional(uint number, vec3 d) {
      if (texels == 0) return vec3(0);
      float x = d.x, y = d.y, z = d.z, xx = x * x, yy = y * y, zz = z * z;
      uint first = number * uint(texels);
      uvec4 t = texel(harmonics, first);
      vec3 sum = 0.48860251 * bands.x * (z * coefficient(t.y) - y * coefficient(t.x) - x * coefficient(t.z));
      if (texels == 1) return sum;
      uvec4 u = texel(harmonics, first + 1u);
      sum += 1.09254843 * bands.y * (x * y * coefficient(t.w) - y * z * coefficient(u.x)
        + 0.28867513 * (3.0 * zz - 1.0) * coefficient(u.y) - x * z * coefficient(u.z)
        + 0.5 * (xx - yy) * coefficient(u.w));
      if (texels == 2) return sum;
      uvec4 v = texel(harmonics, first + 2u), w = texel(harmonics, first + 3u);
      sum += bands.z * (0.59004359 * (y * (yy - 3.0 * xx) * coefficient(v.x) - x * (xx - 3.0 * yy) * coefficient(w.z))
        + 2.89061144 * z * (x * y * coefficient(v.y) + 0.5 * (xx - yy) * coefficient(w.y))
        - 0.45704579 * (5.0 * zz - 1.0) * (y * coefficient(v.z) + x * coefficient(w.x))
        + 0.37317633 * z * (5.0 * zz - 3.0) * coefficient(v.w));
      return sum;
    }

    void main() {
      gl_Position = vec4(2, 2, 2, 1);  // outside: not drawn
      uint number = texelFetch(order, ivec2(gl_VertexID >> 2, gl_InstanceID), 0).x;
      if (number == 0xffffffffu) return;
      uvec4 a = texel(splats, 2u * number), b = texel(splats, 2u * number + 1u);
      vec3 ray = uintBitsToFloat(a.xyz) - eye;
      vec3 p = vec3(dot(ray, right), dot(ray, down), dot(ray, forward));
      if (p.z <= ${NEAR}) return;
      vec3 scales = exp(vec3(int(b.x << 16) >> 16, int(b.x) >> 16, int(b.y << 16) >> 16) / 64.0);
      float opacity = float((b.y >> 16) & 255u) / 255.0;
      mat3 axes = rotation(b.z);
      vec3 s0 = axes[0] * scales.x, s1 = axes[1] * scales.y, s2 = axes[2] * scales.z;

      // the derivative of the projection at the center, kept within the image and a margin around it
      vec2 before = (middle + 0.15 * size) / focal, behind = (size - middle + 0.15 * size) / focal;
      vec2 t = clamp(p.xy / p.z, -before, behind);
      vec3 across = focal.x / p.z * (right - t.x * forward), along = focal.y / p.z * (down - t.y * forward);
      vec3 h = vec3(dot(across, s0), dot(across, s1), dot(across, s2));
      vec3 v = vec3(dot(along, s0), dot(along, s1), dot(along, s2));
      float xx = dot(h, h), xy = dot(h, v), yy = dot(v, v);
      float sharp = xx * yy - xy * xy;
      xx += 0.3; yy += 0.3;
      if ((a.w >> 30 & 1u) == 1u) opacity *= sqrt(max(sharp, 0.0) / max(xx * yy - xy * xy, 1e-10));
      float reach = sqrt(2.0 * log(max(255.0 * opacity, 1.0)));
      if (reach == 0.0) return;

      float mean = 0.5 * (xx + yy), half_difference = 0.5 * (xx - yy);
      float root = length(vec2(half_difference, xy));
      float angle = root > 0.0 ? 0.5 * atan(xy, half_difference) : 0.0;
      vec2 major = vec2(cos(angle), sin(angle));
      vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1 & 1) * 2.0 - 1.0;
      place = corner * reach;
      vec2 pixel = focal * p.xy / p.z + middle + place.x * sqrt(mean + root) * major
        + place.y * sqrt(max(mean - root, 0.3)) * vec2(-major.y, major.x);
      gl_Position = vec4(2.0 * pixel.x / size.x - 1.0, 1.0 - 2.0 * pixel.y / size.y, 0, 1);
      vec3 base = vec3(a.w & 1023u, (a.w >> 10) & 1023u, (a.w >> 20) & 1023u) * (3.0 / 1023.0) - 1.0;
      color = vec4(max(base + directional(number, normalize(ray)), 0.0), opacity);
    }`;

  const FRAGMENT = `#version 300 es
    precision highp float;
    in vec2 place;
    flat in vec4 color;
    out vec4 shown;
    void main() {
      float alpha = color.a * exp(-0.5 * dot(place, place));
      if (alpha < 1.0 / 255.0) discard;
      alpha = min(alpha, 0.999);
      shown = vec4(color.rgb * alpha, alpha);
    }`;

  // Runs in a worker. Sorts the splats in front of the camera from far to near, by 16 bits of their depth's
  // logarithm: the bits of a positive float are about that, so far ones do not take the steps of near ones.
  function sorter() {
    let points, switches, keys, depths;
    const counts = new Uint32Array(65536);
    onmessage = ({data}) => {
      if (data.points) {
        ({points, switches} = data);
        depths = new Float32Array(switches.length); keys = new Uint32Array(depths.buffer);
        return;
      }
      const {eye, forward: [x, y, z], on, near, row, turn} = data, count = switches.length;
      const offset = eye[0] * x + eye[1] * y + eye[2] * z;
      let low = 0xffffffff, high = 0, shown = 0;
      for (let k = 0; k < count; k++) {
        const depth = points[3 * k] * x + points[3 * k + 1] * y + points[3 * k + 2] * z - offset, s = switches[k];
        const needed = s & 0xffff, hiding = s >>> 16;
        if (depth > near && (on & needed) === needed && !(on & hiding)) {
          depths[k] = depth;
          if (keys[k] < low) low = keys[k];
          if (keys[k] > high) high = keys[k];
          shown++;
        } else depths[k] = 0;
      }
      const scale = 65535 / Math.max(1, high - low);
      counts.fill(0);
      for (let k = 0; k < count; k++) if (keys[k]) { keys[k] = 1 + (((high - keys[k]) * scale) & 0xffff); counts[keys[k] - 1]++; }
      let before = 0;
      for (let k = 0; k < 65536; k++) { const here = counts[k]; counts[k] = before; before += here; }
      const order = new Uint32Array(Math.ceil(shown / row) * row).fill(0xffffffff);  // whole rows, the rest of none
      for (let k = 0; k < count; k++) if (keys[k]) order[counts[keys[k] - 1]++] = k;
      postMessage({order, turn}, [order.buffer]);
    };
  }

  // The file holds first all splats' first bytes, then their second ones, and so on, deflated.
  async function read(about, stream) {
    const {count, texels} = about, sizes = [4 * WORDS, 16 * texels];
    const padded = (bytes) => Math.ceil(count * bytes / (16 * WIDTH)) * 16 * WIDTH;  // whole rows of texels
    const parts = sizes.map((size) => new Uint8Array(padded(size)));
    const reader = stream.pipeThrough(new DecompressionStream('deflate')).getReader();
    let at = 0;
    for (;;) {
      const {done, value} = await reader.read();
      if (done) break;
      for (let k = 0; k < value.length;) {
        const plane = Math.floor(at / count), start = at % count, which = plane < sizes[0] ? 0 : 1;
        const size = sizes[which], part = parts[which], end = Math.min(value.length, k + count - start);
        if (plane >= sizes[0] + sizes[1]) throw new Error('The splats are damaged.');
        let to = start * size + plane - (which ? sizes[0] : 0);
        at += end - k;
        for (; k < end; k++, to += size) part[to] = value[k];
      }
    }
    if (at !== count * (sizes[0] + sizes[1])) throw new Error('The splats are not complete.');
    return parts.map((part) => new Uint32Array(part.buffer));
  }

  const supported = () => {
    const found = document.createElement('canvas').getContext('webgl2');
    if (found) found.getExtension('WEBGL_lose_context')?.loseContext();
    return !!found;
  };

  class View {
    static read = read;
    static supported = supported;
    static NO_WEBGL = NO_WEBGL;

    // `say` is told, in a sentence, what a person has to know; an empty text takes it back.
    constructor(canvas, about, [splats, harmonics], say) {
      Object.assign(this, {canvas, about, splats, harmonics, say, on: 0xffff, camera: null, order: null, turn: 0, sorted: 0});
      this.gl = canvas.getContext('webgl2', {alpha: false, antialias: false, depth: false, powerPreference: 'high-performance'});
      if (!this.gl) throw new Error(NO_WEBGL);
      const most = this.gl.getParameter(this.gl.MAX_TEXTURE_SIZE) * 4 * WIDTH;
      if (splats.length > most || harmonics.length > most) {
        throw new Error(`These ${about.count.toLocaleString('en')} splats are more than the graphics of this device can hold.`);
      }
      this.start();
      this.lost = (event) => {
        event.preventDefault();
        this.canvas.dataset.state = 'lost';
        say('The browser has taken the graphics away; the view comes back when it returns them.');
      };
      this.restored = () => { say(''); this.start(); this.draw(); };
      canvas.addEventListener('webglcontextlost', this.lost);
      canvas.addEventListener('webglcontextrestored', this.restored);
      const address = URL.createObjectURL(new Blob([`(${sorter})()`], {type: 'text/javascript'}));
      this.worker = new Worker(address);
      URL.revokeObjectURL(address);
      this.worker.onmessage = ({data}) => this.take(data);
      const floats = new Float32Array(splats.buffer), points = new Float32Array(3 * about.count), switches = new Uint32Array(about.count);
      for (let k = 0; k < about.count; k++) {
        for (let axis = 0; axis < 3; axis++) points[3 * k + axis] = floats[WORDS * k + axis];
        switches[k] = splats[WORDS * k + 7];
      }
      this.worker.postMessage({points, switches}, [points.buffer, switches.buffer]);
    }

    start() {
      const {gl} = this, program = gl.createProgram();
      for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
        const shader = gl.createShader(kind);
        gl.shaderSource(shader, text);
        gl.compileShader(shader);
        gl.attachShader(program, shader);
      }
      gl.linkProgram(program);
      if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
        const logs = gl.getAttachedShaders(program).map((shader) => gl.getShaderInfoLog(shader));
        throw new Error(`The graphics driver refuses to draw splats: ${[...logs, gl.getProgramInfoLog(program)].join(' ')}`);
      }
      gl.useProgram(program);
      this.at = (name) => gl.getUniformLocation(program, name);
      gl.pixelStorei(gl.UNPACK_ALIGNMENT, 4);
      [['splats', this.splats], ['harmonics', this.harmonics], ['order', null]].forEach(([name, words], unit) => {
        gl.activeTexture(gl.TEXTURE0 + unit);
        gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
        for (const key of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, key, gl.NEAREST);
        if (words) {
          const filled = words.length ? words : new Uint32Array(4 * WIDTH);
          gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32UI, WIDTH, filled.length / (4 * WIDTH), 0, gl.RGBA_INTEGER, gl.UNSIGNED_INT, filled);
        } else gl.texStorage2D(gl.TEXTURE_2D, 1, gl.R32UI, WIDTH, Math.ceil(this.about.count / WIDTH));  // stays active
        gl.uniform1i(this.at(name), unit);
      });
      gl.uniform1i(this.at('texels'), this.about.texels);
      gl.uniform3fv(this.at('bands'), this.about.bands);
      // Each instance draws the splats of one row of the order; software renderers are slow at many instances.
      const corners = Uint16Array.from({length: 6 * WIDTH}, (_, k) => 4 * Math.floor(k / 6) + [0, 1, 2, 2, 1, 3][k % 6]);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, corners, gl.STATIC_DRAW);
      // Half floats hold colors above 1, which splats in front may dim, and round less than 8 bits.
      this.target = gl.getExtension('EXT_color_buffer_float') || gl.getExtension('EXT_color_buffer_half_float') ? gl.createFramebuffer() : null;
      this.targetSize = [0, 0];
      this.upload();
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    }

    upload() {
      const {gl, order} = this;
      if (order && order.length) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, WIDTH, order.length / WIDTH, gl.RED_INTEGER, gl.UNSIGNED_INT, order);
    }

    // Make the image that is drawn into, before it is copied to the canvas.
    resize(width, height) {
      const {gl} = this;
      gl.deleteRenderbuffer(this.image);
      this.image = gl.createRenderbuffer();
      gl.bindRenderbuffer(gl.RENDERBUFFER, this.image);
      gl.renderbufferStorage(gl.RENDERBUFFER, gl.RGBA16F, width, height);
      gl.framebufferRenderbuffer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.RENDERBUFFER, this.image);
      this.targetSize = [width, height];
      if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) this.target = null;
    }

    // Look from a camera. The splats' coordinates are relative to a center, to which the eye is moved.
    look(camera) {
      const [width, height] = OrbitCamera.pixels(this.canvas);
      if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, {width, height});
      this.camera = {...camera, eye: camera.eye.map((v, k) => v - this.about.center[k])};
      this.sort();
      this.draw();
    }

    // Switch layers: bit k of `on` says whether layer k is shown.
    show(on) {
      if (on === this.on) return;
      this.on = on;
      if (this.camera) this.sort();
    }

    sort() {
      this.turn++;
      this.canvas.dataset.state = 'sorting';
      if (this.sorting) return;  // once that is done, what is latest then is sorted
      this.sorting = true;
      this.worker.postMessage({eye: this.camera.eye, forward: this.camera.forward, on: this.on, near: NEAR, row: WIDTH, turn: this.turn});
    }

    take({order, turn}) {
      this.sorting = false;
      this.order = order;
      this.sorted = turn;
      if (!this.gl.isContextLost()) this.upload();
      if (turn !== this.turn) { this.turn--; this.sort(); }
      this.draw();
    }

    draw() {
      if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = null; this.drawNow(); });
    }

    drawNow() {
      const {gl, camera, order, canvas} = this;
      if (!camera || !order || gl.isContextLost()) return;
      const {width, height} = canvas;
      gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
      if (this.target && (this.targetSize[0] !== width || this.targetSize[1] !== height)) this.resize(width, height);
      if (!this.target) gl.bindFramebuffer(gl.FRAMEBUFFER, null);
      gl.viewport(0, 0, width, height);
      gl.clearColor(...this.about.background, 1);
      gl.clear(gl.COLOR_BUFFER_BIT);
      for (const name of ['eye', 'right', 'down', 'forward']) gl.uniform3fv(this.at(name), camera[name]);
      for (const name of ['focal', 'middle']) gl.uniform2fv(this.at(name), camera[name]);
      gl.uniform2f(this.at('size'), width, height);
      gl.drawElementsInstanced(gl.TRIANGLES, 6 * WIDTH, gl.UNSIGNED_SHORT, 0, order.length / WIDTH);
      if (this.target) {
        gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, null);
        gl.blitFramebuffer(0, 0, width, height, 0, 0, width, height, gl.COLOR_BUFFER_BIT, gl.NEAREST);
      }
      if (this.sorted === this.turn) canvas.dataset.state = 'drawn';
      if (this.drawn) this.drawn();
    }

    end() {
      this.worker.terminate();
      cancelAnimationFrame(this.frame);
      this.canvas.removeEventListener('webglcontextlost', this.lost);
      this.canvas.removeEventListener('webglcontextrestored', this.restored);
      this.gl.getExtension('WEBGL_lose_context')?.loseContext();
    }
  }
  return View;
})();
