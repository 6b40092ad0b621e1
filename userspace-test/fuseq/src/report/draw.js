// SPDX-License-Identifier: GPL-2.0
// The canvases. All of them show the times view.from to view.to, beside a margin for names.

const view = { from: 0, to: length, lane: 0, top: 0, pointer: null, place: -1 };
const MARGIN = 190, AXIS = 22, STRIP = 40, TALLEST = 22;
const canvases = Object.fromEntries(["overview", "lanes", "depths"].map((id) => [id, document.getElementById(id)]));
let colours = {};

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const get = (name) => style.getPropertyValue("--" + name).trim();
  colours = Object.fromEntries(["text", "dim", "line", "grid", "panel", "hover", "aborting"].map((name) => [name, get(name)]));
  colours.places = data.places.map(get);
}

// A canvas's context, for as many pixels as it has on this screen, cleared.
function begin(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  return { context, width, height, plot: Math.max(width - MARGIN, 1) };
}

const x = (at, plot) => MARGIN + (at - view.from) / (view.to - view.from) * plot;
const when = (at, plot) => view.from + (at - MARGIN) / plot * (view.to - view.from);

function fitted(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let low = 0, high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(text.slice(0, middle) + "…").width <= width) low = middle; else high = middle - 1;
  }
  return text.slice(0, low) + "…";
}

// Where the axis has its marks: a round number of microseconds apart.
function marks(plot) {
  const rough = (view.to - view.from) / Math.max(plot / 110, 1);
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  const step = [1, 2, 5, 10].map((times) => times * power).find((each) => each >= rough) || power * 10;
  const all = [];
  for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) all.push(at);
  return all;
}

function drawGrid({ context, height, plot }, names) {
  context.fillStyle = colours.grid;
  for (const at of marks(plot)) context.fillRect(Math.round(x(at, plot)), names ? AXIS - 4 : 0, 1, height);
  if (!names) return;
  context.fillStyle = colours.dim;
  context.textAlign = "center";
  for (const at of marks(plot)) {
    const label = time(at, 6);
    const half = context.measureText(label).width / 2;
    context.fillText(label, Math.min(Math.max(x(at, plot), MARGIN + half), MARGIN + plot - half), AXIS / 2 - 2);
  }
  context.textAlign = "left";
  context.fillText("time since the start", 0, AXIS / 2 - 2);
}

function drawPointer({ context, height, plot }) {
  if (view.pointer === null) return;
  context.fillStyle = colours.dim;
  context.fillRect(Math.round(x(view.pointer, plot)), 0, 1, height);
}

// The requests that are there at some time of the view, in the order in which they began.
function shown() {
  return selection.requests.filter((request) => request.began <= view.to && request.end >= view.from);
}

// How high a lane is: as many as there are fit, unless somebody wants them higher.
function laneHeight(number, height) {
  const fit = Math.min((height - AXIS) / Math.max(number, 1), TALLEST);
  return Math.max(fit, view.lane);
}

function drawLanes() {
  const frame = begin(canvases.lanes);
  const { context, width, height, plot } = frame;
  const all = shown();
  const lane = laneHeight(all.length, height);
  view.top = Math.min(Math.max(view.top, 0), Math.max(all.length * lane - (height - AXIS), 0));
  drawGrid(frame, true);
  frame.lane = lane;
  frame.all = all;
  context.save();
  context.beginPath();
  context.rect(0, AXIS, width, height - AXIS);
  context.clip();
  const first = Math.max(Math.floor(view.top / lane), 0);
  const end = Math.min(Math.ceil((view.top + height - AXIS) / lane), all.length);
  const gap = lane >= 6 ? 2 : lane >= 3 ? 1 : 0;
  for (let number = first; number < end; number++) {
    drawLane(frame, all[number], AXIS + number * lane - view.top, Math.max(lane - gap, 1));
  }
  context.restore();
  if (all.length === 0) {
    context.fillStyle = colours.dim;
    context.textAlign = "center";
    context.fillText(requests.length === 0 ? "No requests were recorded" : "No requests here", MARGIN + plot / 2, height / 2);
    context.textAlign = "left";
  }
  drawPointer(frame);
  lanesFrame = frame;
  document.body.dataset.lanes = end - first;
  return frame;
}
let lanesFrame = null;

function drawLane({ context, lane, plot, width }, request, y, height) {
  if (request === view.request) {
    context.fillStyle = colours.hover;
    context.fillRect(0, y, width, Math.max(lane, 3));
  }
  const left = x(request.began, plot), right = x(request.end, plot);
  const edge = MARGIN + plot;
  const bar = (place, from, to) => {
    context.globalAlpha = view.place >= 0 && view.place !== place ? 0.15 : 1;
    context.fillStyle = colours.places[place];
    const start = Math.max(from, MARGIN);
    // What is there can be seen, however short it was.
    context.fillRect(start, y, Math.max(Math.min(to, edge) - start, from >= MARGIN - 1 ? 1 : 0), height);
  };
  if (right - left < 2) {
    bar(view.place >= 0 && request.stays.some((stay) => stay.place === view.place) ? view.place : request.main, left, left + 1.5);
  } else {
    for (const stay of request.stays) {
      const from = x(stay.from, plot), to = x(stay.to, plot);
      if (to >= MARGIN && from <= edge && (to - from >= 0.3 || stay.place === view.place)) bar(stay.place, from, to);
    }
  }
  context.globalAlpha = 1;
  if (request.error && height >= 4 && right >= MARGIN) {
    context.fillStyle = colours.aborting;
    context.fillRect(right, y, 3, height);
  }
  if (lane < 11) return;
  const middle = y + height / 2;
  context.fillStyle = colours.text;
  context.fillText(fitted(context, request.opcode + "  " + request.who, MARGIN - 12), 0, middle);
  context.fillStyle = colours.dim;
  const label = request.unfinished ? time(request.took) + ", not ended ▸" : time(request.took);
  const room = context.measureText(label).width + 12;
  if (right + room < edge) {
    context.fillText(label, Math.max(right, MARGIN) + 7, middle);
  } else if (right - Math.max(left, MARGIN) > room) {
    // On a colour that may be light or dark.
    context.lineWidth = 3;
    context.strokeStyle = colours.panel;
    context.fillStyle = colours.text;
    context.strokeText(label, Math.min(right, edge) - room + 5, middle);
    context.lineWidth = 1;
    context.fillText(label, Math.min(right, edge) - room + 5, middle);
  }
}

// The queues that have held anything.
function strips() {
  return data.places.map((name, place) => ({ name, place, ...selection.depths[place] }))
    .filter((strip) => strip.times.length > 0);
}

// The queues that hold no requests: how full they were when somebody looked.
function sampled() {
  return data.sampled.map(({ name, points }) => {
    const now = new Map(), times = [], counts = [];
    for (const [connection, at, count] of points) {
      if (selection.connection !== "" && connection !== Number(selection.connection)) continue;
      now.set(connection, count);
      times.push(at);
      counts.push([...now.values()].reduce((a, b) => a + b, 0));
    }
    return { name, times, counts, most: counts.reduce((a, b) => Math.max(a, b), 0) };
  }).filter((strip) => strip.most > 0);
}

function drawDepths() {
  const all = [...strips(), ...sampled()];
  canvases.depths.style.height = Math.max(all.length * STRIP, 30) + "px";
  const frame = begin(canvases.depths);
  const { context, plot } = frame;
  drawGrid(frame, false);
  all.forEach((strip, number) => {
    const top = number * STRIP + 5, height = STRIP - 9, base = top + height;
    context.fillStyle = colours.line;
    context.fillRect(MARGIN, base, plot, 1);
    context.globalAlpha = view.place >= 0 && view.place !== strip.place ? 0.25 : 1;
    context.fillStyle = colours.places[strip.place] || colours.dim;
    fillSteps(frame, strip, view.from, view.to, top, height);
    context.globalAlpha = 1;
    context.fillRect(0, top + 4, 12, 12);
    context.fillStyle = colours.text;
    context.fillText(strip.name, 18, top + 10);
    context.fillStyle = colours.dim;
    const now = view.pointer === null ? "" : valueAt(strip, view.pointer) + " now, ";
    context.fillText(now + "at most " + strip.most, 18, top + 25);
  });
  drawPointer(frame);
  document.body.dataset.depths = all.length;
}

function valueAt({ times, counts }, at) {
  const step = last(times, at);
  return step < 0 ? 0 : counts[step];
}

// The area under a queue's depth: in each column of pixels, the most that there was.
function fillSteps({ context, plot }, { times, counts, most }, from, to, top, height) {
  let step = last(times, from);
  let now = step < 0 ? 0 : counts[step];
  for (let column = 0; column < plot; column++) {
    const until = from + (column + 1) / plot * (to - from);
    let high = now, seen = false;
    while (step + 1 < times.length && times[step + 1] <= until) {
      now = counts[++step];
      high = Math.max(high, now);
      seen = true;
    }
    if (high === 0 && !seen) continue;
    const tall = Math.max(high, 0.4) / Math.max(most, 1) * height;
    context.fillRect(MARGIN + column, top + height - tall, 1, tall);
  }
}

function drawOverview() {
  const frame = begin(canvases.overview);
  const { context, height, plot } = frame;
  context.fillStyle = colours.dim;
  context.fillText("all " + time(length), 0, height / 2 - 7);
  context.fillText("at most " + selection.total.most + " at once", 0, height / 2 + 8);
  context.globalAlpha = 0.6;
  fillSteps(frame, selection.total, 0, length, 2, height - 4);
  context.globalAlpha = 1;
  const left = MARGIN + view.from / length * plot, right = MARGIN + view.to / length * plot;
  context.fillStyle = colours.hover;
  context.fillRect(left, 0, Math.max(right - left, 3), height);
  context.strokeStyle = colours.text;
  context.strokeRect(left + 0.5, 0.5, Math.max(right - left - 1, 2), height - 1);
}

let asked = false;
function draw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    drawOverview();
    drawLanes();
    drawDepths();
    document.getElementById("range").textContent =
      time(view.from, 5) + " to " + time(view.to, 5) + ": " + count(lanesFrame.all.length, "request");
    document.body.dataset.from = view.from;
    document.body.dataset.to = view.to;
  });
}
