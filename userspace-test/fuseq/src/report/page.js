// SPDX-License-Identifier: GPL-2.0
// What a person can do with the page.

const element = (id) => document.getElementById(id);

function make(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "style") made.style.cssText = value; else made[key] = value;
  }
  made.append(...children);
  return made;
}

const chip = (place) => make("span", { className: "chip", style: "background:var(--" + data.places[place] + ")" });

function show(from, to) {
  const least = 20;
  const size = Math.min(Math.max(to - from, least), length);
  from = Math.min(Math.max(from, 0), length - size);
  view.from = Math.max(from, 0);
  view.to = view.from + size;
  draw();
}

function zoom(factor, at = (view.from + view.to) / 2) {
  show(at - (at - view.from) * factor, at + (view.to - at) * factor);
}

const move = (part) => show(view.from + (view.to - view.from) * part, view.to + (view.to - view.from) * part);

function fit() {
  view.lane = 0;
  view.top = 0;
  show(0, length);
}

// The canvases' margins are all alike.
const plotOf = (canvas) => Math.max(canvas.clientWidth - MARGIN, 1);
const timeAt = (event) => {
  const at = when(event.offsetX, plotOf(event.currentTarget));
  return Math.min(Math.max(at, view.from), view.to);
};

function laneAt(event) {
  if (!lanesFrame || event.offsetY < AXIS) return undefined;
  return lanesFrame.all[Math.floor((event.offsetY - AXIS + view.top) / lanesFrame.lane)];
}

function tell(request, event) {
  const tip = element("tip");
  if (!request) {
    tip.hidden = true;
    return;
  }
  const rows = [];
  const row = (name, value) => rows.push(make("tr", {}, make("td", {}, name), make("td", { colSpan: 2 }, value)));
  if (request.path) row("file", request.path);
  if (request.nodeid !== null) row("node", request.nodeid + (request.nodeid === "1" ? " (the root)" : ""));
  const connection = data.connections.find((each) => each.number === request.connection) || {};
  row("connection", request.connection + " " + (connection.mount || ""));
  row("unique", request.unique);
  row("began at", (request.before ? "before the recording" : time(request.began, 7)));
  if (request.error !== null) row("result", request.error === 0 ? "success" : ERRNOS[-request.error] || request.error);
  if (request.len !== null) row("length", count(request.len, "byte"));
  for (const [at, step] of request.interrupts) row("interrupt", step + " at " + time(at, 7));
  for (const stay of request.stays) {
    const part = request.took === 0 ? "" : " · " + percent((stay.to - stay.from) / request.took);
    rows.push(make("tr", {}, make("td", {}, chip(stay.place), " " + data.places[stay.place]),
      make("td", { className: "number" }, time(stay.to - stay.from) + part), make("td", {}, "")));
  }
  const took = (request.before ? "at least " : "") + time(request.took) + (request.unfinished ? ", and not ended" : "");
  showTip(event, make("b", {}, request.opcode), " by " + request.who + " · " + took,
    make("table", {}, make("tbody", {}, ...rows)));
}

function showTip(event, ...children) {
  const tip = element("tip");
  tip.replaceChildren(...children);
  tip.hidden = false;
  const left = event.clientX + 18, top = event.clientY + 14;
  tip.style.left = Math.max(Math.min(left, innerWidth - tip.offsetWidth - 8), 4) + "px";
  tip.style.top = Math.max(top + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 12 : top, 4) + "px";
}

// The forgets that a daemon has read near a place in the picture.
function tellForgets(event) {
  const near = 3 / plotOf(event.currentTarget) * (view.to - view.from), at = timeAt(event);
  const read = forgets().filter((batch) => Math.abs(batch.at - at) <= near);
  if (read.length === 0) return tell();
  const row = (batch) => make("tr", {}, ...[time(batch.at, 7), count(batch.count, "forget"), count(batch.len, "byte")]
    .map((text) => make("td", { className: "number" }, text)));
  const more = read.length > 12 ? "and " + (read.length - 12) + " more" : "";
  showTip(event, make("b", {}, "forgets"), " read in " + count(read.length, "message"),
    make("table", {}, make("tbody", {}, ...read.slice(0, 12).map(row))), more);
}

function watch(canvas) {
  let drag = null;
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    // With Shift, browsers turn the wheel sideways.
    const turned = event.deltaY || event.deltaX;
    if (event.shiftKey && canvas === canvases.lanes) {
      const before = lanesFrame.lane;
      const middle = (view.top + event.offsetY - AXIS) / before;
      view.lane = Math.min(Math.max(before * 1.0015 ** -turned, 0.05), TALLEST);
      view.top = middle * laneHeight(lanesFrame.all.length, canvas.clientHeight) - event.offsetY + AXIS;
      draw();
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      move(event.deltaX / 1000);
    } else {
      zoom(1.0015 ** turned, timeAt(event));
    }
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, y: event.clientY, from: view.from, to: view.to, top: view.top };
    canvas.setPointerCapture(event.pointerId);
    canvas.classList.add("dragged");
  });
  canvas.addEventListener("pointermove", (event) => {
    view.pointer = timeAt(event);
    if (drag) {
      const by = (drag.x - event.clientX) / plotOf(canvas) * (drag.to - drag.from);
      view.top = drag.top + drag.y - event.clientY;
      show(drag.from + by, drag.to + by);
    }
    view.request = canvas === canvases.lanes ? laneAt(event) : undefined;
    if (canvas === canvases.depths) tellForgets(event); else tell(view.request, event);
    draw();
  });
  const end = () => {
    drag = null;
    canvas.classList.remove("dragged");
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("pointerleave", () => {
    view.pointer = null;
    view.request = undefined;
    tell();
    draw();
  });
  canvas.addEventListener("dblclick", fit);
}

function watchOverview() {
  const canvas = canvases.overview;
  const go = (event) => {
    const at = (event.offsetX - MARGIN) / plotOf(canvas) * length, half = (view.to - view.from) / 2;
    show(at - half, at + half);
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    go(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons > 0) go(event);
  });
  canvas.addEventListener("dblclick", fit);
}

function fillLegend() {
  element("legend").replaceChildren(...strips().map(({ name, place }) => make("button", {
    title: PLACES[name] + " (click: dim the others)",
    className: view.place >= 0 && view.place !== place ? "off" : "",
    onclick: () => {
      view.place = view.place === place ? -1 : place;
      fillLegend();
      draw();
    },
  }, chip(place), name)));
}

function shareBar(some) {
  const bar = make("div", { className: "share" });
  for (const { place, part, sum } of shares(some)) {
    bar.append(make("span", {
      style: "width:" + part * 100 + "%;background:var(--" + data.places[place] + ")",
      title: data.places[place] + ": " + percent(part) + ", " + time(sum),
    }));
  }
  return bar;
}

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Bars on one scale of time for all opcodes, so that they can be compared.
function histogram({ buckets }, first, end) {
  const width = 330, base = 66, most = Math.max(...buckets.filter(Boolean), 1), step = width / (end - first);
  const drawn = svg("svg", { viewBox: "0 0 " + width + " 84", preserveAspectRatio: "none" });
  const least = (number) => (number === 0 ? 0 : 2 ** (number - 1));
  for (let number = first; number < end; number++) {
    const size = buckets[number] || 0, tall = size === 0 ? 0 : Math.max(size / most * 58, 1.5);
    const label = time(least(number)) + " to " + time(2 ** number) + ": " + count(size, "request");
    const left = (number - first) * step;
    drawn.append(svg("rect", { x: left + 0.5, y: base - tall, width: step - 1, height: tall, fill: "var(--processing)" }));
    // The whole column can be pointed at.
    drawn.append(svg("rect", { x: left, y: 0, width: step, height: base, fill: "transparent" }, svg("title", {}, label)));
  }
  drawn.append(svg("rect", { x: 0, y: base, width, height: 1, fill: "var(--line)" }));
  const every = Math.ceil((end - first) / 7);
  // The last one would not fit.
  for (let number = first; number < end - 1; number += every) {
    drawn.append(svg("text", { x: (number - first) * step, y: 80, "font-size": 10.5, fill: "var(--dim)" }, time(least(number))));
  }
  return drawn;
}

function fillOpcodes() {
  const all = histograms(selection.unfiltered);
  const used = all.flatMap(({ buckets }) => Object.keys(buckets).map(Number));
  const first = Math.max(Math.min(...used, 12) - 1, 0), end = Math.max(...used, first + 6) + 2;
  element("opcodes").replaceChildren(...all.map((group) => {
    const figure = (name, value) => make("span", {}, name + " ", make("i", {}, value));
    const figures = make("div", { className: "figures" });
    if (group.count > 0) {
      figures.append(figure("mean", time(group.mean)), figure("median", time(group.median)),
        figure("99 %", time(group.high)), figure("max", time(group.max)));
    }
    if (group.unfinished > 0) figures.append(figure("not seen whole", group.unfinished));
    if (group.errors > 0) figures.append(figure("errors", group.errors));
    return make("div", {
      className: "opcode" + (selection.opcode === group.opcode ? " chosen" : ""),
      onclick: () => {
        selection.opcode = selection.opcode === group.opcode ? "" : group.opcode;
        refresh();
      },
    }, make("b", {}, group.opcode), " " + group.all.length.toLocaleString("en") + " ×", figures,
    histogram(group, first, end), shareBar(group.all));
  }));
}

function fillSlowest() {
  const slowest = [...selection.requests].sort((a, b) => b.took - a.took).slice(0, 20);
  element("slowest").tBodies[0].replaceChildren(...slowest.map((request) => make("tr", {
    onclick: () => {
      const room = Math.max(request.took * 0.6, 20);
      show(request.began - room, request.end + room);
      canvases.lanes.scrollIntoView({ block: "center", behavior: "smooth" });
    },
  },
  ...[time(request.took) + (request.unfinished ? ", not ended" : ""), request.opcode, request.who,
    request.path || (request.nodeid === null ? "" : "node " + request.nodeid),
    request.before ? "before" : time(request.began, 6)].map((text) => make("td", {}, text)),
  make("td", {}, shareBar([request])))));
}

function refresh() {
  select();
  fillLegend();
  fillOpcodes();
  fillSlowest();
  draw();
}

function start() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = (name) => {
    document.documentElement.dataset.theme = name;
    readColours();
    draw();
  };
  theme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
  element("theme").onclick = () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");

  const unfinished = requests.filter((request) => request.unfinished).length;
  const callers = new Set(requests.map((request) => request.who)).size;
  element("summary").textContent = [
    count(requests.length, "request"), "by " + count(callers, "caller"), "in " + time(length, 4),
    ...(unfinished > 0 ? [unfinished.toLocaleString("en") + " of them not ended"] : []),
    ...(data.forgets.length > 0 ? ["and " + count(data.forgets.reduce((sum, [, , each]) => sum + each, 0), "forget") +
      " in " + count(data.forgets.length, "message")] : []),
  ].join(", ");
  for (const [id, text] of [
    ["note", data.note],
    ["lost", data.lost > 0 ? "The kernel's buffer was too small: " + count(data.lost, "event") +
      " or more are missing, and with them parts of some requests. Record with a larger --buffer." : ""],
  ]) {
    element(id).textContent = text;
    element(id).hidden = text === "";
  }
  element("connection").append(make("option", { value: "" }, "all connections"),
    ...data.connections.map(({ number, mount }) => make("option", { value: number }, number + " " + mount)));
  element("connection").hidden = data.connections.length < 2;
  element("connection").onchange = (event) => {
    selection.connection = event.target.value;
    refresh();
  };
  element("search").oninput = (event) => {
    selection.text = event.target.value;
    refresh();
  };
  element("in").onclick = () => zoom(0.5);
  element("out").onclick = () => zoom(2);
  element("fit").onclick = fit;
  watch(canvases.lanes);
  watch(canvases.depths);
  watchOverview();
  addEventListener("resize", draw);
  addEventListener("keydown", (event) => {
    const keys = {
      "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": fit,
      ArrowLeft: () => move(-0.2), ArrowRight: () => move(0.2),
    };
    if (!keys[event.key] || event.target.matches("input, select") || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  refresh();
}

start();
