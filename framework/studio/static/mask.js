// What may change: a byte a picture pixel here, a bit a pixel on the wire.

export class Mask {
  constructor() {
    this.resize(1, 1);
  }

  resize(width, height) {
    if (width === this.width && height === this.height) return;
    [this.width, this.height] = [width, height];
    this.data = new Uint8Array(width * height);
    this.canvas = new OffscreenCanvas(width, height);
    this.changed = true;
  }

  // Paint a stroke from one picture point to another; radius in picture pixels.
  stroke([x0, y0], [x1, y1], radius, value) {
    const steps = Math.max(1, Math.ceil(Math.hypot(x1 - x0, y1 - y0) / Math.max(0.5, radius / 3)));
    for (let i = 0; i <= steps; i++) {
      this.disc(x0 + ((x1 - x0) * i) / steps, y0 + ((y1 - y0) * i) / steps, radius, value);
    }
    this.changed = true;
  }

  disc(x, y, radius, value) {
    const top = Math.max(0, Math.ceil(y - radius)), bottom = Math.min(this.height - 1, Math.floor(y + radius));
    for (let row = top; row <= bottom; row++) {
      const half = Math.sqrt(Math.max(0, radius * radius - (row - y) ** 2));
      const from = Math.max(0, Math.ceil(x - half)), to = Math.min(this.width - 1, Math.floor(x + half));
      if (from <= to) this.data.fill(value, row * this.width + from, row * this.width + to + 1);
    }
  }

  get count() {
    return this.data.reduce((sum, value) => sum + value, 0);
  }

  get empty() {
    return !this.data.includes(1);
  }

  clear() {
    this.data.fill(0);
    this.changed = true;
  }

  toBits() {
    if (this.empty) return null;
    const bytes = new Uint8Array(Math.ceil(this.data.length / 8));
    this.data.forEach((value, i) => { if (value) bytes[i >> 3] |= 128 >> (i & 7); });
    let text = "";
    for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
    return btoa(text);
  }

  fromBits(bits) {
    this.clear();
    if (bits === null) return;
    const text = atob(bits);
    for (let i = 0; i < this.data.length; i++) {
      this.data[i] = (text.charCodeAt(i >> 3) >> (7 - (i & 7))) & 1;
    }
  }

  // The veil over what stays, as a canvas of the picture's size.
  veil([red, green, blue, alpha]) {
    if (this.changed) {
      const image = new ImageData(this.width, this.height);
      for (let i = 0; i < this.data.length; i++) {
        if (!this.data[i]) image.data.set([red, green, blue, alpha], 4 * i);
      }
      this.canvas.getContext("2d").putImageData(image, 0, 0);
      this.changed = false;
    }
    return this.canvas;
  }
}
