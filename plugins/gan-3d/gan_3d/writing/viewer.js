// Turns the shapes of a page: every <canvas class="gan-3d"> holds its mesh. Flat shading, faces sorted by depth.
(function () {
  "use strict";
  const span = 1.45, light = [-0.35, 0.55, 0.76].map((v) => v / Math.hypot(0.35, 0.55, 0.76));

  function bytes(text) {
    const binary = atob(text), out = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) out[i] = binary.charCodeAt(i);
    return out.buffer;
  }

  function start(canvas) {
    canvas.dataset.ready = "1";
    const points = new Int16Array(bytes(canvas.dataset.points));
    const raw = bytes(canvas.dataset.faces);
    const faces = canvas.dataset.wide === "1" ? new Uint32Array(raw) : new Uint16Array(raw);
    const colours = new Uint8Array(bytes(canvas.dataset.colours));
    const count = faces.length / 3, seen = new Float32Array(points.length);
    const order = new Uint32Array(count), depth = new Float32Array(count);
    const context = canvas.getContext("2d"), side = canvas.width;
    let azimuth = (-55 * Math.PI) / 180, elevation = (25 * Math.PI) / 180, waiting = false;

    function draw() {
      waiting = false;
      const ca = Math.cos(azimuth), sa = Math.sin(azimuth), ce = Math.cos(elevation), se = Math.sin(elevation);
      for (let i = 0; i < points.length; i += 3) {
        const x = points[i] / 32767, y = points[i + 1] / 32767, z = points[i + 2] / 32767;
        const out = ca * x + sa * y;
        seen[i] = ca * y - sa * x;
        seen[i + 1] = ce * z - se * out;
        seen[i + 2] = ce * out + se * z;
      }
      let shown = 0;
      for (let f = 0; f < count; f++) {
        const a = 3 * faces[3 * f], b = 3 * faces[3 * f + 1], c = 3 * faces[3 * f + 2];
        const nz = (seen[b] - seen[a]) * (seen[c + 1] - seen[a + 1]) - (seen[b + 1] - seen[a + 1]) * (seen[c] - seen[a]);
        if (nz <= 0) continue;
        depth[f] = seen[a + 2] + seen[b + 2] + seen[c + 2];
        order[shown++] = f;
      }
      const sorted = order.subarray(0, shown).sort((f, g) => depth[f] - depth[g]);
      const scale = side / span, half = side / 2;
      context.fillStyle = "rgb(250,250,250)";
      context.fillRect(0, 0, side, side);
      for (const f of sorted) {
        const a = 3 * faces[3 * f], b = 3 * faces[3 * f + 1], c = 3 * faces[3 * f + 2];
        const ux = seen[b] - seen[a], uy = seen[b + 1] - seen[a + 1], uz = seen[b + 2] - seen[a + 2];
        const vx = seen[c] - seen[a], vy = seen[c + 1] - seen[a + 1], vz = seen[c + 2] - seen[a + 2];
        const nx = uy * vz - uz * vy, ny = uz * vx - ux * vz, nz = ux * vy - uy * vx;
        const facing = (nx * light[0] + ny * light[1] + nz * light[2]) / Math.hypot(nx, ny, nz);
        const shade = 1.15 * (0.45 + 0.55 * Math.max(0, facing));
        context.fillStyle = context.strokeStyle =
          "rgb(" + [0, 1, 2].map((i) => Math.min(255, Math.round(colours[3 * f + i] * shade))).join(",") + ")";
        context.beginPath();
        context.moveTo(half + scale * seen[a], half - scale * seen[a + 1]);
        context.lineTo(half + scale * seen[b], half - scale * seen[b + 1]);
        context.lineTo(half + scale * seen[c], half - scale * seen[c + 1]);
        context.closePath();
        context.fill();
        context.stroke();
      }
    }

    function later() {
      if (!waiting) { waiting = true; requestAnimationFrame(draw); }
    }

    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons) return;
      azimuth -= event.movementX / 80;
      elevation = Math.max(-1.5, Math.min(1.5, elevation + event.movementY / 80));
      later();
    });
    draw();
  }

  document.querySelectorAll("canvas.gan-3d:not([data-ready])").forEach(start);
})();
