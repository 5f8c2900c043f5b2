// Draws the charts, and draws them again when the colour scheme changes. Before it stands Vega as one bundle.

const { charts } = JSON.parse(document.getElementById("embedded").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");

/** Colours of the page, and of series those of Okabe and Ito, which people with any colour vision tell apart. */
function colours() {
  const of = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const [ink, soft, faint] = ["--ink", "--soft", "--faint"].map(of);
  const font = getComputedStyle(document.body).fontFamily;
  const series = dark.matches ? ["#56b4e9", "#e69f00", "#2bc498", "#e594c0"] : ["#0072b2", "#c25700", "#00795a", "#a8487f"];
  return {
    background: "transparent",
    font,
    view: { stroke: faint },
    axis: { labelColor: soft, titleColor: soft, gridColor: faint, domainColor: soft, tickColor: soft, titleFontWeight: 500 },
    legend: { labelColor: ink, titleColor: soft, orient: "top", columns: 2, symbolStrokeWidth: 2 },
    range: { category: series },
    line: { strokeWidth: 2 },
  };
}

async function drawAll() {
  for (const place of document.querySelectorAll("[data-chart]")) {
    const spec = structuredClone(charts[place.dataset.chart]);
    await globalThis.vegaEmbed(place, spec, { actions: false, renderer: "svg", config: colours() });
    // the picture has one name, that of its place: its marks are not read one by one
    for (const part of place.querySelectorAll("svg, .vega-embed")) part.setAttribute("aria-hidden", "true");
  }
  document.documentElement.dataset.drawn = dark.matches ? "dark" : "light";
}

dark.addEventListener("change", drawAll);
await drawAll();
