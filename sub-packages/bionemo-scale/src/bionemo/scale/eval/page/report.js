// SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
// SPDX-License-Identifier: Apache-2.0
"use strict";

// Okabe-Ito colours, which differ for every kind of colour vision; markers differ too.
const LOOK = {
  control: { color: "#999999", symbol: "circle-open", name: "control" },
  observed: { color: "#0072B2", symbol: "circle", name: "observed" },
  predicted: { color: "#D55E00", symbol: "x-thin-open", name: "predicted" },
};
const LINES = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];
const DATA = JSON.parse(document.getElementById("data").textContent);
const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
const SIGNIFICANT = -Math.log10(0.05);
const LABELLED = 8;

const element = (id) => document.getElementById(id);
const clean = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function decode(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

function layout(x, y, more) {
  const axis = (title) => ({ title: { text: title, standoff: 8 }, zeroline: true, zerolinecolor: "#bbb", gridcolor: "#eee", automargin: true });
  return Object.assign(
    {
      xaxis: axis(x),
      yaxis: axis(y),
      margin: { l: 60, r: 15, t: 32, b: 62 },
      font: { family: "system-ui, sans-serif", size: 13, color: "#222" },
      hovermode: "closest",
      legend: { orientation: "h", y: 1.08, x: 0 },
      paper_bgcolor: "#fff",
      plot_bgcolor: "#fff",
    },
    more || {},
  );
}

function fill(select, values, texts) {
  select.replaceChildren(
    ...values.map((value, row) => {
      const option = document.createElement("option");
      option.value = value;
      option.textContent = texts ? texts[row] : value;
      return option;
    }),
  );
}

function say(id, text) {
  const place = element(id);
  place.replaceChildren();
  const note = document.createElement("p");
  note.className = "empty";
  note.textContent = text;
  place.append(note);
}

function diagonal(values) {
  const finite = values.filter(Number.isFinite);
  const ends = finite.length ? [Math.min(...finite), Math.max(...finite)] : [0, 1];
  return { x: ends, y: ends, mode: "lines", line: { color: "#999", dash: "dash", width: 1 }, hoverinfo: "skip", showlegend: false };
}

function drawCurves() {
  const curves = DATA.curves;
  const names = Object.keys(curves).filter((name) => name !== "step");
  if (!curves.step || !curves.step.length) {
    say("curves", "No metrics.csv of a training run was found.");
    element("curve-metric").parentElement.hidden = true;
    return;
  }
  const plain = names.filter((name) => !name.startsWith("val_") && curves[name].some((value) => value !== null));
  fill(element("curve-metric"), plain);
  const draw = () => {
    const name = element("curve-metric").value;
    const traces = [name, "val_" + name]
      .filter((key) => curves[key])
      .map((key, row) => {
        const kept = curves.step.map((step, at) => [step, curves[key][at]]).filter((pair) => pair[1] !== null);
        return {
          x: kept.map((pair) => pair[0]),
          y: kept.map((pair) => pair[1]),
          name: row ? "validation" : "training",
          mode: row ? "lines+markers" : "lines",
          line: { color: LINES[row], dash: row ? "dash" : "solid" },
        };
      })
      .filter((trace) => trace.x.length);
    const positive = traces.every((trace) => trace.y.every((value) => value > 0));
    const drawn = layout("step", name);
    drawn.yaxis.type = positive && name.includes("loss") ? "log" : "linear";
    Plotly.react("curves", traces, drawn, CONFIG);
  };
  element("curve-metric").onchange = draw;
  draw();
}

function drawPairs() {
  const choices = ["pair-metric", "pair-model", "pair-baseline"].map(element);
  const shown = DATA.metrics.map((metric) => metric.column);
  fill(choices[0], shown, DATA.metrics.map((metric) => metric.title));
  fill(choices[1], DATA.models);
  const others = [...DATA.baselines, ...DATA.models.slice(1)];
  fill(choices[2], others.length ? others : DATA.models);
  if (others.includes("additive")) choices[2].value = "additive";
  const draw = () => {
    const column = shown.indexOf(choices[0].value);
    const score = (model) =>
      new Map(DATA.pairs.filter((pair) => pair.model === model).map((pair) => [pair.context + "\n" + pair.perturbation, pair]));
    const mine = score(choices[1].value);
    const theirs = score(choices[2].value);
    const both = [...mine.keys()].filter(
      (key) => theirs.has(key) && mine.get(key).scores[column] !== null && theirs.get(key).scores[column] !== null,
    );
    element("pair-count").textContent = both.length + " of " + mine.size + " pairs have a value on both axes";
    const x = both.map((key) => theirs.get(key).scores[column]);
    const y = both.map((key) => mine.get(key).scores[column]);
    const points = {
      x,
      y,
      mode: "markers",
      marker: { color: LOOK.observed.color, size: 9, opacity: 0.75, line: { color: "#fff", width: 1 } },
      text: both.map((key) => {
        const pair = mine.get(key);
        return clean(pair.perturbation) + "<br>" + clean(pair.context) + "<br>" + pair.cells_real + " real cells";
      }),
      customdata: both.map((key) => key.split("\n")),
      hovertemplate: "<b>%{text}</b><br>x %{x:.4g}, y %{y:.4g}<extra></extra>",
      showlegend: false,
    };
    const titles = [choices[2].value, choices[1].value].map((name) => clean(name) + ": " + clean(DATA.metrics[column].title));
    Plotly.react("pairs", [diagonal([...x, ...y]), points], layout(titles[0], titles[1]), CONFIG).then((plot) => {
      plot.removeAllListeners("plotly_click");
      plot.on("plotly_click", (event) => {
        const data = event.points[0].customdata;
        if (data) choosePair(data[0], data[1]);
      });
    });
  };
  choices.forEach((choice) => (choice.onchange = draw));
  draw();
}

let entries = [];

function choosePair(context, perturbation) {
  const model = element("gene-model").value;
  const at = entries.findIndex((entry) => entry.context === context && entry.perturbation === perturbation);
  if (at < 0) return;
  element("gene-pair").value = String(at);
  drawChosen(model);
  element("chosen").scrollIntoView({ behavior: "smooth" });
}

function fillPairs() {
  const model = element("gene-model").value;
  entries = DATA.genes.entries.filter((entry) => entry.model === model);
  fill(
    element("gene-pair"),
    entries.map((entry, row) => String(row)),
    entries.map((entry) => entry.perturbation + " | " + entry.context),
  );
}

function chosenGenes() {
  const entry = entries[Number(element("gene-pair").value)];
  const values = {};
  for (const key of ["real", "pred", "logp_real", "logp_pred"]) values[key] = Array.from(decode(entry[key]));
  values.names = entry.gene.map((row) => DATA.genes.names[row]);
  return { entry, values };
}

function strongest(values, count) {
  return [...values.keys()].sort((a, b) => Math.abs(values[b]) - Math.abs(values[a])).slice(0, count);
}

function drawChange(values) {
  const top = new Set(strongest(values.real, LABELLED));
  const group = (keep, look, text) => {
    const rows = [...values.real.keys()].filter(keep);
    return {
      x: rows.map((row) => values.real[row]),
      y: rows.map((row) => values.pred[row]),
      text: rows.map((row) => clean(values.names[row])),
      mode: text ? "markers+text" : "markers",
      textposition: "top center",
      textfont: { size: 11 },
      marker: look,
      hovertemplate: "<b>%{text}</b><br>observed %{x:.3f}, predicted %{y:.3f}<extra></extra>",
      showlegend: false,
    };
  };
  const traces = [
    diagonal([...values.real, ...values.pred]),
    group((row) => !top.has(row), { color: LOOK.observed.color, size: 6, opacity: 0.5 }, false),
    group((row) => top.has(row), { color: LOOK.predicted.color, size: 9, symbol: "triangle-up" }, true),
  ];
  Plotly.react("change", traces, layout("observed change of mean log1p expression", "predicted change"), CONFIG);
}

function drawVolcano(values) {
  const side = (key, look, shown) => ({
    x: values[key],
    y: values["logp_" + key],
    text: values.names.map(clean),
    name: look.name,
    mode: "markers",
    marker: { color: look.color, size: 7, symbol: look.symbol, opacity: 0.7 },
    hovertemplate: "<b>%{text}</b> " + shown + "<br>change %{x:.3f}, -log10 adjusted p %{y:.1f}<extra></extra>",
  });
  const line = { type: "line", xref: "paper", x0: 0, x1: 1, y0: SIGNIFICANT, y1: SIGNIFICANT, line: { color: "#999", dash: "dot", width: 1 } };
  const drawn = layout("change of mean log1p expression", "-log10 adjusted p (50 and above drawn at 50)", { shapes: [line] });
  Plotly.react("volcano", [side("real", LOOK.observed, "observed"), side("pred", LOOK.predicted, "predicted")], drawn, CONFIG);
}

function fillTop(values) {
  const rows = strongest(values.real, 15).map((row) => {
    const cells = [values.names[row], values.real[row].toFixed(3), values.pred[row].toFixed(3)];
    for (const key of ["logp_real", "logp_pred"]) cells.push(values[key][row] > SIGNIFICANT ? "yes" : "no");
    const line = document.createElement("tr");
    cells.forEach((text, at) => {
      const cell = document.createElement(at ? "td" : "th");
      cell.textContent = text;
      line.append(cell);
    });
    return line;
  });
  element("top-genes").replaceChildren(...rows);
}

function drawClouds(context, perturbation) {
  if (!DATA.clouds.length) {
    say("clouds", "The predicted and real h5ad files were not found: --pred and --real say where they are.");
    element("cloud-method").parentElement.hidden = true;
    return;
  }
  const method = DATA.clouds.find((item) => item.method === element("cloud-method").value);
  const here = method.clouds.filter((cloud) => cloud.context === context && (cloud.kind === "control" || cloud.perturbation === perturbation));
  if (!here.length) {
    say("clouds", "Only the first contexts, in the order of their names, are drawn; this one is not among them.");
    return;
  }
  const traces = here.map((cloud) => {
    const look = LOOK[cloud.kind];
    return {
      x: Array.from(decode(cloud.x)),
      y: Array.from(decode(cloud.y)),
      name: look.name,
      mode: "markers",
      marker: { color: look.color, symbol: look.symbol, size: 7, opacity: 0.75, line: { width: 1.5, color: look.color } },
      hovertemplate: look.name + "<extra></extra>",
    };
  });
  const share = method.explained[context];
  const titles = ["1", "2"].map((axis, row) => method.method + " " + axis + (share ? " (" + (100 * share[row]).toFixed(1) + " % of real variance)" : ""));
  const place = element("clouds");
  if (!place.classList.contains("js-plotly-plot")) place.replaceChildren();
  Plotly.react("clouds", traces, layout(titles[0], titles[1]), CONFIG);
}

function drawChosen() {
  const { entry, values } = chosenGenes();
  drawChange(values);
  drawVolcano(values);
  fillTop(values);
  drawClouds(entry.context, entry.perturbation);
  element("gene-count").textContent =
    entry.of > values.names.length ? "the " + values.names.length + " of " + entry.of + " genes that change most" : "all " + entry.of + " genes";
}

function drawEffects() {
  const model = element("gene-model").value;
  const mine = DATA.effects.filter((item) => item.model === model);
  const histogram = (key, look) => ({
    x: mine.map((item) => item[key]),
    name: look.name,
    type: "histogram",
    nbinsx: 30,
    opacity: 0.6,
    marker: { color: look.color },
  });
  const traces = [histogram("real", LOOK.observed), histogram("pred", LOOK.predicted)];
  Plotly.react("effects", traces, layout("size of the change, Euclidean norm over genes", "pairs", { barmode: "overlay" }), CONFIG);
  const points = {
    x: mine.map((item) => item.real),
    y: mine.map((item) => item.pred),
    text: mine.map((item) => clean(item.perturbation) + "<br>" + clean(item.context)),
    mode: "markers",
    marker: { color: LOOK.predicted.color, size: 8, opacity: 0.75 },
    hovertemplate: "<b>%{text}</b><br>observed %{x:.3f}, predicted %{y:.3f}<extra></extra>",
    showlegend: false,
  };
  const ends = [0, Math.max(...points.x, ...points.y)];
  Plotly.react("effect-sizes", [diagonal(ends), points], layout("observed size", "predicted size"), CONFIG);
}

function start() {
  drawCurves();
  drawPairs();
  fill(element("gene-model"), DATA.models);
  fill(element("cloud-method"), DATA.clouds.map((item) => item.method));
  fillPairs();
  const redraw = () => {
    fillPairs();
    drawChosen();
    drawEffects();
  };
  element("gene-model").onchange = redraw;
  element("gene-pair").onchange = drawChosen;
  element("cloud-method").onchange = drawChosen;
  drawChosen();
  drawEffects();
  document.body.dataset.ready = "yes";
}

start();
