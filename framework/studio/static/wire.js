// The connection to the server: commands out, events and frames in, each frame acknowledged.

const HEADER_BYTES = 16;
const MAGIC = 0x44524147; // "DRAG"
const RETRY_MS = [300, 1000, 3000];

export class Wire {
  // handlers: {Hello, State, Mask, Rows, Note, frame(bitmap, step), lost(), refused(text)}
  constructor(commands, handlers) {
    this.commands = commands;
    this.handlers = handlers;
    this.tries = 0;
    this.decoding = false;
    this.waiting = null;
  }

  open() {
    const session = sessionStorage.getItem("session") ?? "";
    const socket = new WebSocket(`ws://${location.host}/ws?session=${encodeURIComponent(session)}`);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.event(data) : this.frame(data));
    socket.onclose = () => {
      this.handlers.lost();
      setTimeout(() => this.open(), RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)]);
    };
    this.socket = socket;
  }

  // Say something; names and fields are those that the server described.
  send(type, fields = {}) {
    const known = this.commands[type];
    if (!known || Object.keys(fields).some((name) => !known.includes(name))) {
      throw new Error(`no message ${type} with ${Object.keys(fields)}`);
    }
    if (this.socket?.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify({ type, ...fields }));
    }
  }

  event(text) {
    const { type, ...fields } = JSON.parse(text);
    if (type === "Hello") {
      this.tries = 0;
      sessionStorage.setItem("session", fields.session);
    }
    this.handlers[type]?.(fields);
  }

  // Frames are decoded one at a time; of those that come meanwhile only the newest is.
  async frame(buffer) {
    if (this.decoding) {
      if (this.waiting) this.acknowledge(this.waiting);
      this.waiting = buffer;
      return;
    }
    this.decoding = true;
    for (let next = buffer; next; next = this.waiting) {
      this.waiting = null;
      try {
        const view = new DataView(next);
        if (view.getUint32(0, false) !== MAGIC) throw new Error("not a frame");
        const bitmap = await createImageBitmap(new Blob([new Uint8Array(next, HEADER_BYTES)]));
        this.handlers.frame(bitmap, view.getUint32(8, true));
      } finally {
        this.acknowledge(next);
      }
    }
    this.decoding = false;
  }

  acknowledge(buffer) {
    this.send("Ack", { frame: new DataView(buffer).getUint32(4, true) });
  }
}
