
"use strict";
// Steps through the events of the list: what is not computed yet is dimmed in the picture.
const all = (selector) => [...document.querySelectorAll(selector)];
const graph = document.querySelector(".nnad-graph");
const events = all(".events li");
const slider = document.querySelector("input[type=range]");
const counter = document.querySelector("output");
const buttons = Object.fromEntries(all("button").map((b) => [b.dataset.move, b]));
const forwardRows = all(".forward tbody tr, .tangent tbody tr");
const reverseRows = all(".reverse tbody tr");
const when = { forward: {}, reverse: {} };
events.forEach((event, i) => { when[event.dataset.phase][event.dataset.step] = i; });

function show(at) {
  const last = events.length - 1;
  at = Math.max(0, Math.min(last, at));
  const { phase, step } = events[at].dataset;
  const back = phase === "reverse";
  slider.value = at;
  slider.setAttribute("aria-valuetext", events[at].querySelector("strong").textContent);
  counter.textContent = `${back ? "backward" : "forward"}, ${at + 1} of ${events.length}`;
  buttons.first.disabled = buttons.back.disabled = at === 0;
  buttons.on.disabled = buttons.last.disabled = at === last;
  events.forEach((event, i) => event.classList.toggle("now", i === at));
  graph.classList.toggle("reverse", back);
  for (const box of all(".nnad-graph .step")) {
    box.classList.toggle("now", box.dataset.step === step);
    if (box.dataset.step === step) bringIntoView(box);
    box.classList.toggle("future", when.forward[box.dataset.step] > at);
    box.classList.toggle("unreached", !(when.reverse[box.dataset.step] <= at));
  }
  for (const link of all(".nnad-graph .link")) {
    const near = back ? link.dataset.from : link.dataset.to;
    link.classList.toggle("now", near === step);
    link.classList.toggle("future", when.forward[link.dataset.to] > at);
  }
  for (const [rows, times] of [[forwardRows, when.forward], [reverseRows, when.reverse]]) {
    for (const row of rows) {
      row.classList.toggle("now", times[row.dataset.step] === at);
      row.classList.toggle("future", times[row.dataset.step] > at);
    }
  }
}

// A wide picture scrolls inside its figure: the step at hand should be seen.
function bringIntoView(box) {
  const figure = document.querySelector("figure");
  const [frame, place] = [figure.getBoundingClientRect(), box.getBoundingClientRect()];
  figure.scrollLeft += place.left + place.width / 2 - frame.left - frame.width / 2;
}

const here = () => Number(slider.value);
const moves = { first: () => 0, back: () => here() - 1, on: () => here() + 1,
  last: () => events.length - 1 };
for (const [move, button] of Object.entries(buttons)) {
  button.addEventListener("click", () => show(moves[move]()));
}
slider.addEventListener("input", () => show(here()));
document.addEventListener("keydown", (key) => {
  if (key.target === slider || key.altKey || key.ctrlKey || key.metaKey) return;
  if (key.target.closest(".scroll, figure")) return;
  if (key.key === "ArrowRight") show(here() + 1);
  if (key.key === "ArrowLeft") show(here() - 1);
});
for (const box of all(".nnad-graph .step")) {
  box.addEventListener("click", () => {
    const { step } = box.dataset;
    show(graph.classList.contains("reverse") && step in when.reverse ? when.reverse[step]
      : when.forward[step]);
  });
}
document.body.classList.add("stepping");
document.querySelector(".stepper").hidden = false;
const asked = Number(location.hash.slice(1));
show(Number.isInteger(asked) ? asked : 0);
