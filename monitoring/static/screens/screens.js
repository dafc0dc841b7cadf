"use strict";

// The screens of the admin: charts from the page's data, forms that wait for what they confirm.
(() => {
    const drawn = new Map();

    const theme = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

    function colour(name, isSoft) {
        const value = theme(`--s-${name}`) || theme("--s-manual");
        return isSoft ? `color-mix(in oklab, ${value} 18%, transparent)` : value;
    }

    function line(series) {
        return {
            label: series.label,
            data: series.data,
            borderColor: series.is_band || series.fills_to ? "transparent" : colour(series.colour),
            backgroundColor: colour(series.colour, Boolean(series.fills_to)),
            borderWidth: 2,
            borderDash: series.is_dashed ? [4, 4] : [],
            stepped: series.is_stepped ? "before" : false,
            fill: series.fills_to || false,
            pointRadius: series.is_mark ? 6 : series.data.filter((value) => value !== null).length === 1 ? 3 : 0,
            pointStyle: series.is_mark ? "triangle" : "circle",
            pointHitRadius: 8,
            showLine: !series.is_mark,
            spanGaps: true,
            isHiddenInLegend: series.is_hidden_in_legend || false,
        };
    }

    function bar(series) {
        return { label: series.label, data: series.data, backgroundColor: colour(series.colour), borderRadius: 2, maxBarThickness: 28 };
    }

    function configuration(data) {
        const text = theme("--s-soft");
        const grid = theme("--s-line");
        const isStacked = Boolean(data.is_stacked);
        const ticks = { color: text, font: { size: 11, family: "Inter, sans-serif" }, maxRotation: 0, autoSkipPadding: 12 };
        return {
            type: data.kind,
            data: { labels: data.moments ? data.labels.map((label, i) => ownLabel(label, data.moments[i])) : data.labels, datasets: data.series.map(data.kind === "line" ? line : bar) },
            options: {
                responsive: true,
                maintainAspectRatio: false,
                animation: false,
                interaction: { mode: "index", intersect: false },
                scales: {
                    x: { stacked: isStacked, grid: { display: false }, border: { color: grid }, ticks },
                    y: {
                        stacked: isStacked, beginAtZero: true, suggestedMax: data.most, border: { display: false },
                        grid: { color: grid }, ticks: { ...ticks, maxTicksLimit: 5, precision: 0 },
                    },
                },
                plugins: {
                    legend: {
                        display: data.series.length > 1 && !data.is_low,
                        position: "bottom",
                        labels: {
                            color: text, boxWidth: 10, boxHeight: 10, font: { size: 11, family: "Inter, sans-serif" },
                            generateLabels: (chart) => Chart.defaults.plugins.legend.labels.generateLabels(chart)
                                .filter((item) => !chart.data.datasets[item.datasetIndex].isHiddenInLegend)
                                .map((item) => ({ ...item, lineWidth: 0, fontColor: text })),
                        },
                    },
                    tooltip: { filter: (item) => item.raw !== null && !item.dataset.isHiddenInLegend },
                },
            },
        };
    }

    function draw(canvas) {
        const source = document.getElementById(canvas.dataset.chart);
        const isDark = document.documentElement.classList.contains("dark");
        if (!source) return;
        const known = drawn.get(canvas);
        if (known && known.text === source.textContent && known.isDark === isDark) return;
        const made = configuration(JSON.parse(source.textContent));
        made.options.plugins.legend.display &&= !canvas.closest(".s-chart-low");
        if (known) {
            known.chart.data = made.data;
            known.chart.options = made.options;
            known.chart.update("none");
        }
        const chart = known ? known.chart : new Chart(canvas, made);
        drawn.set(canvas, { chart, text: source.textContent, isDark });
    }

    const drawAll = () => document.querySelectorAll("canvas[data-chart]").forEach(draw);

    // A form that confirms what is still being counted waits for it, and goes where that is refused.
    function release() {
        for (const form of document.querySelectorAll("form[data-after]")) {
            const shown = document.getElementById(form.dataset.after);
            const isBusy = shown && shown.querySelector(".s-busy");
            form.querySelectorAll("button").forEach((button) => { button.disabled = Boolean(isBusy); });
            const isHeld = !shown || isBusy || shown.querySelector("[data-held]");
            form.querySelectorAll("[data-primary]").forEach((button) => { button.classList.toggle("s-button-primary", !isHeld); });
            form.hidden = Boolean(shown && shown.querySelector("[data-refused]"));
            form.querySelectorAll("[data-force]").forEach((choice) => {
                choice.hidden = Boolean(shown && !shown.querySelector("[data-held]"));
            });
        }
    }

    // What has to be typed frees the button beside it.
    function watchWords() {
        for (const input of document.querySelectorAll("input[data-word]")) {
            const button = input.form.querySelector("button");
            const check = () => {
                button.disabled = input.value.trim().toLowerCase() !== input.dataset.word.toLowerCase();
            };
            input.addEventListener("input", check);
            check();
        }
    }

    // A page that asks for itself, and is not answered, says of when its numbers are: three answers may be missing.
    const POLLS = "[hx-trigger^='every']";
    const PATIENCE_MS = 15000;
    const REFUSED = [401, 403];

    // Whoever is logged out gets the page of the log-in, with 200.
    const isLoggedOut = (xhr) => REFUSED.includes(xhr.status) || xhr.responseURL.includes("/login/");

    function watchAge() {
        const silent = document.querySelector("[data-stale]");
        const out = document.querySelector("[data-logged-out]");
        if (!silent || !out) return;
        let answeredAt = new Date();
        const show = (shown) => {
            for (const note of [silent, out]) {
                if (note === shown && note.hidden) {
                    note.querySelector("time").textContent = `${clockOf(answeredAt, true)} ${zoneAt(answeredAt)}`;
                }
                note.hidden = note !== shown;
            }
        };
        document.body.addEventListener("htmx:afterRequest", ({ detail }) => {
            if (!detail.elt.matches(POLLS)) return;
            if (isLoggedOut(detail.xhr)) return show(out);
            if (detail.successful) answeredAt = new Date();
            show(detail.successful ? null : silent);
        });
        setInterval(() => {
            if (out.hidden && document.querySelector(POLLS) && new Date() - answeredAt > PATIENCE_MS) show(silent);
        }, 1000);
    }

    // Times are in the site's zone and format; whoever is in another zone sees all of a page in their own.
    let site = { months: [], zones: {} };
    let siteTime = null;
    const anyOf = (words) => words.map((word) => word.replace(/[.*+?^${}()|[\]\\\/]/g, "\\$&")).join("|");

    function readSiteFormat() {
        const source = document.getElementById("page-times");
        if (!source) return;
        site = JSON.parse(source.textContent);
        siteTime = new RegExp(`(\\d{1,2}) (${anyOf(site.months)}) (\\d{4}), (\\d\\d):(\\d\\d)(:\\d\\d)? (${anyOf(Object.keys(site.zones))})(?![\\p{L}\\p{N}])`, "gu");
    }

    const two = (number) => String(number).padStart(2, "0");
    const offsetOf = (iso) => {
        const [, sign, hours, minutes] = iso.match(/([+-])(\d\d):(\d\d)$/) || [];
        return Number(`${sign}1`) * (60 * Number(hours) + Number(minutes));
    };
    const isOwn = (at, offset) => Number.isNaN(offset) || offset === -at.getTimezoneOffset();

    function zoneAt(at) {
        const parts = new Intl.DateTimeFormat(document.documentElement.lang, { timeZoneName: "short" }).formatToParts(at);
        const named = Object.entries(site.zones).find(([, offset]) => isOwn(at, offset));
        return named ? named[0] : parts.find((part) => part.type === "timeZoneName").value;
    }

    const dayOf = (at) => `${at.getDate()} ${site.months[at.getMonth()]}`;
    const clockOf = (at, hasSeconds) => `${two(at.getHours())}:${two(at.getMinutes())}${hasSeconds ? `:${two(at.getSeconds())}` : ""}`;

    function inOwnZone(text) {
        return text.replace(siteTime, (shown, day, month, year, hour, minute, second, zone) => {
            const utc = Date.UTC(year, site.months.indexOf(month), day, hour, minute, (second || ":0").slice(1));
            const at = new Date(utc - site.zones[zone] * 60000);
            if (isOwn(at, site.zones[zone])) return shown;
            return `${dayOf(at)} ${at.getFullYear()}, ${clockOf(at, second)} ${zoneAt(at)}`;
        });
    }

    // The label of a chart begins with the day if the chart covers several; it names the zone if the site's label does.
    function ownLabel(label, iso) {
        const at = new Date(iso);
        if (isOwn(at, offsetOf(iso))) return label;
        const day = label.indexOf(":") > 2 ? `${dayOf(at)} ` : "";
        return `${day}${clockOf(at)}${/:\d\d$/.test(label) ? "" : ` ${zoneAt(at)}`}`;
    }

    function showOwnTimes() {
        if (!siteTime) return;
        for (const shown of document.querySelectorAll("time[datetime][title]")) {
            const text = inOwnZone(shown.textContent);
            if (text === shown.textContent) continue;
            shown.title = `${shown.textContent} · ${shown.title}`;
            shown.textContent = text;
        }
        const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            const node = texts.currentNode;
            if (node.parentElement.closest("script, style, textarea")) continue;
            const text = inOwnZone(node.nodeValue);
            if (text !== node.nodeValue) node.nodeValue = text;
        }
        for (const named of document.querySelectorAll("[aria-label]")) {
            const text = inOwnZone(named.getAttribute("aria-label"));
            if (text !== named.getAttribute("aria-label")) named.setAttribute("aria-label", text);
        }
    }

    // A page that asks for itself brings the number of open alerts along, for the menu and the title of the tab.
    function countAlerts() {
        const source = document.querySelector("[data-open-alerts]");
        const badge = document.getElementById("alerts-count");
        if (!source || !badge) return;
        const count = Number(source.dataset.openAlerts);
        badge.textContent = count || "";
        document.title = (count ? `(${count}) ` : "") + document.title.replace(/^\(\d+\) /, "");
    }

    // Screen readers need the name of a list of choices, and the role of its help, which Django's scripts leave out.
    function nameChoices() {
        for (const list of document.querySelectorAll("select.select2-hidden-accessible")) {
            const words = document.querySelector(`label[for="${list.id}"]`)?.textContent.trim();
            const parts = list.nextElementSibling?.querySelectorAll(".select2-selection--single, .select2-selection__rendered, .select2-search__field");
            for (const part of words ? parts || [] : []) {
                part.removeAttribute("aria-labelledby");
                part.setAttribute("aria-label", words);
            }
        }
        for (const help of document.querySelectorAll(".help-tooltip[aria-label]")) help.setAttribute("role", "img");
    }

    // After the scripts that make the lists, which also wait for this event.
    window.addEventListener("load", () => setTimeout(nameChoices));

    document.addEventListener("DOMContentLoaded", () => {
        readSiteFormat();
        drawAll();
        showOwnTimes();
        release();
        watchWords();
        watchAge();
        new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["class"] });
        document.body.addEventListener("htmx:afterSettle", () => { drawAll(); release(); showOwnTimes(); });
        document.body.addEventListener("htmx:oobAfterSwap", () => { drawAll(); countAlerts(); showOwnTimes(); });
    });
})();
