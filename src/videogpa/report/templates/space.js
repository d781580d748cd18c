"use strict";
{
  // The 3D view of a clip: its points and cameras, in the format that report/space.py describes, drawn on a canvas without
  // a library. Axes: x right, y down, z forward, as the clip's middle camera has them; the middle of the cloud is the origin.
  const [LEVELS, COLORS] = [16383, 63]; // of a coordinate, and of red, green and blue
  const NEAR = 0.02; // of the distance between the middle camera and the middle of the cloud
  const FIELD = 1.1; // the focal length, in halves of the canvas' longer side
  const MOST_PIXELS = 1.6e6; // a larger canvas is drawn at a lower resolution
  const START = { yaw: 0.5, pitch: -0.3, target: [0, 0, -0.3] };
  const SEEN = 0.85; // of the points at the start
  const TURN = Math.PI; // radians of a drag across the canvas
  const [FIRST, LAST] = [[64, 140, 220], [236, 120, 48]]; // colours of the first and the last camera

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const data = await new Response(stream).arrayBuffer();
    const [count, cameras] = new Uint32Array(data, 0, 2);
    const numbers = new Float32Array(data, 8, 10 + 15 * cameras);
    const planes = new Uint8Array(data, 8 + numbers.byteLength, 9 * count);
    const eye = numbers.subarray(6, 9);
    const points = new Float32Array(3 * count);
    for (let axis = 0; axis < 3; axis++) {
      const upper = planes.subarray(2 * axis * count);
      const lower = planes.subarray((2 * axis + 1) * count);
      for (let i = 0, level = 0; i < count; i++) {
        level = (level + 256 * upper[i] + lower[i]) & 65535;
        points[3 * i + axis] = numbers[axis] + (numbers[3 + axis] * level) / LEVELS;
      }
    }
    const colors = new Uint32Array(count).fill(0xff000000);
    for (let channel = 0; channel < 3; channel++) {
      const steps = planes.subarray((6 + channel) * count);
      for (let i = 0, level = 0; i < count; i++) {
        level = (level + steps[i]) & 255;
        colors[i] += Math.round((255 * level) / COLORS) << (8 * channel);
      }
    }
    const widths = new Float32Array(count); // of the points, in the unit of their coordinates
    for (let i = 0; i < count; i++) {
      const [x, y, z] = points.subarray(3 * i, 3 * i + 3);
      widths[i] = numbers[9] * Math.hypot(x - eye[0], y - eye[1], z - eye[2]);
    }
    return { points, colors, widths, frusta: frustaOf(numbers.subarray(10)) };
  }

  function frustaOf(numbers) {
    const corners = [];
    for (let i = 0; i < numbers.length; i += 3) corners.push([...numbers.subarray(i, i + 3)]);
    const centers = corners.filter((_, i) => i % 5 === 0);
    const extent = Math.max(...centers.map((center) => Math.hypot(...center.map((value, axis) => value - centers[0][axis]))));
    const length = Math.min(Math.max(0.2 * extent, 0.04), 0.12);
    const frusta = centers.map((center, i) => {
      const picture = corners.slice(5 * i + 1, 5 * i + 5);
      return [center, ...picture.map((corner) => corner.map((value, axis) => center[axis] + length * (value - center[axis])))];
    });
    return frusta;
  }

  // The nearest start at which the view, so many times as high as it is wide, shows most points and all cameras.
  function started({ points, frusta }, shape) {
    const sides = [1 / FIELD, shape / FIELD].map((side) => 0.95 * (shape > 1 ? side / shape : side));
    for (let distance = 0.7; ; distance *= 1.1) {
      const { rows, from } = viewOf({ ...START, distance });
      const inside = (x, y, z) => {
        const [u, v, depth] = rows.map((row) => row[0] * (x - from[0]) + row[1] * (y - from[1]) + row[2] * (z - from[2]));
        return depth > NEAR && Math.abs(u) < sides[0] * depth && Math.abs(v) < sides[1] * depth;
      };
      let count = 0;
      for (let i = 0; i < points.length; i += 3) count += inside(points[i], points[i + 1], points[i + 2]);
      const all = count >= (SEEN * points.length) / 3 && frusta.every(([center]) => inside(...center));
      if (all || distance > 6) return { ...START, target: [...START.target], distance };
    }
  }

  const mixed = (share) => `rgb(${FIRST.map((value, i) => Math.round(value + share * (LAST[i] - value))).join(" ")})`;

  // The rotation of the view, whose rows are its axes, and where it looks from.
  function viewOf({ yaw, pitch, distance, target }) {
    const [a, b, c, d] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    const rows = [[a, 0, -b], [b * d, c, a * d], [b * c, -d, a * c]];
    return { rows, from: target.map((value, axis) => value - distance * rows[2][axis]) };
  }

  function drawPoints({ points, colors, widths }, { rows, from }, image, focal) {
    const { width, height } = image;
    const pixels = new Uint32Array(image.data.buffer);
    const depths = new Float32Array(width * height).fill(Infinity);
    const [[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]] = rows;
    for (let i = 0; i < colors.length; i++) {
      const [right, down, ahead] = [points[3 * i] - from[0], points[3 * i + 1] - from[1], points[3 * i + 2] - from[2]];
      const depth = zx * right + zy * down + zz * ahead;
      if (depth < NEAR) continue;
      const side = Math.min(Math.max((focal * widths[i]) / depth, 1.5), 40);
      const x = width / 2 + (focal * (xx * right + xy * down + xz * ahead)) / depth;
      const y = height / 2 + (focal * (yx * right + yy * down + yz * ahead)) / depth;
      const radius = side / 2;
      const [y0, y1] = [Math.max(Math.round(y - radius), 0), Math.min(Math.round(y + radius), height)];
      for (let row = y0; row < y1; row++) {
        const half = Math.sqrt(Math.max(radius ** 2 - (row + 0.5 - y) ** 2, 0.4));
        const [x0, x1] = [Math.max(Math.round(x - half), 0), Math.min(Math.round(x + half), width)];
        for (let at = row * width + x0; at < row * width + x1; at++) {
          if (depth < depths[at]) [depths[at], pixels[at]] = [depth, colors[i]];
        }
      }
    }
  }

  function drawCameras(frusta, { rows, from }, context, focal, scale) {
    const { width, height } = context.canvas;
    const seen = (point) => rows.map((row) => row.reduce((sum, value, axis) => sum + value * (point[axis] - from[axis]), 0));
    const line = (a, b) => {
      let [p, q] = [seen(a), seen(b)];
      if (p[2] > q[2]) [p, q] = [q, p];
      if (q[2] <= NEAR) return;
      const share = p[2] < NEAR ? (NEAR - p[2]) / (q[2] - p[2]) : 0; // what lies behind the view is cut off
      p = p.map((value, axis) => value + share * (q[axis] - value));
      for (const [move, [x, y, z]] of [["moveTo", p], ["lineTo", q]]) {
        context[move](width / 2 + (focal * x) / z, height / 2 + (focal * y) / z);
      }
    };
    frusta.forEach(([center, ...corners], i) => {
      context.beginPath();
      for (const [k, corner] of corners.entries()) {
        line(center, corner);
        line(corner, corners[(k + 1) % 4]);
      }
      if (i) line(frusta[i - 1][0], center);
      context.lineWidth = 1.4 * scale;
      context.strokeStyle = mixed(i / Math.max(frusta.length - 1, 1));
      context.stroke();
    });
  }

  // Shows a space on a canvas until the returned function is called.
  function shown(canvas, space) {
    const context = canvas.getContext("2d", { willReadFrequently: true }); // its pixels are computed here, not on a GPU
    const state = started(space, canvas.clientHeight / (canvas.clientWidth || 1));
    const start = structuredClone(state);
    const pointers = new Map();
    let asked = 0;

    function draw() {
      asked = 0;
      const [w, h] = [canvas.clientWidth, canvas.clientHeight];
      if (!w || !h) return;
      const scale = Math.min(devicePixelRatio || 1, Math.sqrt(MOST_PIXELS / (w * h)));
      [canvas.width, canvas.height] = [Math.round(w * scale), Math.round(h * scale)];
      const [focal, view] = [(FIELD * Math.max(canvas.width, canvas.height)) / 2, viewOf(state)];
      const image = context.createImageData(canvas.width, canvas.height);
      drawPoints(space, view, image, focal);
      context.putImageData(image, 0, 0);
      drawCameras(space.frusta, view, context, focal, scale);
    }
    const redraw = () => (asked ||= requestAnimationFrame(draw));

    function turn(right, down) {
      state.yaw -= right * TURN;
      state.pitch = Math.min(Math.max(state.pitch - down * TURN, -1.5), 1.5);
      redraw();
    }
    function move(right, down) {
      const { rows } = viewOf(state);
      const reach = (2 * state.distance) / FIELD; // the width of what is seen at the target
      state.target = state.target.map((value, axis) => value - reach * (right * rows[0][axis] + down * rows[1][axis]));
      redraw();
    }
    function zoom(factor) {
      state.distance = Math.min(Math.max(state.distance / factor, 0.05), 30);
      redraw();
    }
    function reset() {
      Object.assign(state, structuredClone(start));
      redraw();
    }

    const spread = () => {
      const [a, b] = [...pointers.values()];
      return { length: Math.hypot(a.x - b.x, a.y - b.y) || 1, x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
    };
    const listening = new AbortController();
    const on = (target, name, act, more = {}) => target.addEventListener(name, act, { signal: listening.signal, ...more });
    on(canvas, "pointerdown", (event) => {
      if (event.isTrusted) canvas.setPointerCapture(event.pointerId); // else a drag out of the canvas selects the text beside it
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, moves: event.shiftKey || event.button > 0 });
    });
    on(window, "pointermove", (event) => {
      const last = pointers.get(event.pointerId);
      if (!last) return;
      const size = Math.max(canvas.clientWidth, canvas.clientHeight) || 1;
      const before = pointers.size === 2 ? spread() : null;
      const [right, down] = [(event.clientX - last.x) / size, (event.clientY - last.y) / size];
      [last.x, last.y] = [event.clientX, event.clientY];
      if (before) {
        const after = spread();
        move((after.x - before.x) / size, (after.y - before.y) / size);
        zoom(after.length / before.length);
      } else if (pointers.size === 1) {
        (last.moves ? move : turn)(right, down);
      }
    });
    for (const end of ["pointerup", "pointercancel"]) on(window, end, (event) => pointers.delete(event.pointerId));
    on(canvas, "contextmenu", (event) => event.preventDefault());
    on(canvas, "dblclick", reset);
    const wheel = (event) => {
      if (document.activeElement !== canvas) return; // the wheel scrolls the page until the view is clicked
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)));
    };
    on(canvas, "wheel", wheel, { passive: false });
    on(canvas, "keydown", (event) => {
      const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (arrow) (event.shiftKey ? move : turn)(...arrow.map((value) => value * 0.04));
      else if (event.key === "+" || event.key === "=") zoom(1.15);
      else if (event.key === "-") zoom(1 / 1.15);
      else if (event.key === "0" || event.key === "Home") reset();
      else return;
      event.preventDefault();
    });
    const resized = new ResizeObserver(redraw);
    resized.observe(canvas);
    redraw();

    return () => {
      listening.abort();
      resized.disconnect();
      cancelAnimationFrame(asked);
      canvas.width = canvas.height = 0; // its memory goes
    };
  }

  for (const details of document.querySelectorAll("details.space")) {
    const [canvas, missing] = [details.querySelector("canvas"), details.querySelector(".missing")];
    let [close, space] = [null, null];
    details.addEventListener("toggle", async () => {
      close?.();
      close = null;
      if (!details.open) return;
      try {
        space ??= await unpacked(details.querySelector("script").textContent.trim());
        canvas.hidden = false;
        missing.hidden = true;
        if (details.open && !close) close = shown(canvas, space);
      } catch {
        canvas.hidden = true; // no canvas, no DecompressionStream, or damaged data: the sentence stays
        missing.hidden = false;
      }
    });
  }
}
