// Points in a plane: WebGL for the points, a canvas above it for names, marks and the lasso.

const CELLS = 256; // of the grid that finds points, along each side
const NAMED = 140; // points in view that get their names
const NEAR = 14; // CSS pixels within which a point is meant

const VERTEX = `
attribute vec2 place; attribute float chosen;
uniform vec2 center; uniform vec2 scale; uniform mediump float size;
varying float isChosen;
void main() {
  isChosen = chosen;
  gl_Position = vec4((place - center) * scale, 0.0, 1.0);
  gl_PointSize = size * (1.0 + 0.5 * chosen);
}`;
const FRAGMENT = `
precision mediump float;
uniform vec4 color; uniform vec4 chosenColor; uniform mediump float size;
varying float isChosen;
void main() {
  float far = length(gl_PointCoord - 0.5) * 2.0;
  float edge = 1.4 / max(size, 1.4);
  vec4 own = mix(color, chosenColor, isChosen);
  gl_FragColor = vec4(own.rgb, 1.0) * own.a * (1.0 - smoothstep(1.0 - edge, 1.0, far));
}`;

export class Plane {
  /**
   * names(indices) -> the names of points, or a promise of them;
   * chosen(indices): called with what the lasso holds.
   */
  constructor(host, { names, chosen }) {
    this.host = host;
    this.names = names;
    this.onChosen = chosen;
    this.known = new Map();
    this.places = new Float32Array(0);
    this.marks = [];
    this.query = null;
    this.chosen = [];
    this.pointers = new Map();
    this.lasso = null;
    this.lassoing = false;
    this.points = host.appendChild(document.createElement("canvas"));
    this.above = host.appendChild(document.createElement("canvas"));
    this.pen = this.above.getContext("2d");
    this.gl = this.points.getContext("webgl", { antialias: false, alpha: true });
    if (this.gl) this.build();
    this.listen();
    new ResizeObserver(() => this.resize()).observe(host);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  get works() {
    return this.gl !== null;
  }

  /** Float32Array of x, y, x, y, ... */
  set(places) {
    this.places = places;
    const { gl } = this;
    this.bind("place", places, 2, gl.STATIC_DRAW);
    this.bind("chosen", new Float32Array(places.length / 2), 1, gl.DYNAMIC_DRAW);
    this.index();
    this.home();
  }

  get count() {
    return this.places.length / 2;
  }

  /** Named places that are no points: [{place, name}]. */
  mark(marks) {
    this.marks = marks;
    this.draw();
  }

  /** Where an image is, and the points it is nearest to; null for none. */
  show(query) {
    this.query = query;
    if (query) {
      const all = [query.place, ...query.near.map((i) => this.place(i)), ...query.others];
      const inside = all.every((place) => {
        const [x, y] = this.toScreen(place);
        return x > 24 && y > 24 && x < this.width - 24 && y < this.height - 24;
      });
      if (!inside) this.home();
    }
    this.draw();
  }

  choose(indices) {
    indices.sort((a, b) => a - b);
    const chosen = new Float32Array(this.count);
    for (const i of indices) chosen[i] = 1;
    this.bind("chosen", chosen, 1, this.gl.DYNAMIC_DRAW);
    this.chosen = indices;
    this.draw();
    this.onChosen(indices);
  }

  place(i) {
    return [this.places[2 * i], this.places[2 * i + 1]];
  }

  // ------------------------------------------------------------------ WebGL

  build() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost())
      throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.program = program;
    this.buffers = {};
    this.uniform = (name) => gl.getUniformLocation(program, name);
    this.points.addEventListener("webglcontextlost", (event) => event.preventDefault());
    this.points.addEventListener("webglcontextrestored", () => {
      this.build();
      if (this.count) this.set(this.places);
    });
  }

  bind(name, values, width, use) {
    const { gl } = this;
    const where = gl.getAttribLocation(this.program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, (this.buffers[name] ??= gl.createBuffer()));
    gl.bufferData(gl.ARRAY_BUFFER, values, use);
    gl.enableVertexAttribArray(where);
    gl.vertexAttribPointer(where, width, gl.FLOAT, false, 0, 0);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.host;
    if (!width || !height) return;
    const first = !this.width;
    [this.width, this.height, this.ratio] = [width, height, devicePixelRatio || 1];
    for (const canvas of [this.points, this.above]) {
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
    }
    if (first || this.isHome) this.home();
    else this.draw();
  }

  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      if (this.width && this.works) {
        this.drawPoints();
        this.drawAbove();
      }
    });
  }

  drawPoints() {
    const { gl, zoom } = this;
    const style = getComputedStyle(this.host);
    gl.viewport(0, 0, this.points.width, this.points.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.count) return;
    // About a tenth of the view is ink, however many points there are.
    const shown = this.count / Math.max(1, (zoom / this.least) ** 2);
    const free = Math.sqrt((this.width * this.height) / Math.max(shown, 1));
    const size = Math.min(9, Math.max(1.8, free * 0.3)) * this.ratio;
    const alpha = Math.min(0.85, Math.max(0.22, free * 0.07));
    gl.uniform2f(this.uniform("center"), ...this.center);
    gl.uniform2f(this.uniform("scale"), (2 * zoom) / this.width, (2 * zoom) / this.height);
    gl.uniform1f(this.uniform("size"), size);
    gl.uniform4f(this.uniform("color"), ...rgb(style.getPropertyValue("--point")), alpha);
    gl.uniform4f(this.uniform("chosenColor"), ...rgb(style.getPropertyValue("--accent")), 1);
    gl.drawArrays(gl.POINTS, 0, this.count);
  }

  // ------------------------------------------------------------------ names, marks, lasso

  drawAbove() {
    const { pen } = this;
    const style = getComputedStyle(this.host);
    const [text, muted, accent, own, page] = ["text", "muted", "accent", "own", "page"].map((name) =>
      style.getPropertyValue(`--${name}`),
    );
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    pen.font = `500 13px ${style.fontFamily}`;
    pen.lineJoin = "round";
    const taken = [];
    const label = (name, [x, y], color, above = 9, always = true) => {
      const half = 4 + 4 * Math.min(name.length, 24);
      if (!always && taken.some(([otherX, otherY, other]) => Math.abs(x - otherX) < half + other && Math.abs(y - otherY) < 15)) return;
      taken.push([x, y, half]);
      pen.textAlign = "center";
      pen.lineWidth = 4;
      pen.strokeStyle = page;
      const shown = name.length > 24 ? `${name.slice(0, 23)}…` : name;
      pen.strokeText(shown, x, y - above);
      pen.fillStyle = color;
      pen.fillText(shown, x, y - above);
    };
    const dot = ([x, y], radius, color, ring = page) => {
      pen.beginPath();
      pen.arc(x, y, radius, 0, 7);
      pen.fillStyle = color;
      pen.fill();
      pen.lineWidth = 2;
      pen.strokeStyle = ring;
      pen.stroke();
    };
    const near = new Set(this.query?.near);
    for (const { place, name } of this.marks) {
      dot(this.toScreen(place), 5, own);
      label(name, this.toScreen(place), own, 11);
    }
    if (this.query) {
      const at = this.toScreen(this.query.place);
      pen.lineWidth = 1.5;
      pen.strokeStyle = accent;
      for (const place of [...this.query.near.map((i) => this.place(i)), ...this.query.others]) {
        pen.beginPath();
        pen.moveTo(...at);
        pen.lineTo(...this.toScreen(place));
        pen.stroke();
      }
      for (const i of this.query.near) {
        const place = this.toScreen(this.place(i));
        dot(place, 4, accent);
        label(this.name(i) ?? "", place, text, 10, false);
      }
      dot(at, 8, page, accent);
      dot(at, 4, accent, accent);
    }
    for (const i of this.inView(NAMED) ?? []) {
      const name = this.name(i);
      if (name && !near.has(i)) label(name, this.toScreen(this.place(i)), muted, 9, false);
    }
    if (this.hovered !== undefined && !near.has(this.hovered)) {
      const place = this.toScreen(this.place(this.hovered));
      dot(place, 5, accent);
      label(this.name(this.hovered) ?? "…", place, text, 11);
    }
    if (this.lasso) {
      pen.beginPath();
      for (const place of this.lasso) pen.lineTo(...this.toScreen(place));
      pen.closePath();
      pen.strokeStyle = accent;
      pen.lineWidth = 1.5;
      pen.stroke();
      pen.globalAlpha = 0.12;
      pen.fillStyle = accent;
      pen.fill();
      pen.globalAlpha = 1;
    }
  }

  /** The name of a point, as soon as it is known. */
  name(i) {
    if (!this.known.has(i)) {
      this.wanted ??= new Set();
      this.wanted.add(i);
      this.asking ??= setTimeout(() => this.ask(), 60);
    }
    return this.known.get(i);
  }

  async ask() {
    this.asking = undefined;
    const wanted = [...this.wanted];
    this.wanted = undefined;
    try {
      const names = await this.names(wanted);
      wanted.forEach((i, row) => this.known.set(i, names[row]));
      this.draw();
    } catch {
      // The names are missing; the points are there.
    }
  }

  // ------------------------------------------------------------------ where points are

  /** Points by the cell of a grid, in two arrays as of a sparse matrix. */
  index() {
    const { places, count } = this;
    let [left, low, right, high] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let i = 0; i < places.length; i += 2) {
      left = Math.min(left, places[i]);
      right = Math.max(right, places[i]);
      low = Math.min(low, places[i + 1]);
      high = Math.max(high, places[i + 1]);
    }
    this.box = { left, low, right, high, step: Math.max(right - left, high - low, 1e-9) / CELLS };
    const cells = new Uint32Array(count);
    this.starts = new Uint32Array(CELLS * CELLS + 1);
    for (let i = 0; i < count; i++) {
      const [column, row] = this.cell(places[2 * i], places[2 * i + 1]);
      cells[i] = row * CELLS + column;
      this.starts[cells[i] + 1]++;
    }
    for (let i = 0; i < CELLS * CELLS; i++) this.starts[i + 1] += this.starts[i];
    const next = this.starts.slice();
    this.order = new Uint32Array(count);
    for (let i = 0; i < count; i++) this.order[next[cells[i]]++] = i;
  }

  cell(x, y) {
    const inside = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor(value / this.box.step)));
    return [inside(x - this.box.left), inside(y - this.box.low)];
  }

  /** The points in a box of the plane. */
  *within(left, low, right, high) {
    if (!this.count) return;
    const [firstColumn, firstRow] = this.cell(left, low);
    const [lastColumn, lastRow] = this.cell(right, high);
    for (let row = firstRow; row <= lastRow; row++) {
      const from = this.starts[row * CELLS + firstColumn];
      const to = this.starts[row * CELLS + lastColumn + 1];
      for (let at = from; at < to; at++) {
        const i = this.order[at];
        const [x, y] = this.place(i);
        if (x >= left && x <= right && y >= low && y <= high) yield i;
      }
    }
  }

  /** The points in view, null where there are more than `most`. */
  inView(most) {
    const [left, high] = this.toPlane([0, 0]);
    const [right, low] = this.toPlane([this.width, this.height]);
    const found = [];
    for (const i of this.within(left, low, right, high)) {
      if (found.length === most) return null;
      found.push(i);
    }
    return found;
  }

  nearest(at) {
    const [left, high] = this.toPlane([at[0] - NEAR, at[1] - NEAR]);
    const [right, low] = this.toPlane([at[0] + NEAR, at[1] + NEAR]);
    let [best, least] = [undefined, NEAR];
    for (const i of this.within(left, low, right, high)) {
      const [x, y] = this.toScreen(this.place(i));
      const far = Math.hypot(x - at[0], y - at[1]);
      if (far < least) [best, least] = [i, far];
    }
    return best;
  }

  finishLasso() {
    const path = this.lasso;
    this.lasso = null;
    if (path.length < 3) return this.choose([]);
    const [xs, ys] = [path.map((place) => place[0]), path.map((place) => place[1])];
    const bounds = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
    this.choose([...this.within(...bounds)].filter((i) => isInside(this.place(i), path)));
  }

  // ------------------------------------------------------------------ the view

  /** All points in view. */
  home() {
    if (!this.width || !this.box) return;
    const { left, low, right, high } = this.box;
    this.center = [(left + right) / 2, (low + high) / 2];
    const margin = 0.88;
    this.least = margin * Math.min(this.width / (right - left || 1), this.height / (high - low || 1));
    this.zoom = this.least;
    this.isHome = true;
    this.draw();
  }

  toScreen([x, y]) {
    return [
      this.width / 2 + (x - this.center[0]) * this.zoom,
      this.height / 2 - (y - this.center[1]) * this.zoom,
    ];
  }

  toPlane([x, y]) {
    return [
      this.center[0] + (x - this.width / 2) / this.zoom,
      this.center[1] - (y - this.height / 2) / this.zoom,
    ];
  }

  zoomAt(at, factor) {
    const before = this.toPlane(at);
    this.zoom = Math.min(this.least * 5000, Math.max(this.least * 0.5, this.zoom * factor));
    const after = this.toPlane(at);
    this.pan(before[0] - after[0], before[1] - after[1]);
  }

  pan(x, y) {
    this.center = [this.center[0] + x, this.center[1] + y];
    this.isHome = false;
    this.draw();
  }

  zoomBy(factor) {
    this.zoomAt([this.width / 2, this.height / 2], factor);
  }

  // ------------------------------------------------------------------ hands

  listen() {
    const { host } = this;
    host.addEventListener("pointerdown", (event) => this.down(event));
    host.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"])
      host.addEventListener(end, (event) => this.up(event));
    host.addEventListener("pointerleave", () => this.hover(undefined));
    host.addEventListener("dblclick", (event) => this.zoomAt(this.at(event), 2.5));
    host.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const lines = event.deltaMode === 1 ? 16 : 1;
        this.zoomAt(this.at(event), Math.exp(-event.deltaY * lines * 0.0022));
      },
      { passive: false },
    );
    host.addEventListener("keydown", (event) => this.key(event));
  }

  at(event) {
    const box = this.host.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  down(event) {
    if (event.button !== 0 || !this.count) return;
    this.host.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.at(event));
    if (this.lassoing && this.pointers.size === 1) this.lasso = [this.toPlane(this.at(event))];
    else this.lasso = null; // a second finger: it is a pinch
  }

  move(event) {
    const at = this.at(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      if (this.count) this.hover(this.nearest(at));
      return;
    }
    if (this.lasso) {
      this.lasso.push(this.toPlane(at));
      this.draw();
    } else if (this.pointers.size === 1) {
      this.pan((before[0] - at[0]) / this.zoom, (at[1] - before[1]) / this.zoom);
    } else {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1;
      this.zoomAt(other, apart(at) / apart(before));
    }
    this.pointers.set(event.pointerId, at);
  }

  up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.lasso) this.finishLasso();
    else if (event.pointerType !== "mouse") this.hover(this.nearest(this.at(event)));
  }

  hover(i) {
    if (i === this.hovered) return;
    this.hovered = i;
    this.draw();
  }

  key(event) {
    const step = 60 / this.zoom;
    const act = {
      ArrowLeft: () => this.pan(-step, 0),
      ArrowRight: () => this.pan(step, 0),
      ArrowUp: () => this.pan(0, step),
      ArrowDown: () => this.pan(0, -step),
      "+": () => this.zoomBy(1.5),
      "=": () => this.zoomBy(1.5),
      "-": () => this.zoomBy(1 / 1.5),
      0: () => this.home(),
      Enter: () => this.choose(this.inView(1000) ?? []),
      Escape: () => this.choose([]),
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey || !this.count) return;
    event.preventDefault();
    act();
  }
}

function isInside([x, y], path) {
  let inside = false;
  for (let i = 0, j = path.length - 1; i < path.length; j = i++) {
    const [[ax, ay], [bx, by]] = [path[i], path[j]];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

/** "#rrggbb" -> three numbers in [0, 1]. */
function rgb(color) {
  const number = parseInt(color.trim().slice(1), 16);
  return [number >> 16, (number >> 8) & 255, number & 255].map((part) => part / 255);
}
