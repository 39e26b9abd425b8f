// Where the picture lies on the screen. Coordinates are converted here and nowhere else:
// picture pixels have their centres at whole numbers, as everywhere in this project.

const MAX_SCALE = 64;

export class View {
  constructor() {
    this.width = this.height = 1; // of the stage, in CSS pixels
    this.imageWidth = this.imageHeight = 1;
    this.scale = 1; // CSS pixels a picture pixel
    this.left = this.top = 0; // of the picture's corner, in CSS pixels
    this.fitted = true;
  }

  resize(width, height) {
    [this.width, this.height] = [width, height];
    if (this.fitted) this.fit();
  }

  setImage(width, height) {
    if (width === this.imageWidth && height === this.imageHeight) return;
    [this.imageWidth, this.imageHeight] = [width, height];
    this.fit();
  }

  get fittedScale() {
    const margin = Math.min(this.width, this.height) > 500 ? 24 : 8;
    return Math.max(0.01, Math.min(
      (this.width - 2 * margin) / this.imageWidth, (this.height - 2 * margin) / this.imageHeight));
  }

  fit() {
    this.scale = this.fittedScale;
    this.left = (this.width - this.scale * this.imageWidth) / 2;
    this.top = (this.height - this.scale * this.imageHeight) / 2;
    this.fitted = true;
  }

  zoom(factor, x, y) {
    const scale = Math.max(0.05, Math.min(MAX_SCALE, this.scale * factor));
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
  }

  pan(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.fitted = false;
  }

  toImage(x, y) {
    return [(x - this.left) / this.scale - 0.5, (y - this.top) / this.scale - 0.5];
  }

  toScreen([x, y]) {
    return [this.left + (x + 0.5) * this.scale, this.top + (y + 0.5) * this.scale];
  }

  // A point as it is sent: within the picture, to a hundredth of a pixel.
  clamped([x, y]) {
    const within = (value, most) => Math.round(100 * Math.min(most, Math.max(0, value))) / 100;
    return [within(x, this.imageWidth - 1), within(y, this.imageHeight - 1)];
  }
}
