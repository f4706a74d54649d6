"""The live page itself, which needs nothing from anywhere else."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Deep Feature Flow, live</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 1rem; background: #16181c; color: #e8e8e8; }
.sources { display: flex; flex-wrap: wrap; gap: 1rem; }
.source { flex: 1 1 30rem; max-width: 60rem; }
img { width: 100%; background: #000; display: block; }
table { width: 100%; } td { padding: .1rem .5rem; } td:nth-child(even) { text-align: right;
font-variant-numeric: tabular-nums; } canvas { width: 100%; height: 22px; display: block; }
h2 { font-size: 1rem; margin: .3rem 0; } .lost { color: #ff9b6a; }
label { display: block; margin: 1rem 0; } input { width: 20rem; vertical-align: middle; }
</style></head><body>
<label>Key duration <input id="slider" type="range" min="1" max="30" value="5">
<output id="duration">5</output></label>
<div class="sources" id="sources"></div>
<script>
const query = location.search, rows = [["fps_in", "frames per second in"],
  ["fps_out", "out"], ["dropped", "dropped"], ["latency_p50", "latency, median, ms"],
  ["latency_p95", "95 %"], ["latency_max", "largest"]];
const slider = document.getElementById("slider"), shown = document.getElementById("duration");
let moving = false;
slider.oninput = () => { moving = true; shown.value = slider.value; };
slider.onchange = async () => {
  await fetch("/key_duration" + query, {method: "POST", body: slider.value}); moving = false; };
function add(name, i) {
  const box = document.createElement("div"); box.className = "source";
  const title = document.createElement("h2"); title.textContent = name;
  const image = document.createElement("img");
  image.src = "/stream?source=" + i + (query ? "&" + query.slice(1) : "");
  const line = document.createElement("canvas"); line.width = 500; line.height = 22;
  const table = document.createElement("table"), body = table.insertRow();
  for (const [key, words] of rows) {
    body.insertCell().textContent = words; body.insertCell().dataset.key = key; }
  const state = document.createElement("div"); state.className = "lost";
  box.append(title, image, line, table, state); document.getElementById("sources").append(box);
  return {line, table, state};
}
const boxes = [];
async function update() {
  try {
    const found = await (await fetch("/figures" + query)).json();
    found.sources.forEach((source, i) => {
      if (!boxes[i]) boxes[i] = add(source.name, i);
      for (const cell of boxes[i].table.querySelectorAll("[data-key]"))
        cell.textContent = source[cell.dataset.key];
      boxes[i].state.textContent = source.said;
      const pen = boxes[i].line.getContext("2d");
      pen.fillStyle = "#33373d"; pen.fillRect(0, 0, 500, 22); pen.fillStyle = "#7fc8ff";
      [...source.keys].forEach((key, x) => { if (key === "1") pen.fillRect(x, 0, 2, 22); });
    });
    if (!moving) { slider.value = found.key_duration; shown.value = found.key_duration; }
  } catch (error) { for (const box of boxes) box.state.textContent = "the program has ended"; }
}
update(); setInterval(update, 1000);
</script></body></html>
"""
