"""The live page itself, which needs nothing from anywhere else."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Deep Feature Flow, live</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 1rem; background: #16181c; color: #e8e8e8; }
.sources { display: flex; flex-wrap: wrap; gap: 1rem; }
.source { flex: 1 1 30rem; min-width: 0; max-width: 60rem; }
img { width: 100%; max-height: 70vh; object-fit: contain; background: #000; display: block; }
.figures { display: flex; flex-wrap: wrap; gap: 0 1.5rem; }
.figures b { display: inline-block; min-width: 3rem; text-align: right; font-weight: normal;
font-variant-numeric: tabular-nums; } canvas { width: 100%; height: 22px; display: block; }
h2 { font-size: 1rem; margin: .3rem 0; overflow-wrap: anywhere; } .lost { color: #ff9b6a; }
small { color: #9aa0a8; } label { display: block; margin: .5rem 0; }
input { width: min(20rem, 55vw); vertical-align: middle; }
</style></head><body>
<label>Key duration <input id="slider" type="range" min="1" max="30" value="5">
<output id="duration">5</output></label>
<div class="sources" id="sources"></div>
<script>
const query = location.search, rows = [["fps_in", "frames per second in"],
  ["fps_out", "frames per second out"], ["dropped", "dropped"],
  ["latency_p50", "latency in ms, median"], ["latency_p95", "95 %"], ["latency_max", "largest"]];
const slider = document.getElementById("slider"), shown = document.getElementById("duration");
const STREAMS = 4;  // a browser opens six connections to a server, and figures need one
let moving = false, gone = false;
slider.oninput = () => { moving = true; shown.value = slider.value; };
slider.onchange = async () => {
  await fetch("/key_duration" + query, {method: "POST", body: slider.value}); moving = false; };
function add(name, i) {
  const box = document.createElement("div"); box.className = "source";
  const title = document.createElement("h2"); title.textContent = name;
  const image = document.createElement("img");
  image.alt = "what was found";
  if (i < STREAMS) image.src = picture("stream", i);
  const line = document.createElement("canvas"); line.width = 500; line.height = 22;
  const legend = document.createElement("small");
  legend.textContent = "key frames among the last 500, the newest at the right";
  const table = document.createElement("div"); table.className = "figures";
  for (const [key, words] of rows) {
    const figure = document.createElement("span"), value = document.createElement("b");
    value.dataset.key = key; figure.append(words + " ", value); table.append(figure); }
  const state = document.createElement("div"); state.className = "lost";
  box.append(title, image, line, legend, table, state);
  document.getElementById("sources").append(box);
  return {image, line, table, state};
}
function picture(kind, i, more = "") {
  return "/" + kind + "?source=" + i + more + (query ? "&" + query.slice(1) : ""); }
const boxes = [];
async function update() {
  try {
    const answer = await fetch("/figures" + query);
    if (gone) location.reload();
    if (!answer.ok) return;
    const found = await answer.json();
    found.sources.forEach((source, i) => {
      if (!boxes[i]) boxes[i] = add(source.name, i);
      for (const cell of boxes[i].table.querySelectorAll("[data-key]"))
        cell.textContent = source[cell.dataset.key];
      boxes[i].state.textContent = source.said;
      if (i >= STREAMS && source.frames)
        boxes[i].image.src = picture("still", i, "&t=" + Date.now());
      const pen = boxes[i].line.getContext("2d");
      pen.fillStyle = "#33373d"; pen.fillRect(0, 0, 500, 22); pen.fillStyle = "#7fc8ff";
      const first = 500 - source.keys.length;
      [...source.keys].forEach((key, x) => { if (key === "1") pen.fillRect(first + x, 0, 1, 22); });
    });
    if (!moving) { slider.value = found.key_duration; shown.value = found.key_duration; }
  } catch (error) {
    gone = true;
    for (const box of boxes) box.state.textContent = "the program has ended";
  }
}
update(); setInterval(update, 1000);
</script></body></html>
"""
