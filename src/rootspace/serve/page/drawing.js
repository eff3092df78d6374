// A canvas to draw on, with mouse, pen or finger.

const SIDE = 320; // pixels of the picture
const PEN = 0.075; // of its side, about a stroke of a character in print

export class Drawing {
  /** `dark`: the paper is black, as the pictures are that the network has learned from. */
  constructor(canvas, { dark, changed }) {
    canvas.width = canvas.height = SIDE;
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.paper = dark ? "#000" : "#fff";
    this.ink = dark ? "#fff" : "#000";
    this.changed = changed;
    this.strokes = [];
    this.paint();
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.go(event));
    for (const end of ["pointerup", "pointercancel"])
      canvas.addEventListener(end, (event) => this.end(event));
  }

  get empty() {
    return this.strokes.length === 0;
  }

  clear() {
    this.strokes = [];
    this.paint();
    this.changed();
  }

  undo() {
    this.strokes.pop();
    this.paint();
    this.changed();
  }

  picture() {
    return new Promise((resolve) => this.canvas.toBlob(resolve, "image/png"));
  }

  begin(event) {
    if (event.button !== 0 || this.pointer !== undefined) return;
    event.preventDefault();
    this.pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.strokes.push([this.place(event)]);
    this.paint();
  }

  go(event) {
    if (event.pointerId !== this.pointer) return;
    const between = event.getCoalescedEvents?.() ?? [];
    for (const part of between.length ? between : [event]) this.strokes.at(-1).push(this.place(part));
    this.paint();
  }

  end(event) {
    if (event.pointerId !== this.pointer) return;
    this.pointer = undefined;
    this.changed();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  }

  paint() {
    const { context } = this;
    context.fillStyle = this.paper;
    context.fillRect(0, 0, SIDE, SIDE);
    context.strokeStyle = this.ink;
    context.lineWidth = PEN * SIDE;
    context.lineCap = context.lineJoin = "round";
    for (const stroke of this.strokes) {
      context.beginPath();
      context.moveTo(...stroke[0]);
      // Through the middle of each two points: round where the hand was.
      for (let i = 1; i < stroke.length - 1; i++) {
        const [[x, y], [nextX, nextY]] = [stroke[i], stroke[i + 1]];
        context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
      }
      context.lineTo(...stroke.at(-1));
      context.stroke();
    }
  }
}
