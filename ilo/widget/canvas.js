// A photo, and over it a mask that is painted with the mouse, a pen or a finger. The kernel holds the same mask: a byte
// a pixel, row by row, 1 missing. A stroke is sent when the button is released. Its pixels are those of
// ilo.widget.problem.stroke.
const SIDE = 384; // at most, on the screen
const TINT = [204, 51, 119, 217]; // of what is missing: red, green, blue, opacity

function sheet(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

function render({ model, el }) {
  const width = model.get("width"), height = model.get("height");
  const scale = Math.max(1, Math.floor(SIDE / Math.max(width, height)));
  const canvas = sheet(width * scale, height * scale);
  const picture = sheet(width, height), cover = sheet(width, height);
  canvas.className = "ilo-mask";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "photo; drag to paint what is missing");
  canvas.style.cssText = `width: ${width * scale}px; max-width: 100%; cursor: crosshair; touch-action: none; display: block`;
  el.append(canvas);
  let mask = new Uint8Array(width * height), last = null, pointer = null;

  function draw() {
    const tint = new ImageData(width, height);
    mask.forEach((missing, i) => missing && tint.data.set(TINT, 4 * i));
    cover.getContext("2d").putImageData(tint, 0, 0);
    const to = canvas.getContext("2d");
    to.imageSmoothingEnabled = false;
    to.drawImage(picture, 0, 0, canvas.width, canvas.height);
    to.drawImage(cover, 0, 0, canvas.width, canvas.height);
    if (pointer) {
      to.beginPath();
      to.arc(pointer[0] * scale, pointer[1] * scale, model.get("brush") * scale, 0, 2 * Math.PI);
      to.lineWidth = 3;
      to.strokeStyle = "black";
      to.stroke();
      to.lineWidth = 1;
      to.strokeStyle = "white";
      to.stroke();
    }
  }

  function stroke([ax, ay], [bx, by], erase) {
    const dx = bx - ax, dy = by - ay, brush = model.get("brush");
    for (let j = 0; j < height; j++) {
      for (let i = 0; i < width; i++) {
        const x = i + 0.5 - ax, y = j + 0.5 - ay;
        const t = Math.min(1, Math.max(0, (x * dx + y * dy) / (dx * dx + dy * dy || 1)));
        if ((x - t * dx) ** 2 + (y - t * dy) ** 2 <= brush * brush) mask[j * width + i] = erase ? 0 : 1;
      }
    }
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  }

  function move(event) {
    pointer = place(event);
    if (last) {
      stroke(last, pointer, model.get("erase") || event.shiftKey);
      last = pointer;
    }
    draw();
  }

  function lift() {
    if (!last) return;
    last = null;
    model.set("missing", new DataView(mask.slice().buffer));
    model.save_changes();
  }

  canvas.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    move(event);
  });
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", () => {
    pointer = null;
    draw();
  });

  function readMask() {
    const sent = model.get("missing");
    mask = new Uint8Array(sent.buffer, sent.byteOffset, sent.byteLength).slice();
    draw();
  }

  async function readPhoto() {
    const bitmap = await createImageBitmap(new Blob([model.get("photo")], { type: "image/png" }));
    picture.getContext("2d").drawImage(bitmap, 0, 0);
    draw();
  }

  model.on("change:missing", readMask);
  model.on("change:photo", readPhoto);
  readMask();
  readPhoto();
  return () => {
    model.off("change:missing", readMask);
    model.off("change:photo", readPhoto);
  };
}

export default { render };
