// Four small curves of the drag: a line each, its last number beside its name.

import { colour, drawLine } from "./line.js";

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
    const steps = this.rows.map((row) => row[0]);
    const most = name === "confidence" ? 1 : Math.max(...points.map(([, y]) => y), 1e-9);
    const range = { x: [steps[0] ?? 0, Math.max((steps[0] ?? 0) + 1, steps.at(-1) ?? 1)], y: [0, most] };
    drawLine(canvas, points, range, colour(name === "distance_px" ? "target" : "text"));
  }
}
