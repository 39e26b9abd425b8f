// The picture, what is drawn on it, and the gestures: pointer, wheel, touch and keys.

import { Mask } from "./mask.js";
import { View } from "./view.js";

const GRAB_PX = { mouse: 12, pen: 14, touch: 24 }; // CSS pixels around an end
const CLICK_PX = 4; // a press that moves less is a click
const SHARP_FROM = 3; // zoomed in by so much, pixels are shown as squares

export class Stage {
  // actions: {add(handle, target, isGesture), move(index, end, to, isGesture), drop(index), mask(bits),
  //   hold(handle, target, index), release(), say(text)}
  constructor(canvas, actions) {
    this.canvas = canvas;
    this.actions = actions;
    this.view = new View();
    this.mask = new Mask();
    this.picture = this.before = null;
    this.points = [];
    this.targets = [];
    this.held = null; // where the held point is in the preview
    this.trails = [];
    this.tool = "drag";
    this.brush = 12; // diameter, in picture pixels
    this.comparing = false;
    this.gesture = null; // what the pointer is doing
    this.pending = null; // a handle that waits for its target
    this.cursor = null; // of the keyboard
    this.hover = null;
    this.touches = new Map();
    this.colours = {};
    new ResizeObserver(() => this.resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    for (const [name, listener] of Object.entries({
      pointerdown: this.down, pointermove: this.move, pointerup: this.up, pointercancel: this.cancel,
      pointerleave: this.leave, blur: () => delete canvas.dataset.pointer, keydown: this.key, wheel: this.wheel,
      contextmenu: (event) => event.preventDefault(),
    })) canvas.addEventListener(name, listener.bind(this), { passive: false });
  }

  // ------------------------------------------------------------------------------ what is shown

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const { width, height } = this.canvas.getBoundingClientRect();
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.view.resize(width, height);
    this.draw();
  }

  setSize(height, width) {
    this.view.setImage(width, height);
    this.mask.resize(width, height);
    this.draw();
  }

  show(picture) {
    this.picture?.close();
    this.picture = picture;
    this.draw();
  }

  setPoints(points, targets) {
    if (points.length !== this.trails.length) this.trails = points.map(() => []);
    points.forEach((point, i) => {
      const trail = this.trails[i], last = trail.at(-1);
      if (!last || last[0] !== point[0] || last[1] !== point[1]) trail.push(point);
      if (trail.length > 600) trail.shift();
    });
    [this.points, this.targets] = [points, targets];
    this.draw();
  }

  forgetTrails() {
    this.trails = this.points.map((point) => [point]);
    this.draw();
  }

  draw() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      this.paint();
    });
  }

  paint() {
    const context = this.canvas.getContext("2d"), ratio = window.devicePixelRatio || 1, view = this.view;
    const style = getComputedStyle(document.documentElement);
    for (const name of ["handle", "target", "track"]) this.colours[name] = style.getPropertyValue(`--${name}`);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, view.width, view.height);
    const shown = this.comparing && this.before ? this.before : this.picture;
    const place = [view.left, view.top, view.imageWidth * view.scale, view.imageHeight * view.scale];
    if (shown) {
      context.imageSmoothingEnabled = view.scale < SHARP_FROM * view.fittedScale;
      context.imageSmoothingQuality = "high";
      context.drawImage(shown, ...place);
    }
    if (this.comparing) return;
    if (!this.mask.empty || this.gesture?.kind === "paint") {
      context.imageSmoothingEnabled = false;
      context.drawImage(this.mask.veil([12, 14, 24, 150]), ...place);
    }
    this.points.forEach((_, i) => this.paintPoint(context, i));
    if (this.gesture?.kind === "pull") this.arrow(context, this.held ?? this.gesture.handle, this.gesture.target);
    if (this.pending) this.dot(context, this.pending, this.colours.handle);
    this.paintCursors(context);
  }

  paintPoint(context, i) {
    const moving = this.gesture?.kind === "end" && this.gesture.index === i ? this.gesture : null;
    const handle = moving?.end === "handle" ? moving.to : (moving && this.held) || this.points[i];
    const target = moving?.end === "target" ? moving.to : this.targets[i];
    const trail = this.trails[i] ?? [];
    if (trail.length > 1 && !moving) {
      context.beginPath();
      trail.forEach((point) => context.lineTo(...this.view.toScreen(point)));
      context.strokeStyle = this.colours.handle;
      context.globalAlpha = 0.55;
      context.lineWidth = 2;
      context.stroke();
      context.globalAlpha = 1;
    }
    this.arrow(context, handle, target, this.points.length > 1 ? String(i + 1) : "");
  }

  arrow(context, handle, target, label = "") {
    const [x0, y0] = this.view.toScreen(handle), [x1, y1] = this.view.toScreen(target);
    const length = Math.hypot(x1 - x0, y1 - y0);
    if (length > 14) {
      const end = (length - 7) / length;
      const [x, y] = [x0 + (x1 - x0) * end, y0 + (y1 - y0) * end];
      for (const [width, colour] of [[4.5, "rgb(0 0 0 / .35)"], [2.5, this.colours.track]]) {
        context.beginPath();
        context.moveTo(x0, y0);
        context.lineTo(x, y);
        context.lineWidth = width;
        context.strokeStyle = colour;
        context.stroke();
      }
    }
    this.dot(context, target, this.colours.target);
    this.dot(context, handle, this.colours.handle, label);
  }

  dot(context, point, colour, label = "") {
    const [x, y] = this.view.toScreen(point);
    context.beginPath();
    context.arc(x, y, 6.5, 0, 7);
    context.fillStyle = colour;
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = "#fff";
    context.stroke();
    if (!label) return;
    context.font = "600 12px system-ui, sans-serif";
    context.lineWidth = 3;
    context.strokeStyle = "rgb(0 0 0 / .6)";
    context.strokeText(label, x + 10, y - 8);
    context.fillStyle = "#fff";
    context.fillText(label, x + 10, y - 8);
  }

  paintCursors(context) {
    if (this.tool !== "drag" && this.hover) {
      const [x, y] = this.view.toScreen(this.hover);
      const radius = Math.max(2, (this.brush / 2) * this.view.scale);
      for (const [width, colour] of [[3, "rgb(0 0 0 / .5)"], [1.5, "#fff"]]) {
        context.beginPath();
        context.arc(x, y, radius, 0, 7);
        context.lineWidth = width;
        context.strokeStyle = colour;
        context.stroke();
      }
    }
    if (this.cursor && document.activeElement === this.canvas) {
      const [x, y] = this.view.toScreen(this.cursor);
      for (const [width, colour] of [[4, "rgb(0 0 0 / .55)"], [2, "#fff"]]) {
        context.beginPath();
        context.moveTo(x - 13, y); context.lineTo(x - 4, y); context.moveTo(x + 4, y); context.lineTo(x + 13, y);
        context.moveTo(x, y - 13); context.lineTo(x, y - 4); context.moveTo(x, y + 4); context.lineTo(x, y + 13);
        context.lineWidth = width;
        context.strokeStyle = colour;
        context.stroke();
      }
    }
  }

  // ----------------------------------------------------------------------------------- pointer

  place(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  at(event) {
    return this.view.toImage(...this.place(event));
  }

  // The end of a point near a place on the screen: {index, end}, or null.
  near([x, y], reach) {
    let best = null, least = reach;
    const ends = [["target", this.targets], ["handle", this.points]];
    for (const [end, points] of ends) {
      points.forEach((point, index) => {
        const [px, py] = this.view.toScreen(point), distance = Math.hypot(px - x, py - y);
        if (distance <= least) [best, least] = [{ index, end }, distance];
      });
    }
    return best;
  }

  down(event) {
    if (!this.picture) return;
    this.canvas.focus({ preventScroll: true });
    this.canvas.dataset.pointer = "";
    this.canvas.setPointerCapture(event.pointerId);
    if (event.pointerType === "touch") {
      this.touches.set(event.pointerId, this.place(event));
      if (this.touches.size === 2) {
        this.gesture = { kind: "pinch" };
        return;
      }
    }
    const from = this.place(event), point = this.at(event);
    if (event.button === 1 || event.shiftKey) {
      this.gesture = { kind: "pan", last: from };
    } else if (this.tool !== "drag" && event.button !== 1) {
      const erases = this.tool === "eraser" || event.altKey || event.button === 2 || event.button === 5;
      this.gesture = { kind: "paint", value: erases ? 0 : 1, last: point };
      this.mask.stroke(point, point, this.brush / 2, this.gesture.value);
    } else if (event.button === 0) {
      const end = this.near(from, GRAB_PX[event.pointerType] ?? 12);
      if (end && !this.pending) {
        const to = (end.end === "handle" ? this.points : this.targets)[end.index];
        this.gesture = { kind: "end", ...end, from, to, was: to, moved: false };
      } else {
        const handle = this.view.clamped(point);
        this.gesture = { kind: "pull", from, handle: this.pending ?? handle, target: handle };
      }
    }
    this.draw();
  }

  move(event) {
    const now = this.place(event), point = this.at(event), gesture = this.gesture;
    this.hover = event.pointerType === "touch" ? null : point;
    if (gesture?.kind === "pinch") {
      this.pinch(event.pointerId, now);
    } else if (gesture?.kind === "pan") {
      this.view.pan(now[0] - gesture.last[0], now[1] - gesture.last[1]);
      gesture.last = now;
    } else if (gesture?.kind === "paint") {
      for (const one of event.getCoalescedEvents?.() ?? [event]) {
        const next = this.at(one);
        this.mask.stroke(gesture.last, next, this.brush / 2, gesture.value);
        gesture.last = next;
      }
    } else if (gesture?.kind === "pull") {
      gesture.target = this.view.clamped(point);
      this.actions.hold(gesture.handle, gesture.target, null);
    } else if (gesture?.kind === "end") {
      gesture.moved ||= Math.hypot(now[0] - gesture.from[0], now[1] - gesture.from[1]) > CLICK_PX;
      if (gesture.moved) {
        gesture.to = this.view.clamped(point);
        if (gesture.end === "target") this.actions.hold(this.points[gesture.index], gesture.to, gesture.index);
      }
    } else if (this.tool === "drag" && event.pointerType !== "touch") {
      this.canvas.style.cursor = this.near(now, GRAB_PX.mouse) ? "grab" : "crosshair";
    }
    if (gesture || this.tool !== "drag") this.draw();
  }

  up(event) {
    const gesture = this.gesture;
    this.touches.delete(event.pointerId);
    if (gesture?.kind === "pinch" && this.touches.size) return;
    this.gesture = null;
    if (gesture?.kind === "paint") {
      this.actions.mask(this.mask.toBits());
    } else if (gesture?.kind === "pull") {
      const now = this.place(event);
      const clicked = Math.hypot(now[0] - gesture.from[0], now[1] - gesture.from[1]) <= CLICK_PX;
      if (clicked && !this.pending) this.pending = gesture.handle;
      else this.pull(gesture.handle, gesture.target, true);
      if (clicked) this.actions.release();
    } else if (gesture?.kind === "end" && gesture.moved) {
      this.actions.move(gesture.index, gesture.end, gesture.to, true);
      (gesture.end === "handle" ? this.points : this.targets)[gesture.index] = gesture.to; // until the server says so
    }
    this.draw();
  }

  pull(handle, target, isGesture) {
    this.pending = null;
    this.actions.add(handle, target, isGesture);
    this.points = [...this.points, handle]; // until the server says so
    this.targets = [...this.targets, target];
    this.trails = [...this.trails, [handle]];
  }

  cancel(event) {
    this.touches.delete(event.pointerId);
    if (this.gesture?.kind === "paint") this.actions.mask(this.mask.toBits());
    else if (this.gesture) this.actions.release();
    this.gesture = null;
    this.draw();
  }

  leave() {
    this.hover = null;
    this.draw();
  }

  pinch(id, now) {
    const other = [...this.touches].find(([key]) => key !== id)?.[1];
    const before = this.touches.get(id);
    if (!other || !before) return;
    const apart = (a, b) => Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1]));
    this.view.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    this.view.zoom(apart(now, other) / apart(before, other), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    this.touches.set(id, now);
  }

  wheel(event) {
    event.preventDefault();
    this.view.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), ...this.place(event));
    this.draw();
  }

  // -------------------------------------------------------------------------------------- keys

  key(event) {
    const step = event.shiftKey ? 8 : 1;
    const way = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (way && this.picture) {
      const middle = [Math.floor(this.view.imageWidth / 2), Math.floor(this.view.imageHeight / 2)];
      const at = this.cursor ?? middle;
      delete this.canvas.dataset.pointer;
      this.cursor = this.view.clamped([at[0] + way[0], at[1] + way[1]]);
      this.actions.say(`${this.cursor[0]}, ${this.cursor[1]}`);
      if (this.pending) this.actions.hold(this.pending, this.cursor, null);
    } else if (event.key === "Enter" && this.cursor) {
      if (this.tool !== "drag") {
        this.mask.stroke(this.cursor, this.cursor, this.brush / 2, this.tool === "brush" ? 1 : 0);
        this.actions.mask(this.mask.toBits());
        this.actions.say(this.tool === "brush" ? "painted" : "erased");
      } else if (this.pending) {
        const handle = this.pending;
        this.pull(handle, this.cursor, false);
        this.actions.say(`from ${handle.join(", ")} to ${this.cursor.join(", ")}`);
      } else {
        this.pending = this.cursor;
        this.actions.say(`took hold at ${this.cursor.join(", ")}; move to the target and press Enter`);
      }
    } else if (event.key === "Escape") {
      this.pending = this.gesture = null;
      this.actions.release();
    } else if (event.key === "Delete" || event.key === "Backspace") {
      const place = this.hover ?? this.cursor;
      const end = place && this.near(this.view.toScreen(place), 24);
      const index = end ? end.index : this.points.length - 1;
      if (index >= 0) this.actions.drop(index);
    } else {
      return;
    }
    event.preventDefault();
    this.draw();
  }
}
