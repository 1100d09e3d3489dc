// What load tests found: speed and latency over the batch size.

import { drawCurves } from "./curves.js";
import { arrange, element, make, show } from "./dom.js";
import { count, date, duration, speed, tick } from "./format.js";
import { loadTests } from "./history.js";
import { TERMS } from "./terms.js";

const seriesName = ({ mode, window, streams, message_size: message, rate }) =>
  [mode, `window ${count(window)}`, ...(streams ? [`${count(streams)} streams`] : []), `${count(message)} B`, ...(rate ? [`${rate}/s`] : [])].join(", ");

export class LoadTests {
  #reports = [];
  #known = "";
  #drawn = [];

  constructor() {
    element("report").addEventListener("change", () => this.#draw());
  }

  // How many reports there are, as events say; what they hold is fetched when that changes.
  async known(stored) {
    const known = `${stored.count} ${stored.newest}`;
    if (known === this.#known) return;
    this.#known = known;
    if (stored.count === 0) {
      element("load-tests").hidden = true;
      return;
    }
    let reports;
    try {
      ({ reports } = await loadTests());
    } catch (error) {
      console.warn(`No load tests: ${error.message}`);
      this.#known = ""; // the next event has another try
      return;
    }
    if (known !== this.#known) return;
    this.#reports = reports;
    element("load-tests").hidden = reports.length === 0;
    if (!reports.length) return;
    const options = reports.map((report) => make("option", {}, date(report.began) + (report.complete ? "" : ", not complete")));
    element("report").replaceChildren(...options);
    this.#draw();
  }

  #draw() {
    const report = this.#reports[element("report").selectedIndex];
    const series = new Map();
    for (const { point, summary } of report.points) {
      const name = seriesName(point);
      series.set(name, [...(series.get(name) ?? []), { batch: point.batch_size, summary }]);
    }
    const { processor, cores } = report.machine ?? {};
    show("report-note", [processor, cores && `${count(cores)} cores`, report.problem].filter(Boolean).join(" · "));
    this.#showLegend([...series.keys()]);
    this.#showTable(series);
    const lines = (dashed, value) =>
      [...series.values()].map((points, index) => ({ colour: index + 1, dashed, points: points.map(({ batch, summary }) => [batch, value(summary)]) }));
    this.#drawn.forEach((remove) => remove());
    this.#drawn = [
      drawCurves(element("throughput"), lines(false, (summary) => summary.hashes_per_second.median), tick),
      drawCurves(
        element("latency"),
        [...lines(false, (summary) => summary.latency_seconds.total.p50), ...lines(true, (summary) => summary.latency_seconds.total.p99)],
        duration,
      ),
    ];
  }

  #showLegend(names) {
    const rows = arrange(element("report-legend"), names, (name) => make("li", {}, make("span", { class: "swatch", "aria-hidden": "true" }), name));
    rows.forEach((row, index) => (row.firstChild.dataset.series = (index % 8) + 1));
  }

  #showTable(series) {
    const head = make("tr", {}, ...["Measured", "batch size", "Hashes/s", "p50", "p99"].map((text) => make("th", { scope: "col", title: TERMS[text] }, text)));
    const rows = [...series].flatMap(([name, points]) =>
      points.map(({ batch, summary: { hashes_per_second: hashes, latency_seconds: latency } }) => {
        const cells = [count(batch), speed(hashes.median), duration(latency.total.p50), duration(latency.total.p99)];
        return make("tr", {}, make("th", { scope: "row" }, name), ...cells.map((text) => make("td", {}, text)));
      }),
    );
    element("report-table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
  }
}
