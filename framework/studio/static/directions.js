// A slider for each direction of the model: the picture follows while one is held.

const MOST = 3; // standard deviations; beyond, pictures break
const STEP = 0.1;
const SETTLING_MS = 300;

export class Directions {
  // asked: {slide(values), steer(values)}, values by the names of directions
  constructor(box, asked) {
    this.box = box;
    this.asked = asked;
    this.rows = {};
    this.held = null; // name of the slider that is held
    this.next = null; // what its picture is to be drawn at
    this.settled = {}; // until when a value that was just chosen counts more than an older one
  }

  show(values) {
    const names = Object.keys(values);
    if (names.join(" ") !== Object.keys(this.rows).join(" ")) {
      this.rows = {};
      this.held = this.next = null;
      this.box.replaceChildren(...names.map((name) => this.row(name)));
    }
    for (const [name, value] of Object.entries(values)) {
      const old = performance.now() < (this.settled[name] ?? 0);
      if (name !== this.held && !old) this.set(name, value);
    }
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
    for (const [name, value] of Object.entries(values)) {
      this.set(name, value);
      this.settled[name] = performance.now() + SETTLING_MS;
    }
    this.asked.steer(values);
  }

  zero() {
    this.settle(Object.fromEntries(Object.keys(this.rows).map((name) => [name, 0])));
  }
}

function shown(value) {
  return Number(value).toFixed(1).replace("-0.0", "0.0");
}
