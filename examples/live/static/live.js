"use strict";

const $ = (selector) => document.querySelector(selector);
const LONGEST_WAIT = 8000;

function show(link, state, text = state) {
  link.dataset.state = state;
  link.querySelector("i").textContent = text;
}

/* Opens a connection again whenever it ends: soon at first, then at longer and longer intervals. */
function keepOpen(link, open) {
  let wait = 250;
  const connect = () => {
    open({
      opened() {
        wait = 250;
        show(link, "connected");
      },
      ended() {
        // Not all guests at the same moment.
        const pause = wait * (0.75 + Math.random() / 2);
        wait = Math.min(wait * 2, LONGEST_WAIT);
        show(link, "waiting", "reconnecting");
        setTimeout(connect, pause);
      },
    });
  };
  connect();
}

/* Down: what happens in the room. */

let opening = null;
const seen = new Set();

function showBoard(board) {
  if (opening !== null && opening !== board.opening) {
    // The server has begun anew, and so have its numbers.
    seen.clear();
    $("#lines").replaceChildren();
  }
  opening = board.opening;
  if (Number($("#cheers").value) < board.cheers) {
    $(".board").classList.remove("raised");
    void $(".board").offsetWidth;
    $(".board").classList.add("raised");
  }
  $("#cheers").value = board.cheers;
  $("#guests").value = board.guests === 1 ? "One guest" : `${board.guests} guests`;
}

function showLine({ number, name, text }) {
  if (seen.has(number)) return;
  seen.add(number);
  const item = document.createElement("li");
  const who = document.createElement("b");
  who.textContent = name;
  item.append(who, text);
  const list = $("#lines");
  list.append(item);
  list.scrollTop = list.scrollHeight;
}

const eventsLink = $("#events-link");
keepOpen(eventsLink, ({ opened, ended }) => {
  const events = new EventSource(document.body.dataset.events);
  events.onopen = opened;
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) {
      // After an answer that is no event stream, such as a proxy's error page, the browser gives up.
      ended();
    } else {
      // It tries again by itself, and tells the server which event was the last.
      show(eventsLink, "waiting", "reconnecting");
    }
  };
  events.addEventListener("board", (event) => showBoard(JSON.parse(event.data)));
  events.addEventListener("line", (event) => showLine(JSON.parse(event.data)));
});

/* Up: what this guest does. */

let bar = null;
let orders = 0;
const waiting = new Map();

function order(what, done) {
  orders += 1;
  waiting.set(orders, done);
  bar.send(JSON.stringify({ ...what, order: orders }));
}

function allow(yes) {
  for (const button of document.querySelectorAll("button")) button.disabled = !yes;
}

keepOpen($("#bar-link"), ({ opened, ended }) => {
  const url = new URL(document.body.dataset.bar, location.href);
  url.protocol = location.protocol.replace("http", "ws");
  bar = new WebSocket(url);
  bar.onopen = () => {
    allow(true);
    opened();
  };
  bar.onmessage = (event) => {
    const answer = JSON.parse(event.data);
    waiting.get(answer.done)?.(answer);
    waiting.delete(answer.done);
  };
  bar.onclose = () => {
    waiting.clear();
    allow(false);
    ended();
  };
});

$("#raise").addEventListener("click", () => order({ cheers: true }, () => {}));
$("#say").addEventListener("submit", (event) => {
  event.preventDefault();
  const { name, text } = event.target.elements;
  // The line stays in its field until the bar has confirmed it.
  order({ say: text.value, name: name.value }, () => {
    text.value = "";
    text.focus();
  });
});
