// SPDX-License-Identifier: GPL-2.0
// What was recorded, and what is selected of it. Times are microseconds since the beginning.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const length = Math.max(data.length, 1);

const PLACES = {
  none: "nowhere",
  gate: "held back: INIT is not answered yet, or too many background requests",
  background: "background: not yet offered to the daemon (max_background)",
  pending: "pending: waits for the daemon to read it",
  handed: "handed: given to a thread of the daemon that wakes",
  reading: "reading: being copied to the daemon",
  processing: "processing: the daemon has it and has not answered",
  writing: "writing: its reply is being copied",
  aborting: "aborting: about to end with an error",
  ended: "ended: its caller has not come for it yet",
};

const ERRNOS = {
  1: "EPERM", 2: "ENOENT", 4: "EINTR", 5: "EIO", 6: "ENXIO", 11: "EAGAIN", 12: "ENOMEM", 13: "EACCES", 16: "EBUSY",
  17: "EEXIST", 18: "EXDEV", 19: "ENODEV", 20: "ENOTDIR", 21: "EISDIR", 22: "EINVAL", 26: "ETXTBSY", 27: "EFBIG",
  28: "ENOSPC", 30: "EROFS", 34: "ERANGE", 36: "ENAMETOOLONG", 38: "ENOSYS", 39: "ENOTEMPTY", 61: "ENODATA",
  95: "EOPNOTSUPP", 103: "ECONNABORTED", 107: "ENOTCONN", 110: "ETIMEDOUT", 116: "ESTALE", 122: "EDQUOT",
};

const requests = data.requests.map((row) => {
  const [connection, unique, opcode, task, nodeid, error, end, before, flat, len, interrupts] = row;
  const stays = [];
  for (let at = 0; at < flat.length; at += 2) {
    const to = at + 3 < flat.length ? flat[at + 3] : end === null ? length : end;
    stays.push({ place: flat[at], from: flat[at + 1], to: Math.max(to, flat[at + 1]) });
  }
  const request = {
    connection, unique, nodeid, error, stays, len, interrupts,
    opcode: data.opcodes[opcode],
    who: data.tasks[task],
    path: nodeid === null ? undefined : data.paths[connection + ":" + nodeid],
    began: stays[0].from,
    // Of what has not ended, that is the end of the recording.
    end: stays[stays.length - 1].to,
    before: before === 1,
    unfinished: end === null,
  };
  request.took = request.end - request.began;
  request.main = stays.reduce((most, stay) => (stay.to - stay.from > most.to - most.from ? stay : most)).place;
  request.text = [request.opcode, request.who, request.path, "node " + nodeid].join(" ").toLowerCase();
  return request;
});

// What is selected: the connection, the text, the opcode.
const selection = { connection: "", text: "", opcode: "", requests, depths: [], most: [] };

function select() {
  const { connection, text, opcode } = selection;
  const wanted = text.trim().toLowerCase();
  selection.unfiltered = requests.filter((request) =>
    (connection === "" || request.connection === Number(connection)) && request.text.includes(wanted));
  selection.requests = opcode === "" ? selection.unfiltered
    : selection.unfiltered.filter((request) => request.opcode === opcode);
  selection.depths = data.places.map((_, place) => depth(place));
  selection.total = steps(selection.requests.flatMap((request) => [[request.began, 1], [request.end, -1]]));
}

// The forgets that were read, of what is selected: when, how many in one message, and its length.
function forgets() {
  return data.forgets.filter(([connection]) => selection.connection === "" || connection === Number(selection.connection))
    .map(([, at, count, len]) => ({ at, count, len }));
}

// How many are in a place, over time: where it changes, and to what.
function depth(place) {
  const changes = [];
  for (const request of selection.requests) {
    for (const stay of request.stays) {
      if (stay.place === place) {
        changes.push([stay.from, 1], [stay.to, -1]);
      }
    }
  }
  return steps(changes);
}

function steps(changes) {
  // What leaves goes before what comes: moving on does not make two of it.
  changes.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const times = [], counts = [];
  let now = 0, most = 0;
  for (const [at, change] of changes) {
    now += change;
    most = Math.max(most, now);
    times.push(at);
    counts.push(now);
  }
  // Too short to be seen between two microseconds, but it was there.
  return { times, counts, most: Math.max(most, changes.length > 0 ? 1 : 0) };
}

// The last of `times` that is not after `at`; -1 if none is.
function last(times, at) {
  let low = 0, high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= at) low = middle + 1; else high = middle;
  }
  return low - 1;
}

// How long, or when: three digits and a unit.
function time(us, digits = 3) {
  const size = Math.abs(us);
  const [value, unit] = size < 1000 ? [us, "µs"] : size < 1e6 ? [us / 1e3, "ms"] : [us / 1e6, "s"];
  if (unit === "µs") return Math.round(value) + " µs";
  return Number(value.toPrecision(Math.max(digits, Math.ceil(Math.log10(Math.abs(value) + 1))))) + " " + unit;
}

const percent = (part) => (part > 0 && part < 0.01 ? "< 1 %" : Math.round(part * 100) + " %");

function count(number, what) {
  return number.toLocaleString("en") + " " + what + (number === 1 ? "" : "s");
}

// The shares of a number of requests' time that they spent in each place.
function shares(some) {
  const sums = data.places.map(() => 0);
  for (const request of some) {
    for (const stay of request.stays) sums[stay.place] += stay.to - stay.from;
  }
  const all = sums.reduce((a, b) => a + b, 0);
  return sums.map((sum, place) => ({ place, sum, part: all === 0 ? 0 : sum / all })).filter((share) => share.sum > 0);
}

function bucket(us) {
  return us < 1 ? 0 : Math.floor(Math.log2(us)) + 1;
}

// By opcode: figures, and how many took less than 1, 2, 4, 8... µs.
function histograms(some) {
  const groups = new Map();
  for (const request of some) {
    if (!groups.has(request.opcode)) groups.set(request.opcode, []);
    groups.get(request.opcode).push(request);
  }
  return [...groups].map(([opcode, all]) => {
    const ended = all.filter((request) => !request.unfinished && !request.before);
    const times = ended.map((request) => request.took).sort((a, b) => a - b);
    const buckets = [];
    for (const us of times) buckets[bucket(us)] = (buckets[bucket(us)] || 0) + 1;
    const sum = times.reduce((a, b) => a + b, 0);
    const at = (part) => times[Math.min(times.length - 1, Math.floor(times.length * part))];
    return {
      opcode, all, buckets, sum,
      errors: all.filter((request) => request.error).length,
      unfinished: all.length - ended.length,
      mean: sum / times.length, median: at(0.5), high: at(0.99), max: times[times.length - 1], count: times.length,
    };
  }).sort((a, b) => b.sum - a.sum || b.all.length - a.all.length);
}
