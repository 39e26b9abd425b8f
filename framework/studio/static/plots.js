// Four small curves of the drag: a line each, its last number beside its name.

const TITLES = { distance_px: "Distance, px", motion_loss: "Motion loss", drift: "Drift", confidence: "Confidence" };
const MAX_ROWS = 2000;

export class Plots {
  constructor(box) {
    this.box = box;
    this.rows = [];
    this.names = [];
    this.plots = {};
    for (const [name, title] of Object.entries(TITLES)) {
      const figure = box.appendChild(document.createElement("div"));
      figure.className = "plot";
      const text = figure.appendChild(document.createElement("p"));
      text.textContent = title;
      const value = text.appendChild(document.createElement("b"));
      const canvas = figure.appendChild(document.createElement("canvas"));
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", title);
      this.plots[name] = { value, canvas };
    }
    new ResizeObserver(() => this.draw()).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  add({ names, rows, fresh }) {
    this.names = names;
    this.rows = [...(fresh ? [] : this.rows), ...rows].slice(-MAX_ROWS);
    this.box.parentElement.hidden = this.rows.length === 0;
    this.draw();
  }

  draw() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      for (const name of Object.keys(this.plots)) this.paint(name);
    });
  }

  paint(name) {
    const { value, canvas } = this.plots[name], column = this.names.indexOf(name);
    const points = this.rows.map((row) => [row[0], row[column]]).filter(([, y]) => y !== null && y !== undefined);
    value.textContent = points.length ? points.at(-1)[1].toPrecision(3) : "–";
    const ratio = window.devicePixelRatio || 1, { width, height } = canvas.getBoundingClientRect();
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    context.scale(ratio, ratio);
    context.strokeStyle = style.getPropertyValue("--line");
    context.strokeRect(-1, -1, width + 2, height + 0.5);
    if (!points.length) return;
    const first = this.rows[0][0], last = Math.max(first + 1, this.rows.at(-1)[0]);
    const most = name === "confidence" ? 1 : Math.max(...points.map(([, y]) => y), 1e-9);
    context.beginPath();
    for (const [x, y] of points) {
      const at = [((x - first) / (last - first)) * (width - 4) + 2, height - 3 - (y / most) * (height - 8)];
      context.lineTo(...at);
      if (points.length === 1 || name === "confidence") context.arc(...at, 2, 0, 7);
    }
    context.strokeStyle = style.getPropertyValue(name === "distance_px" ? "--target" : "--text");
    context.lineWidth = 1.5;
    context.stroke();
  }
}
