"use strict";

// Everything is in the page without this script; it sorts, switches, copies and marks where a clip is playing.

const say = (text) => { document.getElementById("status").textContent = text; };

// ---- light and dark ----

const theme = document.getElementById("theme");
const dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
const named = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
theme.hidden = false;
named();
dark.addEventListener("change", named);
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  named();
});

// ---- sorting ----

const sortKey = (row, column) => row.cells[column].dataset.value;

function compareKeys(a, b, numeric) {
  if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
  return numeric ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true });
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const table = heading.closest("table");
    const column = heading.cellIndex;
    const rising = heading.getAttribute("aria-sort") !== "ascending";
    const rows = [...table.tBodies[0].rows];
    const numeric = rows.every((row) => sortKey(row, column) === undefined || sortKey(row, column).trim() !== "" && !Number.isNaN(Number(sortKey(row, column))));
    const missing = (row) => sortKey(row, column) === undefined;
    rows.sort((a, b) => {
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      const order = compareKeys(sortKey(a, column), sortKey(b, column), numeric);
      return rising ? order : -order;
    });
    for (const other of heading.parentElement.cells) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    table.tBodies[0].append(...rows);
    say(`sorted by ${button.textContent}, ${rising ? "ascending" : "descending"}`);
  });
}

// ---- tabs ----

for (const list of document.querySelectorAll("[role=tablist]")) {
  const tabs = [...list.querySelectorAll("[role=tab]")];
  const show = (chosen) => {
    for (const tab of tabs) {
      const on = tab === chosen;
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !on;
    }
  };
  tabs.forEach((tab, at) => {
    tab.addEventListener("click", () => show(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(at + step + tabs.length) % tabs.length];
      show(next);
      next.focus();
      event.preventDefault();
    });
  });
}

// ---- clips ----

const cards = [...document.querySelectorAll("[data-places]")];
const groups = new Map([...document.querySelectorAll("[data-group]")].map((each) => [each.dataset.group, each]));
const rankings = [...document.querySelectorAll("[data-ranking]")];

for (const button of rankings) {
  button.addEventListener("click", () => {
    for (const other of rankings) other.setAttribute("aria-pressed", String(other === button));
    const placed = [];
    for (const card of cards) {
      const place = card.dataset.places.split(" ").map((each) => each.split("-")).find((each) => each[0] === button.dataset.ranking);
      if (place) placed.push([Number(place[2]), place[1], card]);
      else groups.get("other").append(card);
    }
    placed.sort((a, b) => a[0] - b[0]);
    for (const [, group, card] of placed) groups.get(group).append(card);
    say(`clips ranked by ${button.textContent}`);
  });
}

for (const audio of document.querySelectorAll("audio")) {
  const picture = audio.parentElement.querySelector(".spectrogram");
  const head = picture.querySelector(".playhead");
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
  });
  audio.addEventListener("timeupdate", () => {
    const at = `${100 * audio.currentTime / (audio.duration || 1)}%`;
    head.setAttribute("x1", at);
    head.setAttribute("x2", at);
    picture.classList.add("heard");
  });
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    if (audio.duration) audio.currentTime = audio.duration * (event.clientX - box.left) / box.width;
    audio.play();
  });
}

// ---- copying ----

// Where a page from a file may not use the clipboard, its text is selected and copied the old way.
async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}

for (const button of document.querySelectorAll("[data-copy]")) {
  const name = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    button.textContent = (await copy(document.getElementById(button.dataset.copy))) ? "Copied" : "Press Ctrl+C";
    say(button.textContent);
    setTimeout(() => { button.textContent = name; }, 2000);
  });
}
