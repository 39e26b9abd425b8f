// A slider for each direction of the model: the picture follows while one is held.

const MOST = 3; // standard deviations; beyond, pictures break
const STEP = 0.1;

export class Directions {
  // asked: {slide(values), steer(values, stamp)}, values by the names of directions
  constructor(box, asked) {
    this.box = box;
    this.asked = asked;
    this.rows = {};
    this.held = null; // name of the slider that is held
    this.next = null; // what its picture is to be drawn at
    this.sent = 0; // stamp of the last values that were asked for
  }

  // Show the server's values, which it had after it heard the stamp `steered`.
  show(values, steered) {
    const names = Object.keys(values);
    if (names.join(" ") !== Object.keys(this.rows).join(" ")) {
      this.rows = {};
      this.held = this.next = null;
      this.box.replaceChildren(...names.map((name) => this.row(name)));
    }
    if (steered < this.sent) return; // older than what was asked for
    this.sent = steered;
    for (const [name, value] of Object.entries(values)) {
      if (name !== this.held) this.set(name, value);
    }
  }

  // The connection is lost, and with it maybe what was asked for.
  forget() {
    this.sent = 0;
  }

  row(name) {
    const label = document.createElement("label"), text = document.createElement("span");
    const input = document.createElement("input"), output = document.createElement("output");
    text.textContent = label.title = name;
    Object.assign(input, { type: "range", min: -MOST, max: MOST, step: STEP, value: 0 });
    input.dataset.direction = name;
    input.addEventListener("input", () => {
      if (!this.next) requestAnimationFrame(() => this.slide());
      this.held = name;
      this.next = { [name]: Number(input.value) };
      output.value = shown(input.value);
    });
    input.addEventListener("change", () => this.settle({ [name]: Number(input.value) }));
    input.addEventListener("dblclick", () => this.settle({ [name]: 0 }));
    this.rows[name] = { input, output };
    label.append(text, input, output);
    return label;
  }

  set(name, value) {
    const { input, output } = this.rows[name];
    input.value = value;
    output.value = shown(value);
  }

  // At most one message a frame of the screen says where the slider is.
  slide() {
    if (this.next) this.asked.slide(this.next);
    this.next = null;
  }

  settle(values) {
    this.held = this.next = null;
    for (const [name, value] of Object.entries(values)) this.set(name, value);
    this.asked.steer(values, ++this.sent);
  }

  zero() {
    this.settle(Object.fromEntries(Object.keys(this.rows).map((name) => [name, 0])));
  }
}

function shown(value) {
  return Number(value).toFixed(1).replace("-0.0", "0.0");
}
