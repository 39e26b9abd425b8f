// A curve on a small canvas, sharp on any screen.

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);

// points: [x, y] pairs; range: {x: [from, to], y: [from, to]}; at: an x to mark, or null
export function drawLine(canvas, points, { x, y }, stroke, at = null) {
  const ratio = window.devicePixelRatio || 1, { width, height } = canvas.getBoundingClientRect();
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const place = (value, [from, to], length) => 2 + ((value - from) / (to - from || 1)) * (length - 4);
  context.strokeStyle = colour("line");
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(0, height - 0.5);
  context.lineTo(width, height - 0.5);
  if (at !== null) {
    context.moveTo(place(at, x, width), 0);
    context.lineTo(place(at, x, width), height);
  }
  context.stroke();
  context.beginPath();
  for (const [px, py] of points) {
    const spot = [place(px, x, width), height - 2 - place(py, y, height - 4)];
    context.lineTo(...spot);
    if (points.length === 1) context.arc(...spot, 2, 0, 7);
  }
  context.strokeStyle = stroke;
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.stroke();
}
